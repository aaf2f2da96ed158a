"""The model and provider presets, read from ``conf/`` without Hydra: for the simulator's start and for listings.

A preset is a YAML file of a config group; its ``defaults`` list may name other presets of its group, as Hydra has it.
A user's own conf folder extends ours: a file of the same name stands instead of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import yaml

from bench.config import Model, Price
from bench.domain import ConfigError
from bench.places import shipped
from bench.providers import Provider
from bench.registry import build, discover, plugins, typed, unknown

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C loader is eight times as fast where PyYAML has it

MODEL_KEYS = {field.name for field in fields(Model)}
PRICE_KEYS = {field.name for field in fields(Price)}


def preset_of(name: str) -> str:
    """The file name of a model's preset: the name's last part in lower case, ``pro-`` in front for ``Pro/``."""
    return ("pro-" if name.startswith("Pro/") else "") + name.rsplit("/", 1)[-1].lower()


def preset_files(group: str, *folders: Path) -> dict[str, Path]:
    """The YAML files of a config group by preset name: ours and those of the user's folders, first folder wins."""
    places = [shipped("conf") / group, *(folder / group for folder in reversed(folders))]
    found = {path.name.removesuffix(".yaml"): path for place in places for path in place.glob("*.yaml")}
    return dict(sorted(found.items()))


def load_presets(*folders: Path) -> dict[str, Model]:
    """Every model preset that names its model, by preset name (``custom`` does not).

    Raises:
        ConfigError: a file that is no mapping of YAML, or holds a key or value a model does not have.
    """
    files = preset_files("model", *folders)
    return {preset: model for preset in files if (model := _model(preset, files)) is not None}


def load_models(*folders: Path) -> dict[str, Model]:
    """Every configured model by its full name. Of several presets of one model, the one named after it counts.

    Raises:
        ConfigError: as :func:`load_presets`.
    """
    models: dict[str, Model] = {}
    for preset, model in load_presets(*folders).items():
        if model.name not in models or preset == preset_of(model.name):
            models[model.name] = model
    return models


def load_provider(name: str, *folders: Path) -> Provider:
    """A provider preset, or the plug-in of that name with its own defaults.

    Raises:
        ConfigError: there is no such provider, or its settings are wrong.
    """
    discover()
    for folder in folders:
        discover(folder)
    files = preset_files("provider", *folders)
    kinds = plugins("provider")
    if name not in files and name not in kinds:
        raise ConfigError(unknown("provider", name, [*files, *kinds]))
    provider: Provider = build("provider", _settings(name, files, kinds))
    return provider


def _model(preset: str, files: Mapping[str, Path]) -> Model | None:
    settings = _settings(preset, files)
    if settings.get("name", "???") == "???":
        return None
    model = _at_once(settings)
    return model if model is not None else typed(Model, settings, where=str(files[preset]))


def _at_once(settings: Mapping[str, Any]) -> Model | None:
    """The model, if its settings are plainly right: 0.01 ms where the typed schema, which explains errors, takes 3."""
    price = settings.get("price", {})
    if not set(settings) <= MODEL_KEYS or not isinstance(price, Mapping) or not set(price) <= PRICE_KEYS:
        return None
    try:
        return msgspec.convert(settings, Model)
    except msgspec.ValidationError:
        return None


def _settings(
    preset: str, files: Mapping[str, Path], kinds: Mapping[str, Any] | None = None, above: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The merged mapping of a preset and of what its ``defaults`` list names, in that list's order."""
    if preset not in files:
        return {"kind": preset}
    path = files[preset]
    own = _read(path)
    settings: dict[str, Any] = {}
    parts = own.pop("defaults", ["_self_"])
    if not isinstance(parts, list):
        raise ConfigError(f"{path}: defaults must be a list")
    for part in parts if "_self_" in parts else [*parts, "_self_"]:
        if part == "_self_":
            settings = _merged(settings, own)
        elif part in above or part == preset or (part not in files and part not in (kinds or {})):
            raise ConfigError(f"{path}: defaults names {part!r}, which is no other preset of this group")
        else:
            settings = _merged(settings, _settings(part, files, kinds, (*above, preset)))
    return settings


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: _merged(below[key], above[key]) for key in above if _is_map(below.get(key)) and _is_map(above[key])}
    return {**below, **above, **both}


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_bytes(), Loader=_Loader)  # a safe loader by either name
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path}: must hold a mapping of names to values")
    return content
