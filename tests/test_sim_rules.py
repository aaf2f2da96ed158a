"""Every row of the page's table, as the simulator enforces it; and accounts, eras and limits."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
from sim_thread import SimThread, models

from bench.config import Thinking
from bench.providers.sim import ModelKnobs, SimKnobs, ThinkingStyle
from bench.sim.windows import Windows

PLAIN = "Qwen/Qwen2.5-7B-Instruct"
QWEN3 = "Qwen/Qwen3-8B"
V31 = "deepseek-ai/DeepSeek-V3.1"
VISION = "zai-org/GLM-4.5V"
USER = {"role": "user", "content": "Hello?"}
IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]}
CATCH_ALL = "The parameter is invalid. Please check again."
DEVELOPER = (
    "Input tag 'developer' found using 'role' does not match any of the expected tags: "
    "'system', 'user', 'assistant', 'tool'"
)
NO_CALL = (
    '"messages" in request are illegal: Message has tool role, '
    "but there was no previous assistant message with a tool call!.."
)
NOT_TAKEN = "Value error, current model does not support parameter `{}`."


def tool(name: str = "f") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def threads() -> Iterator[SimThread]:
    with SimThread() as threads:
        yield threads


@pytest.fixture(scope="module")
def port(threads: SimThread) -> int:
    return threads.serve(SimKnobs(speed=0))


def call(
    port: int, body: Any, key: str | None = "k", method: str = "POST", path: str = "/v1/chat/completions"
) -> tuple[int, Any, dict[str, str]]:
    """Status, decoded body (text where it is no JSON) and headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, content, {"authorization": f"Bearer {key}"} if key else {})
        response = connection.getresponse()
        raw = response.read().decode()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return response.status, json.loads(raw) if "json" in headers["content-type"] else raw, headers
    finally:
        connection.close()


def ask(port: int, **changes: Any) -> tuple[int, Any]:
    """Status and body of a request that is good but for ``changes``; ``None`` takes a field out."""
    body = {"model": QWEN3, "messages": [USER], **changes}
    return call(port, {k: v for k, v in body.items() if v is not None})[:2]


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"model": None}, 20015, "Field required"),
    ({"model": "no/such"}, 20012, "Model does not exist. Please check it carefully."),
    ({"model": 5}, 20015, CATCH_ALL),
    ({"messages": None}, 20015, "Field required"),
    ({"messages": []}, 20015, CATCH_ALL),
    ({"messages": [USER] * 11}, 20015, CATCH_ALL),
    ({"messages": [{"role": "user"}]}, 20015, "Field required"),
    (
        {"messages": [{"role": "developer", "content": "x"}]},
        20015,
        DEVELOPER,
    ),
    (
        {"messages": [{"role": "tool", "tool_call_id": "1", "content": "x"}]},
        20015,
        NO_CALL,
    ),
    ({"messages": [IMAGE]}, 20041, "The model is not a VLM (Vision Language Model). Please use text-only prompts."),
    ({"stream": "yes"}, 20015, CATCH_ALL),
    ({"max_tokens": 0}, 20015, CATCH_ALL),
    ({"max_tokens": 131072}, 20015, "max_tokens (131072) have exceeded max_seq_len (131072) limit."),
    ({"max_tokens": 131070}, 20015, "max_tokens (131070) have exceeded max_seq_len (131072) limit."),
    ({"enable_thinking": 1}, 20015, CATCH_ALL),
    ({"model": PLAIN, "enable_thinking": False}, 20015, NOT_TAKEN.format("enable_thinking")),
    ({"model": V31, "tools": [tool()]}, 20015, CATCH_ALL),
    ({"model": V31, "tools": [tool()], "enable_thinking": True}, 20015, CATCH_ALL),
    ({"thinking_budget": 127}, 20015, CATCH_ALL),
    ({"thinking_budget": 32769}, 20015, CATCH_ALL),
    ({"model": PLAIN, "thinking_budget": 4096}, 20015, NOT_TAKEN.format("thinking_budget")),
    ({"min_p": 1.01}, 20015, CATCH_ALL),
    ({"min_p": -0.01}, 20015, CATCH_ALL),
    ({"model": PLAIN, "min_p": 0.05}, 20015, NOT_TAKEN.format("min_p")),
    ({"stop": list("abcde")}, 20015, CATCH_ALL),
    ({"temperature": "0.7"}, 20015, CATCH_ALL),
    ({"temperature": 2.1}, 20015, CATCH_ALL),
    ({"top_p": 1.1}, 20015, CATCH_ALL),
    ({"top_k": "50"}, 20015, CATCH_ALL),
    ({"frequency_penalty": 2.5}, 20015, CATCH_ALL),
    ({"n": 0}, 20015, CATCH_ALL),
    ({"n": 1.5}, 20015, CATCH_ALL),
    ({"response_format": {"type": "xml"}}, 20015, CATCH_ALL),
    (
        {"model": VISION, "response_format": {"type": "json_object"}},
        20024,
        "Json mode is not supported for this model.",
    ),
    ({"tools": [tool(f"f{i}") for i in range(129)]}, 20015, CATCH_ALL),
    ({"tools": [tool("no spaces")]}, 20015, CATCH_ALL),
    (
        {"model": "baidu/ERNIE-4.5-300B-A47B", "tools": [tool()]},
        20037,
        "Function call is not supported for this model.",
    ),
    ({"tool_choice": "required"}, 20015, CATCH_ALL),
]


