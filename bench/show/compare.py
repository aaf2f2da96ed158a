"""``bench compare``: two runs, or the cells of one, on the same prompts."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.domain import ConfigError
from bench.judge.comparing import PairComparison, compare
from bench.judge.flips import Flip, find_flips
from bench.judge.intervals import Estimate
from bench.judge.rows import read_run
from bench.judge.sides import Pair, pairs_by, pairs_of_runs
from bench.judge.statistics.comparison import Estimand
from bench.judge.statistics.outcomes import OutcomeRates
from bench.record import find_run
from bench.show.comparison import Compared, markdown, render

ESTIMANDS = {"kind_of_task": Estimand.KIND_OF_TASK, "frozen_set": Estimand.FROZEN_SET}
#: flips per pair that ``compare.md`` shows in full; all are in ``flips.parquet``
FLIPS_IN_FULL = 200


def main(argv: Sequence[str]) -> int:
    """``bench compare RUN_A RUN_B`` or ``bench compare RUN --by KEY``: print the comparison and write its files.

    Raises:
        ConfigError: no such run; the sides were not asked the same prompts or not scored alike; the folder cannot be
            written.
    """
    options = _parser().parse_args(list(argv))
    if len(options.runs) > 2:
        raise ConfigError("bench compare takes one run or two; compare several models within one run: --by model.name")
    results = Path(options.results_dir)
    paths = [find_run(name, results) for name in options.runs]
    if len(paths) == 2 and paths[0] == paths[1]:
        raise ConfigError(f"{paths[0].name}: is the same run twice; compare its cells with --by KEY")
    pairs, name = _pairs(paths, options)
    compared = [Compared(pair, find_flips(pair.a, pair.b)) for pair in compare(pairs, ESTIMANDS[options.estimand])]
    print(render(compared, options.flips, shutil.get_terminal_size((120, 24)).columns))
    folder = Path(options.out) if options.out else paths[-1] / name
    try:
        written = write(compared, folder)
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be written ({error.strerror or error}); make room, or name another folder with --out"
        ) from error
    for path in written:
        print(path)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench compare",
        description="Compare accuracy, times, tokens and cost of two runs, or of the cells of one, paired on the same "
        "prompts. Refused where the prompts or the scorers differ.",
        epilog="for example: bench compare 3f2a1c latest; bench compare latest --by model.name --baseline qwen3-8b",
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="a run folder, 'latest', or an unambiguous part of its name"
    )
    parser.add_argument("--by", metavar="KEY", help="compare the cells of one run that differ in this swept parameter")
    parser.add_argument("--baseline", metavar="VALUE", help="the value of KEY that all others are compared with")
    parser.add_argument("--cell-a", metavar="LABEL", help="the one cell of the first run to take")
    parser.add_argument("--cell-b", metavar="LABEL", help="the one cell of the second run to take")
    parser.add_argument(
        "--estimand",
        choices=sorted(ESTIMANDS),
        default="kind_of_task",
        help="kind_of_task: the questions stand for others like them (default); frozen_set: these questions alone",
    )
    parser.add_argument("--flips", type=int, default=5, metavar="N", help="flipped questions to print (default: 5)")
    parser.add_argument("--out", metavar="FOLDER", help="where the files go (default: a folder inside the last run)")
    parser.add_argument("--results-dir", default="results", help="where runs lie (default: results)")
    return parser


def _pairs(paths: Sequence[Path], options: argparse.Namespace) -> tuple[list[Pair], str]:
    """The pairs, and what the folder of the comparison is called."""
    runs = [read_run(path) for path in paths]
    if len(runs) == 2:
        strange = [f"--{key}" for key in ("by", "baseline") if getattr(options, key) is not None]
        if strange:
            raise ConfigError(f"{' and '.join(strange)}: compares the cells of one run; two were named")
        return pairs_of_runs(runs[0], runs[1], options.cell_a, options.cell_b), f"compare-{_safe(paths[0].name)}"
    strange = [f"--{key.replace('_', '-')}" for key in ("cell_a", "cell_b") if getattr(options, key) is not None]
    if strange:
        raise ConfigError(f"{' and '.join(strange)}: picks a cell of two runs; one was named, see --by")
    pairs = pairs_by(runs[0], options.by, options.baseline)
    return pairs, f"compare-by-{_safe(options.by or runs[0].cells[0].swept[0])}"


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)[:80]


def write(compared: Sequence[Compared], folder: Path) -> list[Path]:
    """``compare.md``, ``compare.json``, ``compare.parquet`` and ``flips.parquet``, each whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    written = [
        _replaced(folder / "compare.md", markdown(compared, FLIPS_IN_FULL)),
        _replaced(
            folder / "compare.json", json.dumps([as_plain(one) for one in compared], indent=1, ensure_ascii=False)
        ),
    ]
    rows = [flat_row(one.pair) for one in compared]
    flips = [_flip_row(number, one.pair, flip) for number, one in enumerate(compared) for flip in one.flips]
    frames = {
        "compare.parquet": pd.DataFrame(rows),
        "flips.parquet": pd.DataFrame(flips, columns=list(FLIP_COLUMNS)),
    }
    for name, frame in frames.items():
        part = folder / f".tmp-{name}"
        frame.to_parquet(part, index=False)
        os.replace(part, folder / name)
        written.append(folder / name)
    return written


