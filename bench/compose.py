"""What Hydra composes from: conf folders, schemas and plug-ins; and composed configs as plain and typed values."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra import version
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, Node, OmegaConf, flag_override, open_dict
from omegaconf.errors import OmegaConfBaseException

from bench.config import PLUGIN_KEYS, Experiment, Schema, parse
from bench.domain import ConfigError
from bench.explain import explain
from bench.places import shipped
from bench.registry import discover, plugins, store_in_hydra, structured, unknown

PRIMARY = "bench"
AUTO = "auto"


def user_folders(config_dir: str | None = None) -> tuple[Path, ...]:
    """The conf folders that extend the shipped one, first wins: ``config_dir``, then ``./conf``.

    Raises:
        ConfigError: ``config_dir`` is no folder.
    """
    given = [Path(config_dir).absolute()] if config_dir is not None else []
    for folder in given:
        if not folder.is_dir():
            raise ConfigError(f"--config-dir {config_dir}: there is no such folder")
    ours = shipped("conf").resolve()
    found = [folder for folder in (*given, Path.cwd() / "conf") if folder.is_dir() and folder.resolve() != ours]
    return tuple(dict.fromkeys(found))


def prepare(folders: Iterable[Path] = ()) -> None:
    """Import plug-ins and put schemas and plug-ins into Hydra's ConfigStore. Harmless to repeat."""
    version.setbase("1.3")
    # pickled jobs of other launchers name users' plug-in classes by module, which needs the parent to exist
    sys.modules.setdefault("bench_user_plugins", ModuleType("bench_user_plugins"))
    discover()
    for folder in folders:
        discover(folder)
    store_in_hydra()
    store = ConfigStore.instance()
    store.store(name="schema", node=_schema())
    store.store(group="provider", name=AUTO, node={"kind": AUTO})


def _schema() -> DictConfig:
    """The typed parts under a root without a type, because Hydra keeps its own node beside them."""
    root = OmegaConf.create()
    with flag_override(root, "no_deepcopy_set_nodes", True):
        for key, node in children(structured(Schema)):
            root[key] = node
    return root


def children(node: DictConfig) -> list[tuple[str, Node]]:
    """The nodes of a mapping by key, neither resolved nor converted; none for a null or missing mapping."""
    content = node._content
    return [(str(key), child) for key, child in content.items()] if isinstance(content, dict) else []


def over_schema(group: str, path: str, config: DictConfig) -> DictConfig:
    """A preset laid over the schema of the plug-in that its ``kind`` names, so that every key of it can be overridden.

    Presets without ``kind`` extend another preset, or are ``auto``; they stay as they are.

    Raises:
        ConfigError: no such kind, or a key or type that it does not have; names the file.
    """
    kind = config.get("kind")
    classes = plugins(group)
    if kind is None or kind == AUTO:
        return config
    if kind not in classes:
        raise ConfigError(f"{path}.yaml: {unknown(f'{group} kind', str(kind), list(classes))}")
    try:
        merged = OmegaConf.merge(structured(classes[kind]), config)
    except OmegaConfBaseException as error:
        raise ConfigError(*(f"{path}.yaml: {problem}" for problem in explain(error))) from error
    assert isinstance(merged, DictConfig)
    return merged


def check_keys(path: str, config: DictConfig) -> None:
    """Refuse top-level keys that do not exist.

    Raises:
        ConfigError: one sentence per key; names the file.
    """
    known = [f.name for f in fields(Schema)]
    strange = [str(key) for key in config if key not in (*known, "hydra")]
    if strange:
        raise ConfigError(*(f"{path}.yaml: {unknown('key', key, known)}" for key in strange))


def open_mappings(cfg: DictConfig) -> None:
    """Let free-form mappings inside typed nodes (headers, extra) take new keys, which struct mode would refuse."""
    for _, node in children(cfg):
        if isinstance(node, DictConfig) and is_dataclass(node._metadata.object_type):
            for _, child in children(node):
                if isinstance(child, DictConfig) and not is_dataclass(child._metadata.object_type):
                    OmegaConf.set_struct(child, False)
            open_mappings(node)


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """A composed config as plain values, with interpolations resolved and enums as names.

    Raises:
        ConfigError: mandatory values that are missing, interpolations that lead nowhere.
    """
    try:
        missing = sorted(OmegaConf.missing_keys(cfg))
        config = container(cfg, resolve=not missing)
    except OmegaConfBaseException as error:
        raise ConfigError(*explain(error)) from error
    problems = [f"{key} is not set: give {key}=VALUE" for key in missing]
    nameless = [key for key in PLUGIN_KEYS if isinstance(config.get(key), dict) and not config[key].get("kind")]
    problems += [f"{key}: its preset names no kind; there are: {', '.join(sorted(plugins(key)))}" for key in nameless]
    if problems:
        raise ConfigError(*problems)
    return config


def container(cfg: DictConfig, resolve: bool = False) -> dict[str, Any]:
    """A config as plain values, enums as names."""
    plain_config = OmegaConf.to_container(cfg, resolve=resolve, enum_to_str=True)
    assert isinstance(plain_config, dict)
    return {str(key): value for key, value in plain_config.items()}


def experiment_of(cfg: DictConfig) -> Experiment:
    """The typed experiment of one composed job config (with or without Hydra's own node)."""
    if "hydra" in cfg:
        cfg = cfg.copy()
        with open_dict(cfg):
            cfg.pop("hydra")
    return parse(resolved(cfg))
