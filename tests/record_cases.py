"""Exchanges to record: one of every shape, and cheap ones by number."""

from __future__ import annotations

from bench.domain import (
    Attempt,
    Cell,
    Choice,
    ErrorKind,
    EventKind,
    Exchange,
    Failure,
    Outcome,
    Reply,
    Request,
    Sample,
    Timeline,
    Usage,
)

ORIGIN = 5_000_000_000

CELL = Cell(
    cell_id="cell-a",
    index=0,
    label="t=0",
    params={
        "model.name": "org/model-7b",
        "provider.name": "sim",
        "sampling.stream": True,
        "sampling.n": 2,
        "sampling.temperature": 0,
        "sampling.stop": None,
        "sampling.extra.k": "v",
    },
    swept=("sampling.temperature",),
    config=None,
    dataset_key="sums",
)
SAMPLE = Sample("s1", ({"role": "user", "content": "1 + 1"},), target="2")


def request(number: int, cell: Cell = CELL, *, warmup: bool = False) -> Request:
    return Request(f"req-{number:06d}", cell, SAMPLE, repeat=number % 3, order=number, warmup=warmup)


def plain(number: int, outcome: Outcome = Outcome.OK, kind: ErrorKind | None = None, text: str = "2") -> Exchange:
    """A small exchange; ``number`` is told by its id, order and times."""
    failure = None if kind is None else Failure(kind, f"detail {number}")
    reply = Reply((Choice(0, text, finish_reason="stop"),), Usage(1, 1)) if outcome is Outcome.OK else None
    sent = ORIGIN + number if outcome is not Outcome.NOT_SENT else None
    attempts = () if sent is None else (Attempt(1, sent, sent + 1, 200 if reply else None, failure),)
    return Exchange(
        request(number), outcome, Timeline(ORIGIN + number, sent_ns=sent), reply, failure, attempts=attempts
    )


def full() -> Exchange:
    """A streamed reply with two choices, reasoning, a tool call, a failed first attempt: no field is at its default."""
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    reasoning, answer, tool = EventKind.REASONING, EventKind.ANSWER, EventKind.TOOL
    marks = (ORIGIN + 100, ORIGIN + 200, ORIGIN + 300)
    return Exchange(
        request=request(1, warmup=True),
        outcome=Outcome.OK,
        timeline=Timeline(
            due_ns=ORIGIN + 10,
            permit_ns=ORIGIN + 20,
            sent_ns=ORIGIN + 30,
            headers_ns=ORIGIN + 40,
            first_byte_ns=ORIGIN + 50,
            end_ns=ORIGIN + 400,
            connect_ns=7,
            loop_lag_ns=9,
        ),
        reply=Reply(
            choices=(
                Choice(0, "two", "one and one", (), "stop", marks, (reasoning, reasoning, answer)),
                Choice(1, "", "", (call,), "tool_calls", (ORIGIN + 90, ORIGIN + 350), (tool, tool)),
            ),
            usage=Usage(11, 12, 13, 14),
            response_id="resp-1",
            response_model="org/model-7b-0711",
            system_fingerprint="fp",
            events=5,
            done=True,
            extra={"timings": {"prompt_ms": 1.5}},
        ),
        status=200,
        attempts=(
            Attempt(1, ORIGIN + 1, ORIGIN + 5, 429, Failure(ErrorKind.HTTP_429, "slow down", "20015", 1.5)),
            Attempt(2, ORIGIN + 30, ORIGIN + 400, 200, waited_ns=15),
        ),
        bytes_in=1234,
        trace_id="trace-1",
        cost=0.25,
        currency="CNY",
        cached=True,
    )
