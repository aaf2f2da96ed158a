"""``bench models``: the configured models as a table, and how they compare with what a server offers."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

from bench.catalogue import load_presets, load_provider
from bench.config import Model
from bench.domain import ConfigError
from bench.providers import Provider
from bench.show.offered import offered_models
from bench.show.terminal import printable

COLUMNS = ("preset", "name", "provider", "context", "thinking", "tools", "vision", "min_p", "price in/out", "as of")
SIM_PLAYS = "siliconflow"


def main(argv: list[str]) -> int:
    """Run ``bench models``; returns the exit code.

    0: listed or compared, whatever the difference; 2: wrong usage or configuration, or the server did not answer.
    """
    options = _parser().parse_args(argv)
    try:
        folders = _user_folders(options.config_dir)
        presets = load_presets(*folders)
        if options.check:
            _check(options.provider or "sim", presets, folders, options.json)
        else:
            _list(_of_provider(presets, options.provider, folders), options.json)
    except ConfigError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench models",
        description="The configured models. With --check, compare them with what the provider's server offers.",
        allow_abbrev=False,
    )
    parser.add_argument("--check", action="store_true", help="ask the server's /models (needs its key; costs nothing)")
    parser.add_argument(
        "--provider", metavar="NAME", help="only models of this provider; with --check the server asked"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--config-dir", metavar="DIR", help="a conf folder of your own, besides ./conf")
    return parser


def _user_folders(config_dir: str | None) -> tuple[Path, ...]:
    from bench.compose import user_folders

    return user_folders(config_dir)


def _of_provider(presets: Mapping[str, Model], name: str | None, folders: Sequence[Path]) -> Mapping[str, Model]:
    """The models that a provider answers for: those whose preset names it, or whose service it plays or mirrors."""
    if name is None:
        return presets
    served = {name} if name == "auto" else {name, *_plays(load_provider(name, *folders))}
    return {preset: model for preset, model in presets.items() if model.provider in served}


def _plays(provider: Provider) -> tuple[str, ...]:
    return (SIM_PLAYS,) if provider.enforces_page_rules else ()


def _list(presets: Mapping[str, Model], as_json: bool) -> None:
    if as_json:
        print(json.dumps([{"preset": preset, **_plain(asdict(model))} for preset, model in presets.items()], indent=1))
        return
    from tabulate import tabulate

    rows = [_row(preset, model) for preset, model in presets.items()]
    if rows:
        print(tabulate(rows, headers=COLUMNS, disable_numparse=True, colalign=_alignment()))
    print(f"{len(rows)} models; any other: bench run model=custom model.name=OWNER/NAME provider=...")
    print("Prices per million tokens, as of the date shown; list prices change.")


def _alignment() -> tuple[str, ...]:
    return tuple("right" if column in ("context", "price in/out") else "left" for column in COLUMNS)


def _row(preset: str, model: Model) -> tuple[str, ...]:
    price = model.price
    cost = "-"
    if price.input_per_mtok is not None and price.output_per_mtok is not None:
        cost = f"{price.input_per_mtok:g}/{price.output_per_mtok:g} {price.currency}"
    context = "-" if model.context_tokens is None else str(model.context_tokens)
    flags = ("yes" if flag else "-" for flag in (model.tools, model.vision, model.min_p))
    cells = (preset, model.name, model.provider, context, model.thinking.value, *flags, cost, price.as_of or "-")
    return tuple(printable(cell) for cell in cells)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value.value if isinstance(value, Enum) else value


def _check(name: str, presets: Mapping[str, Model], folders: Sequence[Path], as_json: bool) -> None:
    provider = load_provider(name, *folders)
    own = {model.name for model in _of_provider(presets, name, folders).values()}
    configured = {model.name: preset for preset, model in reversed([*presets.items()])}
    offered = offered_models(provider)
    both = {model: configured[model] for model in offered if model in configured}
    missing = {model: configured[model] for model in sorted(own - set(offered))}
    strange = [model for model in offered if model not in configured]
    if as_json:
        found = {"provider": name, "offered": sorted(both), "not_offered": sorted(missing), "not_configured": strange}
        print(json.dumps(found, indent=1))
        return
    print(f"provider {name}: {len(both)} configured models are offered, {len(missing)} are not; {len(strange)} others")
    _section("configured and offered", sorted([f"{preset}  ({model})"] for model, preset in both.items()))
    _section("configured, but not offered now", [[f"{preset}  ({model})"] for model, preset in missing.items()])
    _section("offered, but not configured", [[model, _command(model, name)] for model in strange])


def _command(model: str, provider: str) -> str:
    """The shell command that runs an unconfigured model, quoted for Hydra and for the shell."""
    quoted = "'" + model.replace("\\", "\\\\").replace("'", "\\'") + "'"
    plain = model if all(c.isalnum() or c in "/-._" for c in model) else quoted
    words = ("bench", "run", "model=custom", f"model.name={plain}", f"provider={provider}")
    return " ".join(shlex.quote(word) for word in words)


def _section(title: str, entries: Sequence[Sequence[str]]) -> None:
    if entries:
        print(f"\n{title}:")
        for first, *further in entries:
            print(f"  {printable(first)}")
            for line in further:
                print(f"      {printable(line, 500)}")
