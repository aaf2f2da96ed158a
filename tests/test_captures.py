"""Raw exchanges recorded from real servers, replayed: the reply is what the recording holds, however it is cut."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from scripted_server import CLOSE, ScriptedServer, Step, pieces

from bench.config import Timeout
from bench.domain import Answer, Outcome
from bench.measure.errors import kind_of_status
from bench.measure.transport import Transport
from bench.providers import Provider

CAPTURES = Path(__file__).resolve().parents[2] / "shared" / "captures"

#: recordings of other endpoints than completions
OTHER_ENDPOINTS = ("get_",)

SMALL_BYTES = 7_000


def cases() -> list[tuple[Path, dict[str, Any]]]:
    """Every recorded completion: the path without suffix, and its line of the index."""
    found = []
    for index in sorted(CAPTURES.glob("*/index.jsonl")):
        for line in index.read_text().splitlines():
            summary = json.loads(line)
            if not summary["case"].startswith(OTHER_ENDPOINTS):
                found.append((index.parent / summary["case"], summary))
    return found


CASES = cases()
IDS = [f"{path.parent.name}/{path.name}" for path, _ in CASES]

if not CASES:
    pytest.skip("the recordings of real servers are not beside this checkout", allow_module_level=True)


def replay(wire: bytes, cuts: list[Step], *, raw: bool) -> Answer:
    """The answer to a server that writes ``wire`` cut as ``cuts`` and closes, as the recorded ones did."""
    assert b"".join(c for c in cuts if isinstance(c, bytes)) == wire

    async def go() -> Answer:
        async with ScriptedServer([[*cuts, CLOSE]]) as server:
            provider = Provider(base_url=server.base_url)
            async with Transport(provider, Timeout(), api_key=None, max_body_bytes=1 << 24, raw_bodies=raw) as t:
                return await t.send(b"{}", stream=True, due_ns=0, permit_ns=0)

    return asyncio.run(go())


def recorded_cuts(path: Path, wire: bytes) -> list[Step]:
    """The wire in the reads of the recording."""
    reads = [json.loads(line) for line in path.with_suffix(".recv.jsonl").read_text().splitlines()]
    return [wire[read["off"] : read["off"] + read["len"]] for read in reads]


def recorded_texts(body: bytes) -> dict[int, str]:
    """Text by choice index, read from the recorded body in the plainest way there is."""
    texts: dict[int, str] = defaultdict(str)
    if body.lstrip().startswith(b"{"):
        payloads = [json.loads(body)]
    else:
        lines = [line.removeprefix(b"data: ") for line in body.split(b"\n") if line.startswith(b"data: ")]
        payloads = [json.loads(line) for line in lines if line != b"[DONE]"]
    for payload in payloads:
        for choice in payload.get("choices", []):
            said = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
            texts[choice["index"]] += said.get("content") or ""
    return texts


def said_by(error: dict[str, Any]) -> str:
    """The words of a recorded error body."""
    return str(error["error"]["message"] if "error" in error else error["detail"])


def check(answer: Answer, path: Path, summary: dict[str, Any]) -> None:
    """Compares an answer with the recording."""
    status = int(summary["status"].split()[1])
    assert answer.status == status
    if status != 200:
        assert answer.failure is not None
        assert answer.failure.kind is kind_of_status(status)
        said = said_by(json.loads(path.with_suffix(".body").read_bytes()))
        assert answer.failure.detail[:40] in " ".join(said.split())
        return
    assert answer.reply is not None
    complete = summary["framing_complete"] and (summary["done"] or summary["finish"])
    assert answer.outcome is (Outcome.OK if complete else Outcome.TRUNCATED)
    body = path.with_suffix(".body").read_bytes()
    assert answer.bytes_in == len(body)
    texts = recorded_texts(body)
    assert {choice.index: choice.text for choice in answer.reply.choices} == texts
    assert [c.finish_reason for c in answer.reply.choices if c.finish_reason] == summary["finish"]
    assert answer.reply.done == summary["done"]
    usage, recorded = answer.reply.usage, summary["usage"]
    if recorded is None:
        assert usage is None
    else:
        assert usage is not None
        assert (usage.prompt_tokens, usage.completion_tokens) == (
            recorded["prompt_tokens"],
            recorded["completion_tokens"],
        )
        assert usage.cached_tokens == recorded.get("prompt_tokens_details", {}).get("cached_tokens")


@pytest.mark.parametrize(("path", "summary"), CASES, ids=IDS)
def test_replayed_whole_and_as_recorded(path: Path, summary: dict[str, Any]) -> None:
    wire = path.with_suffix(".wire").read_bytes()
    for cuts in ([wire], recorded_cuts(path, wire)):
        for raw in (True, False):
            check(replay(wire, cuts, raw=raw), path, summary)


SMALL = [(path, summary) for path, summary in CASES if summary["wire_bytes"] < SMALL_BYTES]


@pytest.mark.parametrize(("path", "summary"), SMALL, ids=[f"{path.parent.name}/{path.name}" for path, _ in SMALL])
def test_replayed_byte_by_byte(path: Path, summary: dict[str, Any]) -> None:
    wire = path.with_suffix(".wire").read_bytes()
    check(replay(wire, pieces(wire, 1), raw=True), path, summary)


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "reader"])
def test_a_few_in_small_pieces(size: int, raw: bool) -> None:
    wanted = ("chat_n2_nonstream", "chat_stop_stream", "err_no_messages")
    for path, summary in CASES:
        if path.name in wanted:
            wire = path.with_suffix(".wire").read_bytes()
            check(replay(wire, pieces(wire, size), raw=raw), path, summary)
