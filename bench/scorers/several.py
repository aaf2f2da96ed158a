"""Several scorers of the same replies: the run's own, and those that stand beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.domain import ConfigError
from bench.places import shipped
from bench.registry import build, plugins
from bench.scorers import Scorer


def named_scorer(choice: str | Mapping[str, Any], options: Mapping[str, Any] | None = None) -> Scorer:
    """A scorer by the name of a shipped preset or its kind, or by a mapping with its options.

    Those of ``options`` that are set go over them, nested ones key by key.

    Raises:
        ConfigError: it does not exist, or takes no such options.
    """
    own = _preset(choice) if isinstance(choice, str) else dict(choice)
    for key, value in set_options(options or {}).items():
        nested = isinstance(value, dict) and isinstance(own.get(key), Mapping)
        own[key] = {**own[key], **value} if nested else value
    scorer: Scorer = build("scorer", own)
    return scorer


def set_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options beside ``kind`` that are set, without the empty ones of nested mappings."""
    given = {
        key: set_options(one) if isinstance(one, Mapping) else one for key, one in options.items() if key != "kind"
    }
    return {key: one for key, one in given.items() if one is not None and one != {}}


def _preset(name: str) -> dict[str, Any]:
    file = shipped("conf") / "scorer" / f"{name}.yaml"
    if name in plugins("scorer") or not file.is_file():
        return {"kind": name}
    import yaml

    found: dict[str, Any] = yaml.safe_load(file.read_bytes())
    return found


def further_scorers(also: Any, first: Scorer | Mapping[str, Any]) -> tuple[Scorer, ...]:
    """The scorers that ``also`` names, beside the run's own.

    Raises:
        ConfigError: one that does not exist, options that it does not take, or two scorers of one name.
    """
    own: Scorer = first if isinstance(first, Scorer) else build("scorer", first)
    found: list[Scorer] = []
    for one in [also] if isinstance(also, (str, Mapping)) else also:
        if not isinstance(one, (str, Mapping)):
            raise ConfigError(f"also: {one!r} is no scorer; give its kind, or a mapping with `kind` and its options")
        found.append(named_scorer(one))
    titles = [own.title, *(one.title for one in found)]
    twice = sorted({title for title in titles if titles.count(title) > 1})
    if twice:
        raise ConfigError(
            f"also: two scorers are called {', '.join(twice)}; give one of them another `name`, or leave it out"
        )
    return tuple(found)
