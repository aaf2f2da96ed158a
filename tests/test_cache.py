"""The cache of replies: what hits, what misses, what is kept, and that no figure of time stands on it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from measured import Measured, run_measured
from setups import experiment, rows_file
from sim_thread import SimThread

from bench.config import Experiment
from bench.domain import Choice, ConfigError, ErrorKind, EventKind, Exchange, Failure, Outcome, Reply, Timeline, Usage
from bench.judge.rows import read_run
from bench.judge.score import score_run
from bench.measure.cache import DEFAULT_FOLDER, MOST_BYTES, Cache, Kept, cache_folder, open_cache
from bench.measure.plan import make_plan
from bench.providers.sim import Faults, SimKnobs
from bench.show.summary import summary_of

KEY = "ab" * 32


class Served:
    """A simulator with a truth log, and runs against it that share a cache."""

    def __init__(self, sim: SimThread, folder: Path, **knobs: Any) -> None:
        self.folder, self.log = folder, folder / "truth.jsonl"
        self.port = sim.serve(SimKnobs(speed=0, truth_log=str(self.log), **knobs))
        self.rows = rows_file(folder, 6)

    def config(self, **changes: Any) -> Experiment:
        provider = {"kind": "compatible", "name": "lab", "base_url": f"http://127.0.0.1:{self.port}/v1"}
        provider |= changes.pop("provider", {})
        settings: dict[str, Any] = {
            "dataset__scorer": "numeric",
            "sampling": {"max_tokens": 64, "temperature": 0.0, "enable_thinking": False},
            "cache": str(self.folder / "cache"),
        }
        return experiment(self.rows, provider=provider, **settings | changes)

    def run(self, *configs: Experiment) -> Measured:
        return run_measured(list(configs), self.folder / "results")

    def sent(self) -> int:
        return len(self.log.read_text(encoding="utf-8").splitlines()) if self.log.exists() else 0


@pytest.fixture
def sim() -> Iterator[SimThread]:
    with SimThread() as threads:
        yield threads


def served_text(run: Measured) -> dict[str, str]:
    return {row["request_id"]: row["text"] for row in run.rows("choices", ["request_id", "text"])}


def test_a_second_run_sends_nothing_and_scores_the_same(sim: SimThread, tmp_path: Path) -> None:
    served = Served(sim, tmp_path)
    config = served.config(repeats=2, sampling={"max_tokens": 64, "temperature": 1.0, "n": 2, "enable_thinking": False})
    first = served.run(config)
    assert served.sent() == 12
    assert {row["cached"] for row in first.rows("requests")} == {False}

    second = served.run(config)
    assert served.sent() == 12, "the server saw a request of the second run"
    assert served_text(second) == served_text(first)
    assert score_run(second.path) == score_run(first.path)
    for row in second.rows("requests"):
        assert (row["cached"], row["outcome"], row["status"], row["attempts"], row["cost"]) == (True, "ok", 200, 0, 0.0)
        assert [row[mark] for mark in ("permit_ns", "sent_ns", "headers_ns", "end_ns", "connect_ns")] == [None] * 5
    assert second.rows("attempts") == []
    assert {tuple(row["event_ns"]) for row in second.rows("choices")} == {()}
    usage = ["request_id", "prompt_tokens", "completion_tokens", "response_model"]
    assert sorted(map(str, second.rows("requests", usage))) == sorted(map(str, first.rows("requests", usage)))


@pytest.mark.parametrize(
    "change",
    [
        {"sampling": {"max_tokens": 64, "temperature": 0.5, "enable_thinking": False}},
        {"sampling": {"max_tokens": 64, "temperature": 0.0, "enable_thinking": False, "n": 2}},
        {"sampling": {"max_tokens": 64, "temperature": 0.0, "enable_thinking": False, "seed": 1}},
        {"sampling": {"max_tokens": 64, "temperature": 0.0, "enable_thinking": False, "extra": {"user": "me"}}},
        {"dataset__system": "Answer in one word."},
        {"model__name": "Qwen/Qwen3-32B"},
        {"provider": {"headers": {"X-Route": "fast"}}},
        {"provider": {"base_url": "http://127.0.0.1:9/v1"}},
        {"provider": {"extra_body": {"top_k": 3}}},
    ],
)
def test_whatever_can_change_an_answer_is_another_key(tmp_path: Path, change: dict[str, Any]) -> None:
    rows = rows_file(tmp_path, 3)

    def keys(**changes: Any) -> set[str]:
        provider = {"kind": "compatible", "name": "lab", "base_url": "http://127.0.0.1:8/v1"}
        provider |= changes.pop("provider", {})
        settings: dict[str, Any] = {"sampling": {"max_tokens": 64, "temperature": 0.0, "enable_thinking": False}}
        plan = make_plan([experiment(rows, provider=provider, **settings | changes)])
        cache = Cache(tmp_path, lambda _: None)
        return {cache.key(request) for request in plan.requests()}

    assert len(keys()) == 3
    assert keys() == keys(limits__rpm=7.0, timeout__total_s=5.0, seed=9, scorer={"kind": "numeric"})
    same_server = {"name": "other", "api_key_env": "MINE"}
    assert keys() == keys(provider=same_server), "a new name or key of the account asks for the same answers"
    assert not keys() & keys(**change)
    assert len(keys(repeats=2)) == 6
    assert keys() < keys(repeats=2)


def test_a_run_that_was_stopped_half_way_goes_on_with_what_is_kept(sim: SimThread, tmp_path: Path) -> None:
    served = Served(sim, tmp_path)
    served.run(served.config(dataset__limit=4))
    assert served.sent() == 4
    whole = served.run(served.config(budget={"requests": 2}))
    assert served.sent() == 6
    assert Counter(row["cached"] for row in whole.rows("requests")) == {True: 4, False: 2}
    assert {row["outcome"] for row in whole.rows("requests")} == {"ok"}, "a kept reply took a share of the budget"


def test_several_processes_share_a_cache(sim: SimThread, tmp_path: Path) -> None:
    served = Served(sim, tmp_path)
    served.run(served.config(engine={"processes": 2}))
    again = served.run(served.config(engine={"processes": 2}))
    assert served.sent() == 6
    assert {row["cached"] for row in again.rows("requests")} == {True}


def test_failures_and_partial_replies_are_never_kept(sim: SimThread, tmp_path: Path) -> None:
    served = Served(sim, tmp_path, faults=Faults(http_400=0.5, no_done=0.0, cut=0.5))
    config = served.config(limits__retries=0)
    first = served.run(config)
    bad = sum(row["outcome"] != "ok" for row in first.rows("requests"))
    assert bad
    assert len(list((tmp_path / "cache").glob("*/*"))) == 6 - bad
    again = served.run(config)
    assert sum(row["cached"] for row in again.rows("requests")) == 6 - bad


def test_no_figure_of_time_or_rate_stands_on_kept_replies(sim: SimThread, tmp_path: Path) -> None:
    served = Served(sim, tmp_path)
    served.run(served.config(dataset__limit=4))
    mixed = served.run(served.config(slo="ttft_ms<60000"))
    score_run(mixed.path)
    run = read_run(mixed.path)
    summary = summary_of(run)
    row = summary.frame.iloc[0]
    rows = run.requests[~run.requests["cached"].astype(bool)]
    window_s = (rows["end_ns"].max() - rows["sent_ns"].min()) / 1e9
    assert row["ok"] == 6
    assert row["questions"] == 6
    assert row["throughput_req_per_s"] == pytest.approx(2 / window_s)
    assert row["throughput_tok_per_s"] == pytest.approx(rows["completion_tokens"].sum() / window_s)
    assert row["goodput_req_per_s"] == pytest.approx(2 / window_s)
    assert row["cost"] == pytest.approx(rows["cost"].sum())
    assert run.requests["e2e_ms"].notna().sum() == 2
    assert any("4 of 6 replies came from the cache" in note for note in summary.notes)


def test_a_summary_of_kept_replies_alone_has_quality_and_no_times(sim: SimThread, tmp_path: Path) -> None:
    served = Served(sim, tmp_path)
    served.run(served.config())
    again = served.run(served.config(slo="ttft_ms<60000"))
    score_run(again.path)
    summary = summary_of(read_run(again.path))
    row = summary.frame.iloc[0]
    assert not any("withheld" in note for note in summary.notes), "there is nothing that could be withheld"
    assert row["scored"] == 6
    assert row["cost"] == 0
    for name in ("ttft_p50_ms", "e2e_p50_ms", "throughput_req_per_s", "throughput_tok_per_s", "goodput_req_per_s"):
        assert row[name] is None or math.isnan(row[name]), name


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"load": {"kind": "constant", "rate": 5.0, "requests": 3}}, "load=constant with cache=True"),
        ({"load": {"kind": "poisson", "rate": 5.0, "duration_s": 3.0}}, "load=poisson with cache=True"),
        ({"load": {"kind": "closed", "duration_s": 2.0}}, "load.duration_s=2.0 with cache=True"),
        ({"load": {"kind": "closed", "warmup": 2}}, "load.warmup=2 with cache=True"),
        ({"cache": 3}, "cache=3: must be null, true or a folder"),
        ({"cache": ""}, "cache=: must be null, true or a folder"),
    ],
)
def test_a_cache_is_refused_where_load_is_measured(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        experiment(rows_file(tmp_path, 3), **{"cache": True} | changes)
    assert any(problem.startswith(said) for problem in refused.value.problems)


def test_cells_of_one_run_cannot_differ_in_their_cache(tmp_path: Path) -> None:
    rows = rows_file(tmp_path, 2)
    with pytest.raises(ConfigError, match="cache"):
        make_plan([experiment(rows, cache=True), experiment(rows, cache=None, sampling={"max_tokens": 5})])


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_sent(sim: SimThread, tmp_path: Path) -> None:
    served = Served(sim, tmp_path)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be kept in"):
        served.run(served.config(cache=str(tmp_path / "file")))
    assert served.sent() == 0
    assert not (tmp_path / "results").exists()


def test_the_key_cache_names_a_folder(tmp_path: Path) -> None:
    assert [cache_folder(value) for value in (None, False, True, "there")] == [
        None,
        None,
        Path(DEFAULT_FOLDER),
        Path("there"),
    ]
    assert open_cache(experiment(rows_file(tmp_path, 1)), lambda _: None) is None


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "grown", "renamed", "other"])
def test_a_damaged_entry_is_a_miss_and_is_said(tmp_path: Path, damage: str) -> None:
    notes: list[str] = []
    cache, kept = Cache(tmp_path, notes.append), Kept(Reply((Choice(0, "4"),), Usage(1, 2), done=True), 200)
    cache.keep(KEY, kept)
    (entry,) = tmp_path.glob("*/*")
    assert cache.find(KEY) == kept
    content, key = entry.read_bytes(), KEY
    changed = {"cut": content[:-1], "flipped": content[:-9] + b"~" + content[-8:], "empty": b""}
    if damage == "renamed":
        key = KEY[:-1] + "c"
        entry.rename(entry.with_name(key[2:]))
    elif damage == "grown":
        entry.write_bytes(content + b" " * MOST_BYTES)
    elif damage == "other":
        entry.unlink()
        entry.mkdir()
    else:
        entry.write_bytes(changed[damage])
    assert cache.find(key) is None
    assert len(notes) == 1
    assert "damaged entry" in notes[0]
    if damage != "other":
        cache.keep(key, kept)
        assert cache.find(key) == kept, "an entry that was damaged is replaced"


def test_many_damaged_entries_are_not_named_one_by_one(tmp_path: Path) -> None:
    notes: list[str] = []
    cache = Cache(tmp_path, notes.append)
    for number in range(20):
        key = f"{number:064x}"
        cache.keep(key, Kept(Reply(), 200))
        (tmp_path / key[:2] / key[2:]).write_bytes(b"no")
        assert cache.find(key) is None
    assert len(notes) == 4


def test_a_full_disk_is_said_once_and_stops_no_run(tmp_path: Path) -> None:
    notes: list[str] = []
    (tmp_path / KEY[:2]).write_text("in the way", encoding="utf-8")
    cache = Cache(tmp_path, notes.append)
    cache.keep(KEY, Kept(Reply(), 200))
    cache.keep(KEY, Kept(Reply(), 200))
    assert len(notes) == 1
    assert "no further reply is kept" in notes[0]


@pytest.mark.parametrize(
    "reply",
    [
        Reply((Choice(0, "\ud800"),)),
        Reply(extra={"odd": math.nan}),
        Reply((Choice(0, "x" * MOST_BYTES),)),
    ],
)
def test_what_cannot_come_back_the_same_is_not_kept(tmp_path: Path, reply: Reply) -> None:
    cache = Cache(tmp_path, pytest.fail)
    cache.keep(KEY, Kept(reply, 200))
    assert cache.find(KEY) is None
    assert list(tmp_path.iterdir()) == []


def test_an_entry_holds_the_reply_without_times_prompt_or_key(tmp_path: Path) -> None:
    plan = make_plan([experiment(rows_file(tmp_path, 1), provider={"kind": "siliconflow", "api_key_env": "THE_KEY"})])
    request = next(plan.requests())
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    choice = Choice(0, "ü🙂\x00", "why", (call,), "stop", (5, 6), (EventKind.REASONING, EventKind.ANSWER))
    reply = Reply((choice,), Usage(1, 2, 3, 4), "id", "m", "fp", 2, True, {"x": [1, None]})
    done = Exchange(request, Outcome.OK, Timeline(0, 1, 2, 3, 4, 5), reply, status=200)
    folder = tmp_path / "cache"
    folder.mkdir()
    cache = Cache(folder, pytest.fail)
    cache.saw(done)
    answered = cache.answered(request, 77)
    assert answered is not None
    assert answered.cached
    assert answered.timeline == Timeline(77)
    assert answered.reply == replace(reply, choices=(replace(choice, event_ns=(), event_kind=()),))
    text = b"".join(path.read_bytes() for path in folder.glob("*/*")).decode()
    assert "What is 0 + 0?" not in text
    assert "THE_KEY" not in text
    assert json.loads(text.split("\n", 1)[1])["reply"]["choices"][0]["event_ns"] == []


def test_replies_that_were_kept_are_not_kept_again(tmp_path: Path) -> None:
    request = next(make_plan([experiment(rows_file(tmp_path, 1))]).requests())
    folder = tmp_path / "cache"
    folder.mkdir()
    cache = Cache(folder, pytest.fail)
    failed = Failure(ErrorKind.RESET)
    others: tuple[dict[str, Any], ...] = (
        {"outcome": Outcome.OK, "cached": True, "reply": Reply()},
        {"outcome": Outcome.TRUNCATED, "reply": Reply()},
        {"outcome": Outcome.FAILED, "failure": failed, "reply": Reply()},
        {"outcome": Outcome.OK},
    )
    for more in others:
        cache.saw(Exchange(request, timeline=Timeline(0), **more))
    assert list(folder.iterdir()) == []
