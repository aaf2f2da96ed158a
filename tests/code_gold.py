"""Every reference solution of HumanEval, MBPP and CRUXEval through its scorer: ``python tests/code_gold.py DATA``.

``DATA`` holds the published files: ``humaneval/HumanEval.jsonl.gz``, ``mbpp/mbpp.jsonl``, ``cruxeval/cruxeval.jsonl``.
Expected: 164 of 164, 973 of 974 (task 123 takes longer than its limit), and twice 800 of 800; about two minutes.
"""

from __future__ import annotations

import gzip
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.domain import Choice, Label, Sample
from bench.judge.asking import parallel
from bench.scorers.code import CodeScorer
from bench.scorers.cruxeval import CruxEval, Predicts
from bench.scorers.humaneval import HumanEval
from bench.scorers.mbpp import Mbpp


def lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file, gzipped or not."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in raw.decode().splitlines()]


def passed(name: str, scorer: CodeScorer, pairs: list[tuple[dict[str, Any], str]]) -> int:
    """Print how many replies are correct, and each that is not."""
    asked = [(Sample(str(number), (), fields=row), Choice(0, text)) for number, (row, text) in enumerate(pairs)]
    with ThreadPoolExecutor(parallel()) as pool:
        scores = list(pool.map(lambda pair: scorer.score(*pair), asked))
    right = sum(score.label is Label.CORRECT for score in scores)
    print(f"{name}: {right} of {len(scores)}")
    for (row, _), score in zip(pairs, scores, strict=True):
        if score.label is not Label.CORRECT:
            print(f"  {row.get('task_id') or row.get('id')}: {score.label}: {score.detail}")
    return right


def main(data: Path) -> int:
    """0 where all come out as published."""
    human = lines(data / "humaneval" / "HumanEval.jsonl.gz")
    tasks = lines(data / "mbpp" / "mbpp.jsonl")
    crux = lines(data / "cruxeval" / "cruxeval.jsonl")
    found = (
        passed("HumanEval", HumanEval(allow_code=True), [(row, row["canonical_solution"]) for row in human]),
        passed("MBPP", Mbpp(allow_code=True), [(row, row["code"]) for row in tasks]),
        passed("CRUXEval-O", CruxEval(allow_code=True), [(row, row["output"]) for row in crux]),
        passed(
            "CRUXEval-I",
            CruxEval(allow_code=True, predicts=Predicts.input),
            [(row, f"f({row['input']})") for row in crux],
        ),
    )
    return 0 if found == (164, 973, 800, 800) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