def _replaced(path: Path, text: str) -> Path:
    part = path.with_name(f".tmp-{path.name}")
    part.write_text(text, encoding="utf-8", errors="backslashreplace")
    os.replace(part, path)
    return path


def flat_row(pair: PairComparison) -> dict[str, Any]:
    """The figures of a pair under fixed names: a row of ``compare.parquet``."""
    compared = pair.compared
    row: dict[str, Any] = {
        "run_a": pair.a.run_id,
        "cell_a": pair.a.cell.cell_id,
        "name_a": pair.a.name,
        "run_b": pair.b.run_id,
        "cell_b": pair.b.cell.cell_id,
        "name_b": pair.b.name,
        "standing": str(pair.standing),
        "estimand": str(compared.estimand),
        "questions": compared.estimate.n,
        "clusters": compared.clusters,
        "dropped": compared.dropped,
    }
    figures = {"accuracy_a": pair.accuracy_a, "accuracy_b": pair.accuracy_b, "difference": compared.estimate}
    for name, estimate in figures.items():
        row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        row[f"{name}_method"] = estimate.method
    row |= {
        "p": compared.p,
        "p_adjusted": pair.p,
        "correction": pair.correction,
        "test": str(compared.test),
        "mde": compared.mde,
        "se": compared.se,
        "se_unpaired": compared.se_unpaired,
        "correlation": compared.correlation,
        # the comparison is of B with A, so its first side is B
        "b_ahead": compared.a_ahead,
        "a_ahead": compared.b_ahead,
        "seed": compared.seed,
        "prompt_hash": pair.a.prompt_hash,
        "scorer": pair.a.cell.scorer,
        "verdict": pair.verdict,
    }
    for ratio in pair.ratios:
        row |= {f"{ratio.column}_a": ratio.a, f"{ratio.column}_b": ratio.b, f"{ratio.column}_ratio": ratio.ratio.value}
        row |= {f"{ratio.column}_ratio_low": ratio.ratio.low, f"{ratio.column}_ratio_high": ratio.ratio.high}
    return row


def as_plain(one: Compared) -> dict[str, Any]:
    """A pair as JSON holds it: figures of :func:`flat_row`, outcomes, tags, notes, and ids of flipped questions."""
    pair = one.pair
    found = flat_row(pair) | {
        "reasons": list(pair.reasons),
        "notes": list(pair.notes),
        "outcomes_a": _outcomes(pair.outcomes_a),
        "outcomes_b": _outcomes(pair.outcomes_b),
        "ratios": [asdict(ratio) for ratio in pair.ratios],
        "tags": [
            {
                "tag": tag.tag,
                "questions": tag.a.n,
                "accuracy_a": asdict(tag.a),
                "accuracy_b": asdict(tag.b),
                "difference": asdict(tag.compared.estimate),
                "test": str(tag.compared.test),
                "p": tag.compared.p,
                "p_adjusted": tag.p,
            }
            for tag in pair.tags
        ],
        "lost": [flip.sample_id for flip in one.flips if not flip.gained],
        "gained": [flip.sample_id for flip in one.flips if flip.gained],
    }
    return {name: _finite(value) for name, value in found.items()}


def _outcomes(found: OutcomeRates | None) -> dict[str, Any] | None:
    if found is None:
        return None
    rates: dict[str, Estimate] = {**found.rates, "error": found.error_rate}
    shares = {name: asdict(rate) for name, rate in rates.items()}
    return {"replies": found.total, "errors": found.errors, "shares": shares, "worst": found.worst, "best": found.best}


def _finite(value: Any) -> Any:
    """The value with null for what JSON has no number for."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


FLIP_COLUMNS = (
    "pair",
    "name_a",
    "name_b",
    "sample_id",
    "gained",
    "mean_a",
    "mean_b",
    "label_a",
    "label_b",
    "extracted_a",
    "extracted_b",
    "request_id_a",
    "request_id_b",
    "choice_a",
    "choice_b",
    "text_a",
    "text_b",
    "question",
    "target",
    "tags",
)


def _flip_row(number: int, pair: PairComparison, flip: Flip) -> dict[str, Any]:
    row: dict[str, Any] = {
        "pair": number,
        "name_a": pair.a.name,
        "name_b": pair.b.name,
        "sample_id": flip.sample_id,
        "gained": flip.gained,
        "mean_a": flip.mean_a,
        "mean_b": flip.mean_b,
        "question": flip.question,
        "target": flip.target,
        "tags": " ".join(flip.tags),
    }
    for end, said in (("a", flip.a), ("b", flip.b)):
        row |= {f"label_{end}": said.label, f"extracted_{end}": said.extracted, f"text_{end}": said.text}
        row |= {f"request_id_{end}": said.request_id, f"choice_{end}": said.choice}
    return row
