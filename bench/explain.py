"""Hydra's and OmegaConf's exceptions as sentences: what is wrong, and what exists instead."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hydra.errors import (
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)
from yaml import YAMLError

from bench.domain import ConfigError
from bench.registry import unknown

_KINDS = {
    r"(could not be converted to|to) Integer\b": "a whole number",
    r"(could not be converted to|to) Float\b": "a number",
    r"not a valid bool": "true or false",
    r"(could not be converted to|to) (String|string)\b": "a text",
}
#: Hydra says these with a bare ValueError
_HYDRA_VALUE_ERRORS = (
    "Config group override",
    "In ",
    "Invalid defaults list",
    "Unsupported",
    "Missing ConfigDefault",
    "Error parsing",
    "Only one of",
    "The --resolve flag",
    "Expecting one subcommand",
    "No completion plugin",
)
_SWEEP = re.compile(r"(?:argument|parameters) '([^']*)'")


def explain(error: BaseException, override: str | None = None) -> list[str]:
    """Sentences for a configuration error, without a traceback.

    Args:
        error: what Hydra or OmegaConf raised.
        override: the command-line override that was being applied, where one was.

    Raises:
        BaseException: ``error`` itself when it is not about the configuration.
    """
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, ConfigError):
            return list(link.problems)
    for link in chain:
        if isinstance(link, OmegaConfBaseException):
            place = next((str(e).split(":")[0] for e in chain if str(e).startswith("In '")), "")
            return [f"{place}: {_value_problem(link, override)}" if place else _value_problem(link, override)]
    for link in chain:
        if isinstance(link, (HydraException, YAMLError)):
            return [_composition_problem(link)]
        if isinstance(link, ValueError) and str(link).startswith(_HYDRA_VALUE_ERRORS):
            return [" ".join(str(link).split())]
        if isinstance(link, UnicodeDecodeError):
            return [f"a YAML file is not UTF-8 text: {link}"]
    raise error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _composition_problem(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override}: this is not KEY=VALUE as Hydra reads it; quote values with commas, spaces, brackets or "
            f"colons for Hydra and once more for the shell: \"KEY='VALUE'\""
        )
    if isinstance(error, MissingConfigException):
        return _missing_preset(error)
    sweep = _SWEEP.search(text)
    if sweep and "multirun" in text:
        key = sweep[1].split("=")[0]
        return f"{sweep[1]}: add -m to sweep over these values; a list is {key}=[...] and a text is \"{key}='...'\""
    if "does not support sweep type" in text:
        return "interval() is for optimising sweepers such as Optuna; write range(start, stop, step) or list the values"
    if isinstance(error, YAMLError):
        return f"a YAML file cannot be read: {' '.join(text.split())}"
    return " ".join(text.split("\nConfig search path")[0].split())


def _missing_preset(error: MissingConfigException) -> str:
    path, options = str(error.missing_cfg_file), [str(option) for option in error.options or ()]
    group, _, name = path.rpartition("/")
    parent = re.match(r"In '([^']*)'", str(error))
    inside = f"{parent[1]}.yaml: " if parent and parent[1] not in ("", "bench") else ""
    if not group:
        return f"{inside}there is no configuration {path!r} in the conf folders"
    return f"{inside}{group}={name}: {unknown(group, name, options)}"


def _value_problem(error: OmegaConfBaseException, override: str | None) -> str:
    given = f"{override}: " if override else ""
    key = str(error.full_key or error.key or "")
    if isinstance(error, MissingMandatoryValue):
        return f"{key} is not set: give {key}=VALUE"
    if isinstance(error, InterpolationResolutionError):
        return f"{given or key + ': '}{str(error).splitlines()[0]}"
    if isinstance(error, (ConfigAttributeError, ConfigKeyError)):
        return given + _strange_key(error, key)
    if isinstance(error, ValidationError):
        if error.value is None:
            return f"{key}=null: must have a value"
        wanted = _expected(error)
        return f"{key}={error.value!r}: must be {wanted}" if wanted else f"{given}{str(error).splitlines()[0]}"
    return given + str(error).splitlines()[0]


def _strange_key(error: OmegaConfBaseException, key: str) -> str:
    parent = error.parent_node
    known = [str(name) for name in parent if name != "hydra"] if isinstance(parent, DictConfig) else []
    above, _, name = key.rpartition(".")
    what = f"{above} key" if above else "key"
    if not known:
        return f"there is no {what} {name!r}"
    sentence = unknown(what, name, known)
    kind = parent.get("kind") if "kind" in known else None
    if kind == "auto":
        return f"{sentence} (of {above}=auto); name the {above} to set keys of its own: {above}=NAME {above}.{name}=..."
    return sentence + (f" (of {above}={kind})" if kind else "")


def _expected(error: OmegaConfBaseException) -> str:
    """The type a value should have had, in words; empty where OmegaConf does not say."""
    text = str(error)
    for pattern, words in _KINDS.items():
        if re.search(pattern, text):
            return words
    choices = re.search(r"expected one of \[([^\]]*)\]", text)
    if choices:
        return f"one of {choices[1]}"
    if "Invalid type assigned" in text or "not a subclass" in text:
        return "a mapping of keys"
    return ""
