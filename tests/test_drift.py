"""Signs of a silently changed model, and that chance alone gives none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from math import comb
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_nights import Nights, Service, altered, made_night

from bench.cli import main
from bench.judge.history.drift import Sign, disagreements, find_drift, more_often
from bench.judge.history.reading import read_history
from bench.judge.night import CellNight
from bench.judge.night_answers import Answered
from bench.record.results import open_results


def answering(at: int, answers: Sequence[Sequence[int]], texts: bool = False, **changes: str) -> CellNight:
    """A night that gave these answers, one list per prompt."""
    night = made_night(at, hashes=changes)
    question = np.repeat(np.arange(1, len(answers) + 1), [len(one) for one in answers])
    answer = np.array([value for one in answers for value in one])
    text = answer + 1 if texts else np.zeros_like(answer)
    return replace(night, answered=Answered(question, answer, text, np.ones(len(answer), np.float32)))


def signs(nights: Sequence[CellNight]) -> list[tuple[Sign, str]]:
    return [(one.sign, one.night.run) for one in find_drift(nights)]


def drawn(at: int, chance: np.ndarray, repeats: int, seed: int) -> CellNight:
    random = np.random.default_rng([seed, at])
    return answering(at, (random.random((len(chance), repeats)) < chance[:, None]).astype(int).tolist())


def test_what_the_server_says_of_itself() -> None:
    nights = [made_night(at) for at in range(3)]
    assert signs(nights) == []
    renamed = replace(nights[2], models=("Qwen/Qwen3-8B-2607",))
    assert signs([*nights[:2], renamed]) == [(Sign.MODEL_NAME, nights[2].run)]
    printed = [replace(night, fingerprints=(f"fp_{night.run_id > '0001'}",)) for night in nights]
    assert signs(printed) == [(Sign.FINGERPRINT, nights[2].run)]
    # a server that says nothing one night has said nothing
    assert signs([printed[0], nights[1], printed[1]]) == []


def test_another_count_of_the_same_prompt_is_another_tokenizer() -> None:
    before, after = made_night(0), made_night(1)
    counts = after.asked.prompt_tokens.copy()
    counts[:2] += 3
    changed = replace(after, asked=replace(after.asked, prompt_tokens=counts))
    (found,) = find_drift([before, changed])
    assert (found.sign, found.p) == (Sign.PROMPT_TOKENS, None)
    assert found.text == "2 of 60 prompts count another number of tokens, one 53, before 50"
    # on other prompts, or asked otherwise, it says nothing
    for name in ("prompt set", "sampling", "provider"):
        assert find_drift([before, replace(changed, hashes={**changed.hashes, name: "other"})]) == []


def test_replies_that_no_longer_repeat_themselves() -> None:
    alike = [[1, 1, 1]] * 50
    mixed = [[1, 1, 1]] * 25 + [[1, 2, 3]] * 25
    nights = [answering(at, alike, texts=True) for at in range(3)]
    assert signs(nights) == []
    found = find_drift([*nights, answering(3, mixed, texts=True)])
    assert [one.text for one in found if one.sign is Sign.DETERMINISM] == [
        "raw replies (TARr) of 25 of 50 prompts are all identical, 50%, before 100%",
        "answers (TARa) of 25 of 50 prompts are all identical, 50%, before 100%",
    ]
    # where replies are drawn at a temperature, nothing was promised
    drawn_freely = [answering(at, alike) for at in range(3)] + [answering(3, mixed)]
    assert not [one for one in find_drift(drawn_freely) if one.sign is Sign.DETERMINISM]


def test_answers_drift_only_above_the_noise_within_a_night() -> None:
    chance = np.random.default_rng(1).uniform(0.1, 0.9, 120)
    quiet = [drawn(at, chance, 3, seed=2) for at in range(60)]
    # 59 comparisons at 1 in 1000; the answers of two nights differ in about every third prompt all the while
    assert len(signs(quiet)) <= 1
    between, within = disagreements(quiet[0], quiet[1])
    assert between.mean() == pytest.approx(within.mean(), abs=0.05)
    assert between.mean() > 0.25
    swapped = drawn(60, 1 - chance, 3, seed=2)
    assert signs([*quiet[-8:], swapped]) == [(Sign.ANSWERS, swapped.run)]
    # one failed reply takes its prompt out, not the test
    short = answering(
        60, [list(one) for one in (1 - chance[:, None] > np.full((120, 3), 0.5)).astype(int)[:-1]] + [[1]]
    )
    assert [sign for sign, _ in signs([*quiet[-8:], short])] == [Sign.ANSWERS]
    # read by another version of the scorer, other answers are no news
    assert signs([*quiet[-8:], replace(swapped, hashes={**swapped.hashes, "scorer": "numeric 2"})]) == []


def test_single_answers_are_held_against_the_flips_of_earlier_nights() -> None:
    chance = np.random.default_rng(3).uniform(0.0, 0.2, 150)
    quiet = [drawn(at, chance, 1, seed=4) for at in range(40)]
    assert len(signs(quiet)) <= 1
    changed = drawn(40, chance + 0.5, 1, seed=4)
    assert signs([*quiet[-8:], changed]) == [(Sign.ANSWERS, changed.run)]
    # with one earlier night nobody knows how much is chance
    assert signs([quiet[-1], changed]) == []


@given(st.integers(0, 12), st.integers(1, 12), st.integers(0, 12), st.integers(1, 12))
def test_more_often_is_fishers_exact_test(hits: int, of: int, earlier_hits: int, earlier_of: int) -> None:
    hits, earlier_hits = min(hits, of), min(earlier_hits, earlier_of)
    marked, total = hits + earlier_hits, of + earlier_of
    naive = sum(comb(marked, k) * comb(total - marked, of - k) for k in range(hits, of + 1) if k <= marked) / comb(
        total, of
    )
    assert math.isclose(more_often(hits, of, earlier_hits, earlier_of), min(1.0, naive), rel_tol=1e-9)


def test_a_recorded_change_shows_as_a_notice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for night in range(3):
        run = Nights(questions=24, repeats=1).write(tmp_path, night, {"m": Service()})
        altered(run, "requests", response_model="m", system_fingerprint="fp_b" if night == 2 else "fp_a")
        if night == 2:
            altered(run, "requests", prompt_tokens=57)
    found = find_drift(read_history(open_results(str(tmp_path))).nights)
    assert [one.sign for one in found] == [Sign.FINGERPRINT, Sign.PROMPT_TOKENS]
    assert main(["history", "--results", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "system fingerprint of m on arithmetic: fp_b, before fp_a" in said
    assert "24 of 24 prompts count another number of tokens, one 57, before 50" in said
