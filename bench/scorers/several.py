"""Several scorers of the same replies: the run's own, and those that stand beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.domain import ConfigError
from bench.registry import build
from bench.scorers import Scorer


def named_scorer(choice: str | Mapping[str, Any], options: Mapping[str, Any] | None = None) -> Scorer:
    """A scorer by its kind, or by a mapping with its options; those of ``options`` that are set go over them.

    Raises:
        ConfigError: it does not exist, or takes no such options.
    """
    own = {"kind": choice} if isinstance(choice, str) else dict(choice)
    over = {key: value for key, value in (options or {}).items() if key != "kind" and value is not None}
    scorer: Scorer = build("scorer", own | over)
    return scorer


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