@pytest.mark.parametrize(("changes", "code", "message"), REFUSED, ids=lambda v: str(v)[:50])
def test_a_broken_rule_is_refused_in_the_services_words(
    port: int, changes: dict[str, Any], code: int, message: str
) -> None:
    assert ask(port, **changes) == (400, {"code": code, "message": message, "data": None})


ACCEPTED: list[dict[str, Any]] = [
    {"messages": [USER] * 10},
    {"max_tokens": 121_000},
    {"enable_thinking": False},
    {"thinking_budget": 128},
    {"thinking_budget": 32768},
    {"min_p": 0},
    {"min_p": 1.0},
    {"stop": list("abcd")},
    {"stop": "x"},
    {"temperature": 0, "top_p": 1, "top_k": 50, "frequency_penalty": -2},
    {"n": 3},
    {"response_format": {"type": "text"}},
    {"tools": [tool(f"f-{i}_") for i in range(128)]},
    {"model": V31, "tools": [tool()], "enable_thinking": False},
    {"model": VISION, "messages": [IMAGE]},
    {"no_such_field": {"a": 1}, "seed": 7},
    {"tools": [tool()], "tool_choice": "required"},
]


@pytest.mark.parametrize("changes", ACCEPTED, ids=lambda v: str(v)[:50])
def test_the_edge_of_each_rule_is_accepted_and_unknown_fields_are_ignored(port: int, changes: dict[str, Any]) -> None:
    status, body = ask(port, **changes)
    assert status == 200
    assert len(body["choices"]) == changes.get("n", 1)


def test_which_models_take_the_thinking_parameters(port: int) -> None:
    assert len(models()) == 56
    for name, model in models().items():
        for field, value, takes in (
            ("enable_thinking", True, model.thinking is Thinking.toggle),
            ("thinking_budget", 4096, model.thinking is not Thinking.none),
            ("min_p", 0.05, model.min_p),
        ):
            assert (ask(port, model=name, **{field: value})[0] == 200) is takes, (name, field)


def test_a_prompt_larger_than_the_window_is_refused_with_its_count(port: int) -> None:
    long = [{"role": "user", "content": "word " * 33_000}]
    status, body = ask(port, model=PLAIN, messages=long)
    assert status == 400
    assert body["message"].endswith("has exceeded max_prompt_tokens (32768) limit.")
    assert body["message"].startswith("number of input tokens (330")


def test_bodies_that_are_no_requests(port: int) -> None:
    for content in (b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 100_000):
        status, body, headers = call(port, content)
        assert (status, body["code"]) == (400, 20015)
        assert "x-sim-reason" in headers


def test_a_schema_that_is_none_is_refused_and_the_service_lives_on(port: int) -> None:
    shape = {"type": "json_schema", "json_schema": {"schema": {"type": "integer", "minimum": "low"}}}
    assert ask(port, response_format=shape)[0] == 400
    assert ask(port)[0] == 200


def test_ids_tell_the_time_and_every_answer_has_a_trace(port: int) -> None:
    status, body, headers = call(port, {"model": PLAIN, "messages": [USER]})
    assert status == 200
    assert len(body["id"]) == 32
    assert int(body["id"][:12], 16) // 1000 == body["created"]
    assert headers["x-siliconcloud-trace-id"].startswith("ti_")
    assert "x-siliconcloud-trace-id" in call(port, {})[2]


def test_other_addresses_do_not_exist(port: int) -> None:
    assert call(port, b"", method="GET", path="/v1/nothing")[:2] == (404, "404 page not found")
    assert call(port, b"", method="GET", path="/v1/chat/completions")[0] == 404


@pytest.mark.parametrize(
    ("era", "denied", "poor"),
    [
        (2025, (401, "Invalid token"), (403, 30001)),
        (2026, (401, {"code": 30014, "message": "Token is invalid.", "data": None}), (402, 30001)),
    ],
)
def test_keys_and_balance_by_era(threads: SimThread, era: int, denied: Any, poor: tuple[int, int]) -> None:
    body = {"model": PLAIN, "messages": [USER]}
    keyed = threads.serve(SimKnobs(speed=0, era=era, api_keys=["right"]))
    for key in (None, "wrong"):
        assert call(keyed, body, key)[:2] == denied
        assert call(keyed, b"", key, "GET", "/v1/models")[:2] == denied
    assert call(keyed, body, "right")[0] == 200
    needed = threads.serve(SimKnobs(speed=0, era=era, require_key=True))
    assert call(needed, body, None)[:2] == denied
    assert call(needed, body, "anything")[0] == 200
    status, said, _ = call(threads.serve(SimKnobs(era=era, empty_balance=True)), body)
    assert (status, said["code"]) == poor


