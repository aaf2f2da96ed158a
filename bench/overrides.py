"""Command-line overrides: which of them decide what is composed, and which set a value in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from bench.config import PLUGIN_KEYS
from bench.domain import ConfigError
from bench.explain import explain


def _is_group(override: Override, repo: IConfigRepository) -> bool:
    return bool(repo.group_exists(override.key_or_group)) and not isinstance(override.value(), dict)


def split(parsed: Iterable[Override], repo: IConfigRepository) -> tuple[list[Override], list[Override]]:
    """Overrides that decide what is composed (group choices, Hydra's own), and those that set one value in it.

    Raises:
        ConfigError: a group choice that is no name of a preset.
    """
    structural: list[Override] = []
    values: list[Override] = []
    for override in parsed:
        if override.is_hydra_override() or _is_group(override, repo):
            _refuse_no_preset(override, repo)
            structural.append(override)
        elif not override.is_sweep_override():
            values.append(override)
    return structural, values


def _refuse_no_preset(override: Override, repo: IConfigRepository) -> None:
    value: Any = override.value()
    names = value if isinstance(value, list) else [value]
    chosen = override.is_delete() or override.is_sweep_override() or all(isinstance(name, str) for name in names)
    if _is_group(override, repo) and not chosen:
        options = ", ".join(repo.get_group_options(override.key_or_group))
        raise ConfigError(f"{override.input_line}: a preset must be chosen; there are: {options}")


def apply(values: Iterable[Override], cfg: DictConfig) -> None:
    """Set the values in a composed config.

    Raises:
        ConfigError: one sentence for each that does not fit; the others are set.
    """
    problems: list[str] = []
    for override in values:
        try:
            _refuse_other_kind(override, cfg)
            ConfigLoaderImpl._apply_overrides_to_config([override], cfg)
        except ConfigError as error:
            problems += error.problems
        except Exception as error:  # noqa: BLE001 - explain() raises again what it does not know
            problems += explain(error, override.input_line)
    if problems:
        raise ConfigError(*problems)


def _refuse_other_kind(override: Override, cfg: DictConfig) -> None:
    """Another plug-in has other keys: it is chosen as a preset, not by setting ``kind`` in the keys of this one."""
    group, _, key = override.key_or_group.partition(".")
    value = override.value()
    kind = value.get("kind") if isinstance(value, dict) and not key else value if key == "kind" else None
    if group in PLUGIN_KEYS and kind is not None and kind != OmegaConf.select(cfg, f"{group}.kind"):
        raise ConfigError(f"{override.input_line}: choose another kind with {group}={kind}")
