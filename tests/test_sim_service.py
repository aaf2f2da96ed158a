"""The service model: sizes, speeds, load; and that replies keep to their schedule on a virtual clock."""

from __future__ import annotations

import json
from heapq import heappop, heappush
from itertools import pairwise
from random import Random
from statistics import fmean
from typing import Any

import pytest
from sim_thread import answers, models

from bench.providers.sim import ModelKnobs, SimKnobs
from bench.sim.api import Service
from bench.sim.service import Pace, first_token_s, knobs_of, noise, pace_of, size_of, skill_of, token_s
from bench.sim.truth import TruthLog
from bench.sim.wire import HttpRequest

PLAIN = "Qwen/Qwen2.5-7B-Instruct"


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("Qwen/Qwen3-30B-A3B", (30, 3)),
        ("Qwen/Qwen2.5-72B-Instruct-128K", (72, 72)),
        ("Pro/THUDM/glm-4-9b-chat", (9, 9)),
        ("deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", (8, 8)),
        ("deepseek-ai/DeepSeek-R1", (671, 37)),
        ("tencent/Hunyuan-A13B-Instruct", (80, 13)),
        ("internlm/internlm2_5-7b-chat", (7, 7)),
        ("nobody/knows", (32, 32)),
    ],
)
def test_sizes_are_read_off_names(name: str, size: tuple[float, float]) -> None:
    assert size_of(name) == size


def test_every_model_has_its_own_size_but_none_is_unknown() -> None:
    unknown = [n for n in models() if size_of(n) == (32, 32) and "32B" not in n]
    assert unknown == []


def test_bigger_models_are_abler_and_slower() -> None:
    small, large = "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-72B-Instruct"
    knobs = ModelKnobs()
    assert skill_of(small, knobs) < skill_of(large, knobs) < 1
    assert pace_of(small, knobs).ttft_s < pace_of(large, knobs).ttft_s
    assert pace_of(small, knobs).output_tok_per_s > pace_of(large, knobs).output_tok_per_s
    set_by_hand = ModelKnobs(skill=0.25, ttft_ms=500, prefill_tok_per_s=1000, output_tok_per_s=10)
    assert skill_of(large, set_by_hand) == 0.25
    assert pace_of(large, set_by_hand) == Pace(0.5, 1000, 10)


def test_the_documented_table_is_what_the_rules_give() -> None:
    knobs = ModelKnobs()
    for name, ttft_ms, reads, writes, skill in (
        ("a/b-8B", 153, 14_000, 63, 0.69),
        ("a/b-32B", 260, 5_300, 34, 0.79),
        ("a/b-671B-A37B", 280, 4_800, 31, 0.90),
    ):
        pace = pace_of(name, knobs)
        assert pace.ttft_s * 1e3 == pytest.approx(ttft_ms, rel=0.02)
        assert pace.prefill_tok_per_s == pytest.approx(reads, rel=0.02)
        assert pace.output_tok_per_s == pytest.approx(writes, rel=0.03)
        assert skill_of(name, knobs) == pytest.approx(skill, abs=0.01)


def test_first_token_grows_with_the_prompt_and_with_load() -> None:
    pace = Pace(ttft_s=0.2, prefill_tok_per_s=1000, output_tok_per_s=50)

    def mean_s(prompt: int, others: int) -> float:
        random = Random(1)
        return fmean(first_token_s(pace, prompt, others, 16, random) for _ in range(4_000))

    assert mean_s(0, 0) == pytest.approx(0.2, rel=0.02)
    assert mean_s(1_000, 0) == pytest.approx(1.2, rel=0.02)
    assert mean_s(1_000, 16) == pytest.approx(2.4, rel=0.02)
    assert token_s(pace, 0, 16) == pytest.approx(0.02)
    assert token_s(pace, 64, 16) == pytest.approx(0.04)


def test_noise_has_mean_one() -> None:
    random = Random(2)
    assert fmean(noise(random, 0.25) for _ in range(20_000)) == pytest.approx(1, abs=0.01)