def test_user_info_by_era(threads: SimThread, port: int) -> None:
    status, said, _ = call(port, b"", method="GET", path="/v1/user/info")
    assert (status, said["code"]) == (410, 20092)
    old = threads.serve(SimKnobs(era=2025))
    status, said, _ = call(old, b"", method="GET", path="/v1/user/info")
    assert (status, said["code"], said["data"]["totalBalance"]) == (200, 20000, "88.88")


def test_offline_and_disabled_models(threads: SimThread) -> None:
    port = threads.serve(SimKnobs(speed=0, offline=[PLAIN], disabled=[QWEN3]))
    assert ask(port, model=PLAIN)[1]["code"] == 20012
    assert ask(port, model=QWEN3) == (403, {"code": 30003, "message": "Model disabled.", "data": None})
    listed = [row["id"] for row in call(port, b"", method="GET", path="/v1/models")[1]["data"]]
    assert PLAIN not in listed
    assert QWEN3 in listed


def test_how_a_model_takes_enable_thinking_can_be_set(threads: SimThread) -> None:
    styles = {
        "a/toggle": ModelKnobs(thinking=ThinkingStyle.toggle),
        "a/always": ModelKnobs(thinking=ThinkingStyle.always),
        "a/never": ModelKnobs(thinking=ThinkingStyle.never),
        "a/rejected": ModelKnobs(thinking=ThinkingStyle.param_rejected),
    }
    port = threads.serve(SimKnobs(speed=0, models=styles))
    thinks = {}
    for name in styles:
        for switch in (True, False):
            status, body = ask(port, model=name, enable_thinking=switch)
            thinks[name, switch] = status == 200 and "reasoning_content" in body["choices"][0]["message"]
    assert thinks["a/toggle", True]
    assert sum(thinks.values()) == 1
    assert ask(port, model="a/never", enable_thinking=True)[0] == 200
    assert "reasoning_content" in ask(port, model="a/always")[1]["choices"][0]["message"]
    assert ask(port, model="a/rejected", enable_thinking=False)[1]["message"] == NOT_TAKEN.format("enable_thinking")


def test_tool_choice_required_was_not_there_in_2025(threads: SimThread) -> None:
    port = threads.serve(SimKnobs(speed=0, era=2025))
    status, body = ask(port, tools=[tool()], tool_choice="required")
    assert status == 400
    assert body["message"] == "Value error, The `required` option for tool_choice is not yet supported."


def test_limits_hold_per_account_and_model(threads: SimThread) -> None:
    port = threads.serve(SimKnobs(speed=0, rpm=2))
    body = {"model": PLAIN, "messages": [USER]}
    assert [call(port, body, "a")[0] for _ in range(3)] == [200, 200, 429]
    assert call(port, body, "b")[0] == 200
    assert call(port, {**body, "model": QWEN3}, "a")[0] == 200
    assert "RPM limit reached" in call(port, body, "a")[1]["message"]
    shared = threads.serve(SimKnobs(speed=0, rpm=1, api_keys=["a", "b"], era=2025))
    assert call(shared, body, "a")[0] == 200
    status, said, _ = call(shared, body, "b")
    assert status == 429
    assert "code" not in said


def test_a_token_limit_counts_input_and_output(threads: SimThread) -> None:
    port = threads.serve(SimKnobs(speed=0, tpm=60))
    asked = {"model": PLAIN, "messages": [USER], "max_tokens": 50}
    assert call(port, asked)[0] == 200
    assert "Details: TPM limit reached." in call(port, {**asked, "messages": [USER] * 3})[1]["message"]


def test_windows_slide() -> None:
    windows, who = Windows(rpm=2, tpm=100, window_s=60), ("a", "m")
    assert windows.admit(who, 10, now_s=0) is None
    assert windows.admit(who, 10, now_s=30) is None
    assert windows.admit(who, 10, now_s=59.9) == "RPM"
    assert windows.admit(who, 10, now_s=60) is None
    windows.spend(who, 80, now_s=61)
    assert windows.admit(who, 11, now_s=91) == "TPM"
    assert windows.admit(who, 11, now_s=121) is None


def test_refused_requests_use_nothing() -> None:
    windows, who = Windows(rpm=1, tpm=None, window_s=60), ("a", "m")
    assert windows.admit(who, 1, now_s=0) is None
    assert [windows.admit(who, 1, now_s=s) for s in (10, 20, 59)] == ["RPM"] * 3
    assert windows.admit(who, 1, now_s=60) is None
