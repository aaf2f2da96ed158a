"""Whole runs against the simulator: what the tables say is what was sent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from measured import Measured, read_truth, run_measured
from setups import experiment

from bench.config import Experiment
from bench.record import read_table

pytestmark = pytest.mark.slow

QWEN, QWEN_TRAILING, QWEN_SILENT = "Qwen/Qwen3-8B", "Qwen/Qwen3-32B", "Qwen/Qwen3-14B"
ALWAYS, NEVER, GLM = "deepseek-ai/DeepSeek-R1", "Qwen/Qwen2.5-7B-Instruct", "zai-org/GLM-4.5-Air"

MODELS: dict[str, dict[str, Any]] = {
    QWEN: {"thinking": "toggle", "min_p": True},
    QWEN_TRAILING: {"thinking": "toggle", "min_p": True},
    QWEN_SILENT: {"thinking": "toggle", "min_p": True},
    ALWAYS: {"thinking": "always"},
    NEVER: {"thinking": "none"},
    GLM: {"thinking": "toggle"},
}
KNOBS: dict[str, dict[str, Any]] = {
    QWEN: {"reasoning_tokens": 30},
    QWEN_TRAILING: {"usage_style": "trailing", "role_repeat": False, "tokens_per_chunk": 7, "reasoning_tokens": 30},
    QWEN_SILENT: {"usage_style": "none", "tokens_per_chunk": 3, "answer_in_reasoning": 0.5, "reasoning_tokens": 30},
    ALWAYS: {"reasoning_tokens": 60, "max_tokens_counts_reasoning": True},
    NEVER: {"role_repeat": False},
    GLM: {"tool_delta": "glm_broken", "thinking": "toggle", "reasoning_tokens": 20, "usage_style": "trailing"},
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
PERSON = {
    "type": "json_schema",
    "json_schema": {
        "name": "person",
        "schema": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
            "required": ["name", "age"],
        },
    },
}


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def mixed_rows(folder: Path, count: int) -> Path:
    """Plain, Chinese, tools, JSON and multi-turn rows in turn."""
    kinds: list[dict[str, Any]] = [
        {"prompt": "Explain in a few words why {} is a number."},
        {"prompt": "请用中文简单介绍一下第{}号城市的天气和美食，谢谢！🙂"},
        {"prompt": "What is the weather in town {}?", "tools": [WEATHER, CLOCK]},
        {"prompt": "Give me person number {}.", "response_format": PERSON},
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Say {} “twice”\r\n\t!"},
            ]
        },
    ]
    rows = []
    for i in range(count):
        text = json.dumps(kinds[i % len(kinds)], ensure_ascii=False).replace("{}", str(i))
        rows.append({"id": f"row-{i:03d}", "target": "x", **json.loads(text)})
    return jsonl(folder / "mixed.jsonl", rows)


SAMPLINGS: list[tuple[str, dict[str, Any]]] = [
    (QWEN, {"enable_thinking": False, "max_tokens": 40}),
    (QWEN, {"enable_thinking": True, "thinking_budget": 128, "max_tokens": 30, "n": 3}),
    (QWEN, {"enable_thinking": False, "stream": False, "n": 2, "min_p": 0.1}),
    (QWEN, {"enable_thinking": True, "stream": False, "max_tokens": 5}),
    (QWEN_TRAILING, {"enable_thinking": False, "n": 2, "stop": ["a", "的"]}),
    (QWEN_TRAILING, {"enable_thinking": True, "max_tokens": 60}),
    (QWEN_TRAILING, {"enable_thinking": False, "stream": False, "stop": " "}),
    (QWEN_SILENT, {"enable_thinking": False, "n": 3, "max_tokens": 50}),
    (QWEN_SILENT, {"enable_thinking": True, "temperature": 0.0, "max_tokens": 50}),
    (ALWAYS, {"max_tokens": 45}),
    (ALWAYS, {"max_tokens": 45, "stream": False, "n": 2}),
    (ALWAYS, {"thinking_budget": 128, "n": 2}),
    (NEVER, {"max_tokens": 1}),
    (NEVER, {"max_tokens": 64, "temperature": 2.0, "top_p": 0.5, "top_k": 10, "frequency_penalty": 1.0}),
    (NEVER, {"stream": False, "seed": 7}),
    (NEVER, {"response_format": {"type": "json_object"}, "n": 3}),
    (GLM, {"enable_thinking": False, "tool_choice": "auto", "max_tokens": 80}),
    (GLM, {"enable_thinking": True, "n": 2, "max_tokens": 80}),
]
ODD_SAMPLINGS: list[tuple[str, dict[str, Any]]] = [
    (QWEN, {"enable_thinking": True, "max_tokens": 12}),
    (NEVER, {"n": 2, "max_tokens": 16}),
    (GLM, {"enable_thinking": False, "stream": False, "max_tokens": 20}),
    (QWEN_TRAILING, {"enable_thinking": False, "max_tokens": 16}),
]


def points(dataset: Path, samplings: list[tuple[str, dict[str, Any]]], provider: dict[str, Any], **more: Any) -> Any:
    return [
        experiment(
            dataset,
            model={"name": name, "context_tokens": 98304, "tools": True, **MODELS[name]},
            provider={"kind": "sim", **provider},
            sampling={"temperature": 0.6, **sampling},
            load={"kind": "closed", "concurrency": 32},
            **more,
        )
        for name, sampling in samplings
    ]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Measured, dict[str, dict[str, Any]]]:
    """2,000 requests of every kind in one run, to a plain simulator and to one with odd framing; and both logs."""
    folder = tmp_path_factory.mktemp("mixed")
    plain, odd = ({"speed": 0, "models": KNOBS, "truth_log": str(folder / f"{name}.log")} for name in ("plain", "odd"))
    framing = {"crlf": True, "comment_every": 3, "write_bytes": 1}
    dataset = mixed_rows(folder, 100)
    experiments: list[Experiment] = [
        *points(dataset, SAMPLINGS, {"name": "sim", "knobs": plain}),
        *points(dataset, ODD_SAMPLINGS, {"name": "odd", "knobs": {**odd, "framing": framing}}, dataset__limit=50),
    ]
    run = run_measured(experiments, folder / "results")
    truth = [*read_truth(folder / "plain.log"), *read_truth(folder / "odd.log")]
    assert {row["status"] for row in truth} == {200}
    by_id = {row["id"]: row for row in truth}
    assert len(by_id) == len(truth)
    return run, by_id


def test_every_planned_request_has_one_row_and_is_ok(mixed: tuple[Measured, dict[str, Any]]) -> None:
    run, truth = mixed
    rows = run.rows("requests", ["request_id", "response_id", "outcome", "attempts", "status"])
    assert run.plan.total == len(rows) == len(truth) == 2000
    assert {row["request_id"] for row in rows} == {request.request_id for request in run.plan.requests()}
    assert {row["response_id"] for row in rows} == set(truth)
    assert Counter((row["outcome"], row["attempts"], row["status"]) for row in rows) == {("ok", 1, 200): 2000}
    assert len(run.progress.outcomes) == run.progress.total == 2000


def pairs(
    mixed: tuple[Measured, dict[str, Any]],
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]]:
    """Each request's row, its choices' rows and what the simulator sent."""
    run, truth = mixed
    choices: dict[str, list[dict[str, Any]]] = {}
    for row in run.rows("choices"):
        choices.setdefault(row["request_id"], []).append(row)
    for row in run.rows("requests"):
        yield row, choices[row["request_id"]], truth[row["response_id"]]


def as_sent(call: dict[str, Any]) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": call["arguments"]}
    return {"id": call["id"], "type": "function", "function": function}


def test_choices_are_what_was_sent(mixed: tuple[Measured, dict[str, Any]]) -> None:
    seen: Counter[str] = Counter()
    for row, choices, sent in pairs(mixed):
        assert [choice["choice"] for choice in choices] == list(range(row["n"]))
        for got, said in zip(choices, sent["choices"], strict=True):
            assert got["text"] == said["text"]
            assert got["reasoning"] == said["reasoning"]
            assert got["finish_reason"] == said["finish_reason"]
            assert json.loads(got["tool_calls"] or "[]") == [as_sent(call) for call in said["tool_calls"]]
            assert got["event_kind"] == said["event_kind"]
            assert [k for k, c in enumerate(said["text"]) if c == "�"] == []
            seen.update({"chinese": "的" in said["text"], "tools": bool(said["tool_calls"])})
            seen.update({said["finish_reason"]: 1, "reasoning": bool(said["reasoning"])})
    # the mix holds what it is meant to hold
    assert min(seen[kind] for kind in ("chinese", "tools", "stop", "length", "tool_calls", "reasoning")) >= 20, seen


def test_usage_is_what_was_sent(mixed: tuple[Measured, dict[str, Any]]) -> None:
    for row, _, sent in pairs(mixed):
        got = {name: row[name] for name in ("prompt_tokens", "completion_tokens", "reasoning_tokens")}
        if row["model"] == QWEN_SILENT and row["stream"]:
            assert set(got.values()) == {None}
            assert row["usage_source"] is None
        else:
            said = {**sent["usage"], "reasoning_tokens": sent["usage"]["reasoning_tokens"] or None}
            assert got == said
            assert row["usage_source"] == "server"


def test_marks_stand_in_order(mixed: tuple[Measured, dict[str, Any]]) -> None:
    for row, _, _ in pairs(mixed):
        order = ["due_ns", "permit_ns", "sent_ns", "headers_ns", "first_byte_ns"]
        firsts = [row[name] for name in ("first_reasoning_ns", "first_answer_ns") if row[name] is not None]
        if row["stream"]:
            marks = [*(row[name] for name in order), min(firsts), row["last_token_ns"], row["end_ns"]]
        else:
            assert firsts == []
            marks = [*(row[name] for name in order), row["end_ns"]]
        assert None not in marks
        assert marks == sorted(marks), row


def test_nothing_arrives_before_it_was_sent(mixed: tuple[Measured, dict[str, Any]]) -> None:
    """The simulator and the client read one monotonic clock."""
    run, _ = mixed
    origin_ns = json.loads((run.path / "run.json").read_text())["origin_ns"]
    for row, choices, sent in pairs(mixed):
        assert row["sent_ns"] + origin_ns <= sent["accept_ns"]
        for got, said in zip(choices, sent["choices"], strict=True):
            assert len(got["event_ns"]) == len(said["event_ns"]) > 0 or not row["stream"]
            arrived = [ns + origin_ns for ns in got["event_ns"]]
            assert all(there <= here for there, here in zip(said["event_ns"], arrived, strict=True))


BARE = """
import sys
from bench.cli import main
code = main(sys.argv[1:])
print(code, "pandas" in sys.modules, "matplotlib" in sys.modules)
"""


def test_a_run_that_shows_nothing_loads_neither_pandas_nor_matplotlib(tmp_path: Path) -> None:
    words = ["run", "load.requests=3", "report=none", "provider.knobs.speed=0", f"results_dir={tmp_path}/results"]
    done = subprocess.run(
        [sys.executable, "-c", BARE, *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 False False"
    (path,) = (tmp_path / "results" / "run").iterdir()
    assert len(read_table(path, "scores")) == 3
