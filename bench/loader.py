"""Hydra's config loader with typed plug-in presets, clear errors, and sweeps composed in one go.

Hydra composes about ten configs a second. A sweep of hundreds of cells shares most of its work: presets are read once,
each distinct set of group choices is composed once, and value overrides are applied to a copy of it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from bench.compose import AUTO, PRIMARY, check_keys, container, open_mappings, over_schema, prepare, resolved
from bench.config import PLUGIN_KEYS, Schema
from bench.domain import ConfigError
from bench.explain import explain
from bench.overrides import apply, split
from bench.places import shipped
from bench.registry import structured, unknown


@dataclass(frozen=True)
class Composition:
    """The composition of one set of group choices. ``config`` is without Hydra's own node, ``hydra`` is the app's."""

    config: DictConfig
    hydra: DictConfig

    @cached_property
    def plain(self) -> dict[str, Any]:
        """The sections as plain values, read-only: cells share them."""
        return container(self.config)

    @cached_property
    def _independent(self) -> bool:
        """No section refers to another one, and nothing mandatory is open."""
        return "${" not in OmegaConf.to_yaml(self.config) and not OmegaConf.missing_keys(self.config)

    def part(self, keys: Iterable[str]) -> DictConfig | None:
        """A copy of some top-level keys alone; ``None`` where only the whole config would do."""
        if not self._independent or not all(key in self.config for key in keys):
            return None
        root = OmegaConf.create()
        with flag_override(root, "no_deepcopy_set_nodes", True):
            for key in keys:
                root[key] = copy.deepcopy(self.config._get_node(key))
        OmegaConf.set_struct(root, True)
        return root


class Loader(ConfigLoaderImpl):
    """Hydra's config loader with typed plug-in presets, a lasting cache of presets, and clear errors.

    ``compositions`` counts the distinct sets of group choices composed so far.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        prepare(folders)
        path = create_config_search_path(str(shipped("conf")))
        for folder in folders:
            path.prepend("user", f"file://{folder}", SearchPathQuery(provider="main"))
        super().__init__(config_search_path=path)
        self.folders = tuple(folders)
        self.compositions = 0
        self._repository_cache: dict[tuple[str, ...], CachingConfigRepository] = {}
        self._parsed: dict[str, Override] = {}
        self._presets: dict[str, DictConfig] = {}
        self._compositions: dict[tuple[str | None, tuple[str, ...]], Composition] = {}

    def __reduce__(self) -> tuple[type[Loader], tuple[tuple[Path, ...]]]:
        """Made anew in a job's own process, which has to import the plug-ins before it can read any config."""
        return Loader, (self.folders,)

    # -- Hydra's own entry points

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], CachingConfigRepository]:
        parsed = [self._override(line) for line in overrides]
        search = tuple(line for line, o in zip(overrides, parsed, strict=True) if o.key_or_group == "hydra.searchpath")
        if search not in self._repository_cache:
            repo = CachingConfigRepository(self.repository)
            self._process_config_searchpath(config_name, parsed, repo)
            self._repository_cache[search] = repo
        return parsed, self._repository_cache[search]

    def _override(self, line: str) -> Override:
        if line not in self._parsed:
            self._parsed[line] = OverridesParser.create().parse_overrides([line])[0]
        return self._parsed[line]

    def _load_single_config(self, default: ResultDefault, repo: IConfigRepository) -> ConfigResult:
        """A preset, laid over the schema of the plug-in it names with ``kind``."""
        path = str(default.config_path)
        loaded = repo.load_config(config_path=path)
        if loaded is None or not isinstance(loaded.config, DictConfig):
            return super()._load_single_config(default, repo)
        group = path.split("/")[0]
        if path not in self._presets:
            typed = group in PLUGIN_KEYS and not loaded.is_schema_source
            self._presets[path] = over_schema(group, path, loaded.config) if typed else loaded.config
        result = copy.copy(loaded)
        result.config = preset = copy.deepcopy(self._presets[path])
        package = default.package if default.package is not None else result.header["package"]
        if package in (None, "", "_global_") and group != "hydra":
            check_keys(path, preset)
        return self._embed_result_config(result, default.package)

    def _load_configuration_impl(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        parsed, repo = self._parse_overrides_and_create_caching_repo(config_name, overrides)
        if validate_sweep_overrides:
            self.validate_sweep_overrides_legal(overrides=parsed, run_mode=run_mode, from_shell=from_shell)
        structural, values = split(parsed, repo)
        if run_mode != RunMode.MULTIRUN:
            structural = self._with_real_provider(config_name, structural, values)
        lines = [str(o.input_line) for o in structural]
        cfg = super()._load_configuration_impl(config_name, lines, run_mode, from_shell, False)
        open_mappings(cfg)
        # a sweep's values may fit only what it sweeps over: its jobs are checked, not this config beside them
        with suppress(ConfigError) if run_mode == RunMode.MULTIRUN else nullcontext():
            apply(values, cfg)
        task = [o for o in parsed if not o.is_hydra_override()]
        cfg.hydra.overrides.task = [o.input_line for o in task]
        naming = cfg.hydra.job.config.override_dirname
        cfg.hydra.job.override_dirname = get_overrides_dirname(
            overrides=task, kv_sep=naming.kv_sep, item_sep=naming.item_sep, exclude_keys=naming.exclude_keys
        )
        return cfg

    # -- many configs at once

    def mode(self, config_name: str | None, overrides: Sequence[str]) -> RunMode | None:
        """Whether the composed app asks for a single run or a sweep (``hydra.mode``), if it says."""
        parsed, repo = self._parse_overrides_and_create_caching_repo(config_name, list(overrides))
        said = [o.value() for o in parsed if o.key_or_group == "hydra.mode"]
        if not said:
            structural, _ = split(parsed, repo)
            base = self._composition(config_name, [o for o in structural if not o.is_sweep_override()])
            said = [OmegaConf.select(base.hydra, "mode")]
        return RunMode[str(said[-1]).upper()] if said[-1] in ("RUN", "MULTIRUN", *RunMode) else None

    def compose(self, overrides: Sequence[str], config_name: str | None = PRIMARY) -> dict[str, Any]:
        """One plain config, resolved, without Hydra's own node.

        Raises:
            ConfigError: every override that does not fit and every mandatory value that is missing.
        """
        base, cfg, whole = self._composed(config_name, overrides)
        return resolved(cfg) if whole else {**base.plain, **resolved(cfg)}

    def check(self, overrides: Sequence[str], config_name: str | None = PRIMARY) -> None:
        """Refuse overrides that do not fit, all at once, before Hydra composes and stops at the first one.

        Raises:
            ConfigError: one sentence for each.
        """
        self._composed(config_name, overrides)

    def _composed(self, config_name: str | None, overrides: Sequence[str]) -> tuple[Composition, DictConfig, bool]:
        """The base, and a copy with all values applied: of the touched sections alone, or (``True``) of the whole."""
        try:
            parsed, repo = self._parse_overrides_and_create_caching_repo(config_name, list(overrides))
            structural, values = split(parsed, repo)
            base = self._composition(config_name, self._with_real_provider(config_name, structural, values))
        except Exception as error:
            raise ConfigError(*explain(error)) from error
        touched = {re.split(r"[.\[]", override.key_or_group)[0] for override in values}
        part = base.part(touched) if not any("${" in str(o.input_line) for o in values) else None
        cfg = copy.deepcopy(base.config) if part is None else part
        apply(values, cfg)
        return base, cfg, part is None

    def options(self, group: str) -> list[str]:
        """The presets and plug-ins of a group, sorted."""
        return [str(name) for name in self.get_group_options(group, ObjectType.CONFIG)]

    def lacks(self, group: str, option: str) -> list[str]:
        """Mandatory keys that a preset leaves open, such as ``model.name`` of the ``custom`` model."""
        _, repo = self._parse_overrides_and_create_caching_repo(PRIMARY, [])
        preset = repo.load_config(f"{group}/{option}")
        alone = preset is not None and not preset.defaults_list and group not in PLUGIN_KEYS
        if preset and alone and all(OmegaConf.select(preset.config, key) is not None for key in _mandatory(group)):
            return []  # it sets all there is to set, and composing it would take a hundred times as long
        node = self._composition(PRIMARY, [self._override(f"{group}={option}")]).config.get(group)
        return sorted(OmegaConf.missing_keys(node)) if isinstance(node, DictConfig) else []

    def _composition(self, config_name: str | None, structural: Sequence[Override]) -> Composition:
        chosen = [o for o in structural if not o.is_hydra_override() or o.key_or_group == "hydra.searchpath"]
        key = (config_name, tuple(sorted(str(o.input_line) for o in chosen)))
        if key not in self._compositions:
            self.compositions += 1
            self._compositions[key] = self._compose_choices(config_name, [str(o.input_line) for o in chosen])
        return self._compositions[key]

    def _compose_choices(self, config_name: str | None, lines: list[str]) -> Composition:
        parsed, repo = self._parse_overrides_and_create_caching_repo(config_name, lines)
        defaults = create_defaults_list(
            repo=repo,
            config_name=config_name,
            overrides_list=[o for o in parsed if not o.is_hydra_override()],
            prepend_hydra=True,
            skip_missing=False,
        ).defaults
        own = [d for d in defaults if not str(d.config_path).startswith("hydra/")]
        cfg = self._compose_config_from_defaults_list(defaults=own, repo=repo)
        hydra = cfg.pop("hydra", None)
        OmegaConf.set_struct(cfg, True)
        open_mappings(cfg)
        return Composition(cfg, hydra if isinstance(hydra, DictConfig) else OmegaConf.create())

    def _with_real_provider(
        self, config_name: str | None, structural: list[Override], values: Sequence[Override]
    ) -> list[Override]:
        """Replace ``provider=auto`` by the provider that the model's preset names."""
        settled = [o for o in structural if not o.is_sweep_override()]
        cfg = self._composition(config_name, settled).config
        if OmegaConf.select(cfg, "provider.kind") != AUTO:
            return structural
        name = OmegaConf.select(cfg, "model.provider")
        for override in values:
            name = override.value() if override.key_or_group == "model.provider" else name
        if name not in self.options("provider"):
            raise ConfigError(f"provider=auto: {unknown('provider', str(name), self.options('provider'))}")
        others = [o for o in structural if o.key_or_group != "provider"]
        return [*others, self._override(f"provider={name}")]


@cache
def _mandatory(group: str) -> tuple[str, ...]:
    """The keys of a group without plug-ins that have no default."""
    keys = sorted(OmegaConf.missing_keys(structured(Schema)))
    return tuple(key.removeprefix(f"{group}.") for key in keys if key.startswith(f"{group}."))
