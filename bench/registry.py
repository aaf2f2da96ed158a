"""Plug-ins: one frozen dataclass in one file, found by folder, put into Hydra's ConfigStore.

A plug-in class is declared with ``@plugin(group, kind)``; its fields are its Hydra config and its methods its
behaviour. Every module of the plug-in packages, and every ``*.py`` under ``plugins/`` of a user's own conf folder, is
imported by :func:`discover`; nothing else lists them.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.domain import ConfigError

T = TypeVar("T")

PLUGIN_PACKAGES = ("bench.providers", "bench.datasets", "bench.scorers", "bench.measure.loads")

_classes: dict[str, dict[str, type[Any]]] = {}
_stored: dict[tuple[str, str], type[Any]] = {}


def plugin(group: str, kind: str) -> Callable[[type[T]], type[T]]:
    """Declare a frozen dataclass as plug-in ``kind`` of config group ``group``.

    The class needs a field ``kind: str`` whose default is ``kind``: saved configs name their plug-in by it.
    """

    def register(cls: type[T]) -> type[T]:
        if getattr(cls, "kind", None) != kind:
            raise TypeError(f'{cls.__qualname__} needs the field `kind: str = "{kind}"`')
        known = _classes.setdefault(group, {}).get(kind)
        if known is not None and known.__qualname__ != cls.__qualname__:
            raise ConfigError(f"two plug-ins claim {group}={kind}: {known.__module__} and {cls.__module__}")
        _classes[group][kind] = cls
        return cls

    return register


def discover(user_conf: Path | None = None) -> None:
    """Import every plug-in module: ours, then ``user_conf/plugins/*.py``.

    Raises:
        ConfigError: a user's plug-in file does not import.
    """
    for name in PLUGIN_PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.iter_modules(package.__path__, prefix=f"{name}."):
            importlib.import_module(module.name)
    for path in sorted((user_conf / "plugins").glob("*.py")) if user_conf else []:
        _import_file(path)


def _import_file(path: Path) -> None:
    name = f"bench_user_plugins.{path.stem}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path}: not a Python file that can be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ConfigError(f"{path}: the plug-in does not import: {type(error).__name__}: {error}") from error


def plugins(group: str) -> Mapping[str, type[Any]]:
    """The plug-in classes of a group by kind (after :func:`discover`)."""
    return _classes.get(group, {})


def unknown(what: str, name: str, known: list[str]) -> str:
    """One sentence for a name that does not exist, with the nearest ones that do."""
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(sorted(known))}"
    return f"there is no {what} {name!r}; {hint}"


def writable(node: DictConfig) -> DictConfig:
    """Lift the read-only flag that OmegaConf sets on frozen dataclasses, nested ones too, so overrides apply."""
    OmegaConf.set_readonly(node, None)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            writable(child)
    return node


def structured(cls: type[T]) -> DictConfig:
    """A typed, struct-checked, writable config node with the defaults of a frozen dataclass."""
    node: DictConfig = OmegaConf.structured(cls)
    return writable(node)


def build(group: str, config: Mapping[str, Any]) -> Any:
    """Make the plug-in that ``config["kind"]`` names from a plain mapping.

    Raises:
        ConfigError: no such kind, an unknown key, a wrong type or a missing value; says which and what exists.
    """
    kind = str(config.get("kind"))
    classes = plugins(group)
    if kind not in classes:
        raise ConfigError(unknown(f"{group} kind", kind, list(classes)))
    return typed(classes[kind], config, where=group)


def typed(cls: type[T], config: Mapping[str, Any], where: str) -> T:
    """A frozen dataclass from a plain mapping, checked key by key against its annotations.

    Raises:
        ConfigError: an unknown key, a wrong type or a missing value, named with ``where`` in front.
    """
    schema = structured(cls)
    known = [str(key) for key in schema]
    strange = [str(key) for key in config if str(key) not in known]
    if strange:
        raise ConfigError(*(f"{where}: {unknown('key', key, known)}" for key in strange))
    try:
        made: T = OmegaConf.to_object(OmegaConf.merge(schema, _literal(dict(config))))  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        key = f"{where}.{error.full_key}" if getattr(error, "full_key", None) else where
        raise ConfigError(f"{key}: {str(error).splitlines()[0]}") from error
    return made


def _literal(value: Any) -> Any:
    """The same nested value with ``${`` escaped: a prompt may hold it, and plain values have no interpolations."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", value)
    if isinstance(value, Mapping):
        return {key: _literal(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_literal(item) for item in value]
    return value


def store_in_hydra() -> None:
    """Put every plug-in into Hydra's ConfigStore as ``group/kind``."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for group, classes in _classes.items():
        for kind, cls in classes.items():
            if _stored.get((group, kind)) is not cls or f"{kind}.yaml" not in store.repo.get(group, {}):
                store.store(group=group, name=kind, node=structured(cls))
                _stored[group, kind] = cls
