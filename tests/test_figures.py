"""What the verdicts of a run say together: corpus scores with their standard errors, published rates, means."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
from scored_run import finished_run

from bench.judge.figures import figure_lines
from bench.judge.rows import read_run
from bench.judge.score import score_run

WORDS = ["the", "cat", "sat", "on", "a", "mat", "while", "dogs", "ran", "over", "green", "hills"]


def lines_of(
    folder: Path, rows: Sequence[Mapping[str, Any]], replies: Mapping[str, Sequence[str]], **config: Any
) -> list[str]:
    path = finished_run(folder, rows, replies, **config)
    score_run(path)
    return figure_lines(read_run(path))


def test_a_corpus_score_has_the_errors_that_sacrebleu_and_the_harness_publish(tmp_path: Path) -> None:
    from sacrebleu.metrics.bleu import BLEU

    seeded = random.Random(3)
    references = [" ".join(seeded.choices(WORDS, k=9)) for _ in range(12)]
    replies = [" ".join(word if seeded.random() < 0.8 else "so" for word in text.split()) for text in references]
    rows = [{"id": f"r{n}", "prompt": f"{n}?", "target": text} for n, text in enumerate(references)]
    [line] = lines_of(tmp_path, rows, {f"r{n}": [text] for n, text in enumerate(replies)}, scorer={"kind": "bleu"})

    pairs, drawn = list(zip(replies, references, strict=True)), random.Random(0)
    scores = []
    for _ in range(100):
        hypotheses, targets = zip(*drawn.choices(pairs, k=len(pairs)), strict=True)
        scores.append(BLEU().corpus_score(list(hypotheses), [list(targets)]).score)
    whole = BLEU().corpus_score(replies, [references], n_bootstrap=1000)
    assert f"bleu of 12 replies: BLEU {whole.score:.2f} (mean {whole._mean:.2f} ± {whole._ci:.2f})" in line
    assert f"as lm-evaluation-harness draws it {stdev(scores):.3f}; nrefs:1" in line


def test_the_four_rates_of_ifeval_are_told_and_replies_without_flags_counted(tmp_path: Path) -> None:
    rows = [
        {
            "id": f"r{n}",
            "prompt": f"{n}?",
            "target": "x",
            "instruction_id_list": ["punctuation:no_comma", "detectable_format:title"],
            "kwargs": [{}, {}],
        }
        for n in range(3)
    ]
    replies = {"r0": ["<<T>> a"], "r1": ["a, b\n<<T>> c"], "r2": ["I cannot, sorry"]}
    lines = lines_of(tmp_path, rows, replies, scorer={"kind": "ifeval", "time_limit_s": None}, also=["squad", "exact"])
    assert lines == [
        (
            "Qwen3-8B: ifeval of 3 replies: prompt level strict 33.33%, instruction level strict 50.00%, "
            "prompt level loose 66.67%, instruction level loose 66.67%"
        ),
        "Qwen3-8B: squad of 3 replies: em 0.00%, f1 0.00%",
    ]


@pytest.mark.parametrize(("reason", "said"), [("stop", []), ("length", ["(1 replies say nothing to it)"])])
def test_replies_that_were_cut_are_counted_apart(tmp_path: Path, reason: str, said: list[str]) -> None:
    rows = [{"id": f"r{n}", "prompt": f"{n}?", "target": "a b"} for n in range(2)]
    lines = lines_of(tmp_path, rows, {"r0": ["a b"], "r1": ["a"]}, scorer={"kind": "squad"}, finish_reason=reason)
    assert [word in lines[0] for word in said] == [True] * len(said)
    assert ("em 50.00%" in lines[0], "of 1 replies: em 100.00%" in lines[0]) == (not said, bool(said))


def test_scorers_without_such_figures_say_nothing(tmp_path: Path) -> None:
    rows = [{"id": "r0", "prompt": "?", "target": "a"}]
    assert lines_of(tmp_path, rows, {"r0": ["a"]}, scorer={"kind": "exact"}) == []