def test_which_knobs_apply_to_a_model() -> None:
    exact, early, late = ModelKnobs(skill=0.1), ModelKnobs(skill=0.2), ModelKnobs(skill=0.3)
    knobs = SimKnobs(models={PLAIN: exact, "Qwen/*": early, "*Instruct": late})
    assert knobs_of(PLAIN, knobs) is exact
    assert knobs_of("Qwen/Qwen3-8B", knobs) is early
    assert knobs_of("Qwen/Qwen2.5-72B-Instruct", knobs) is late
    assert knobs_of("zai-org/GLM-4.5", knobs) == ModelKnobs()


class VirtualLoop:
    """A clock that jumps to the next timer; ``late_s`` makes every timer fire late by so much."""

    def __init__(self, late_s: float = 0.0) -> None:
        self.now, self._late_s, self._count = 1000.0, late_s, 0
        self._timers: list[tuple[float, int, Any]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, action: Any) -> VirtualLoop:
        self._count += 1
        heappush(self._timers, (when, self._count, action))
        return self

    def call_later(self, delay: float, action: Any) -> VirtualLoop:
        return self.call_at(self.now + delay, action)

    def cancel(self) -> None:
        """No timer of these tests is cancelled before it has fired."""

    def run(self) -> None:
        while self._timers:
            when, _, action = heappop(self._timers)
            self.now = max(self.now, when + self._late_s)
            action()


class Sink:
    """A connection that notes when each write happened."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop, self.full, self.on_gone, self.on_room = loop, False, None, None
        self.began_s: float | None = None
        self.ended_s: float | None = None
        self.writes: list[tuple[float, bytes]] = []

    def begin(self, content_type: str, headers: Any) -> None:
        self.began_s = self._loop.now

    def write(self, data: bytes) -> None:
        self.writes.append((self._loop.now, data))

    def end(self) -> None:
        self.ended_s = self._loop.now

    def respond(self, status: int, body: bytes, content_type: str, headers: Any) -> None:
        self.ended_s = self._loop.now


def played(late_s: float = 0.0, others: int = 0, **body: Any) -> tuple[list[float], Sink]:
    """Seconds from the request to each write after the role chunk, for a stream served on a virtual clock."""
    loop = VirtualLoop(late_s)
    knobs = SimKnobs(models={"*": ModelKnobs(ttft_ms=500, output_tok_per_s=50, prefill_tok_per_s=1e9)})
    service = Service(knobs, models(), answers(), TruthLog(None), loop)  # type: ignore[arg-type]  # a stand-in loop
    asked = {"model": PLAIN, "messages": [{"role": "user", "content": "Hello?"}], "stream": True, **body}
    request = HttpRequest("POST", "/v1/chat/completions", {}, {}, json.dumps(asked).encode())
    crowd = [Sink(loop) for _ in range(others)]
    for sink in crowd:
        service.handle(HttpRequest("POST", request.path, {}, {}, request.body), sink)  # type: ignore[arg-type]
    sink = Sink(loop)
    service.handle(request, sink)  # type: ignore[arg-type]  # a stand-in connection
    loop.run()
    return [at - 1000.0 for at, _ in sink.writes[1:]], sink


def test_a_stream_keeps_its_pace() -> None:
    times, sink = played()
    assert sink.began_s is not None
    assert 0.1 < sink.began_s - 1000.0 < times[0]
    assert 0.25 < times[0] < 1.0
    gaps = [b - a for a, b in pairwise(times[:-1])]
    assert fmean(gaps) == pytest.approx(0.02, rel=0.2)
    assert min(gaps) > 0


def test_lateness_does_not_add_up() -> None:
    times, _ = played()
    late, _ = played(late_s=0.05)
    assert late[-1] - times[-1] < 0.06


def test_others_on_the_model_slow_a_stream_down() -> None:
    alone, _ = played()
    crowded, _ = played(others=32)
    assert crowded[0] > 2 * alone[0]
    assert crowded[-1] - crowded[0] > 1.2 * (alone[-1] - alone[0])


def test_a_whole_reply_takes_as_long_as_its_tokens() -> None:
    _, sink = played(stream=False, max_tokens=50)
    assert sink.ended_s is not None
    assert 1.0 < sink.ended_s - 1000.0 < 2.2
