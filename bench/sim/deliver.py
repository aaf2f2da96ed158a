"""Sending a composed reply: paced by the service model on absolute times, streamed or whole, with its fault."""

from __future__ import annotations

import time
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from random import Random

from bench.providers.sim import Faults, Framing
from bench.sim.chunks import FINISH, Chunks, Step, whole_body
from bench.sim.compose import Spoken
from bench.sim.refusals import JSON
from bench.sim.service import ROLE_CHUNK_AT, TOKEN_NOISE, noise
from bench.sim.truth import SentChoice
from bench.sim.wire import Connection

EVENT_STREAM = "text/event-stream"


@dataclass(slots=True)
class Reply:
    """A reply on its way.

    Attributes:
        fault: what goes wrong within it, if anything.
        first_token_s: seconds until its first token, at the chosen speed.
        token_s: seconds per token at this moment and the chosen speed.
        ended: called once, when nothing more will be sent.
    """

    connection: Connection
    loop: AbstractEventLoop
    headers: list[tuple[str, str]]
    response_id: str
    created: int
    model: str
    prompt_tokens: int
    spoken: list[Spoken]
    random: Random
    fault: str | None
    faults: Faults
    framing: Framing
    slow_headers: bool
    first_token_s: float
    token_s: Callable[[], float]
    ended: Callable[[Reply], None]
    sent: list[SentChoice] = field(default_factory=list)
    client_left: bool = False
    sent_tokens: int = 0
    reasoning_tokens: int = 0
    done: bool = False

    @property
    def hold_s(self) -> float:
        """How long the response head is held back by a fault."""
        return self.faults.slow_headers_s if self.slow_headers else 0.0

    def finish(self) -> None:
        """Nothing more will be sent."""
        if not self.done:
            self.done = True
            self.ended(self)


class Streamed:
    """A reply sent as server-sent events. One timer at a time; what is due together leaves in one write."""

    def __init__(self, reply: Reply, chunks: Chunks, steps: list[list[Step]]) -> None:
        self._reply, self._chunks, self._steps = reply, chunks, steps
        reply.sent = [SentChoice(said.index) for said in reply.spoken]
        self._call_ids = [[call.call_id for call in said.calls] for said in reply.spoken]
        self._at = [0] * len(steps)
        self._due: list[tuple[float, int, int]] = []  # when, in which order, which choice
        self._count = 0
        self._last_write = 0.0
        self._timer: TimerHandle | None = None
        self._keep_alive: TimerHandle | None = None
        events = sum(map(len, steps))
        self._break_at = 1 + int(reply.random.random() * (events - 1)) if reply.fault else -1

    def start(self) -> None:
        """Schedule the reply from now."""
        reply = self._reply
        now = reply.loop.time()
        reply.connection.on_gone = self._gone
        choices = len(self._steps)
        self._due = [(now + reply.first_token_s, index - choices, index) for index in range(choices)]
        heapify(self._due)
        head_at = max(ROLE_CHUNK_AT * reply.first_token_s, reply.hold_s)
        if head_at > 0:
            self._timer = reply.loop.call_at(now + head_at, self._open)
        else:
            self._open()

    def _open(self) -> None:
        reply, connection = self._reply, self._reply.connection
        connection.begin(EVENT_STREAM, reply.headers)
        if reply.fault == "empty":
            self._stop()
            connection.end()
            return
        thinking = [bool(said.reasoning) for said in reply.spoken]
        self._write(b"".join(self._chunks.opening(index, thinks) for index, thinks in enumerate(thinking)))
        if reply.framing.keep_alive_s > 0:
            self._stay_alive()
        self._tick()

    def _tick(self) -> None:
        """Send everything that is due, then wait for the next."""
        reply = self._reply
        if reply.connection.full:
            reply.connection.on_room = self._tick
            return
        reply.connection.on_room = None
        now, now_ns = reply.loop.time(), time.monotonic_ns()
        token_s = reply.token_s()
        parts: list[bytes] = []
        broken = False
        while self._due and self._due[0][0] <= now and not broken:
            due, _, index = heappop(self._due)
            broken = self._emit(index, parts, now_ns)
            at = self._at[index]
            if at < len(self._steps[index]):
                tokens = self._steps[index][at][2]
                pause = token_s * tokens * noise(reply.random, TOKEN_NOISE) if tokens and token_s else 0.0
                heappush(self._due, (due + pause, self._count, index))
        if parts:
            self._write(b"".join(parts))
        if broken:
            self._break()
        elif self._due:
            self._timer = reply.loop.call_at(self._due[0][0], self._tick)
        else:
            self._close()

    def _emit(self, index: int, parts: list[bytes], now_ns: int) -> bool:
        """Add the next step of a choice; tells whether the reply breaks off after it."""
        reply, chunks = self._reply, self._chunks
        step = self._steps[index][self._at[index]]
        self._at[index] += 1
        self._count += 1
        every = reply.framing.comment_every
        if every and self._count % every == 0:
            parts.append(chunks.comment())
        struck = self._count == self._break_at
        if struck and reply.fault == "malformed":
            parts.append(chunks.broken(index))
        elif step[0] != FINISH or reply.fault != "no_finish":
            parts.append(chunks.step(index, step))
            reply.sent[index].add(step, self._call_ids[index], now_ns)
        return struck and reply.fault in ("cut", "reset", "stall", "error_in_stream")

    def _break(self) -> None:
        reply, connection = self._reply, self._reply.connection
        if reply.fault == "stall":
            self._timer = reply.loop.call_later(reply.faults.stall_s, self._cut)
            return
        self._stop()
        if reply.fault == "error_in_stream":
            self._write(self._chunks.error(top_level=reply.random.random() < 0.5) + self._chunks.done())
            connection.end()
        elif reply.fault == "reset":
            connection.reset()
        else:
            connection.close()

    def _cut(self) -> None:
        self._stop()
        self._reply.connection.close()

    def _close(self) -> None:
        self._stop()
        done = b"" if self._reply.fault == "no_done" else self._chunks.done()
        if last := self._chunks.closing() + done:
            self._write(last)
        self._reply.connection.end()

    def _write(self, data: bytes) -> None:
        self._last_write = self._reply.loop.time()
        self._reply.connection.write(data)

    def _stay_alive(self) -> None:
        loop, pause = self._reply.loop, self._reply.framing.keep_alive_s
        if loop.time() - self._last_write >= pause - 0.001:  # timers may fire a millisecond early
            self._write(self._chunks.comment())
        self._keep_alive = loop.call_at(self._last_write + pause, self._stay_alive)

    def _gone(self) -> None:
        self._reply.client_left = True
        self._stop()

    def _stop(self) -> None:
        """Account for the reply; before its last bytes, so that whoever has read them finds it in the log."""
        self._reply.connection.on_gone = self._reply.connection.on_room = None
        for timer in (self._timer, self._keep_alive):
            if timer is not None:
                timer.cancel()
        self._reply.sent_tokens = self._chunks.completion_tokens
        self._reply.reasoning_tokens = self._chunks.reasoning_tokens
        self._reply.finish()


class Whole:
    """A reply sent as one body once all of it is written."""

    def __init__(self, reply: Reply, steps: list[list[Step]]) -> None:
        self._reply, self._steps = reply, steps
        self._timer: TimerHandle | None = None

    def start(self) -> None:
        """Schedule the reply from now."""
        reply = self._reply
        reply.connection.on_gone = self._gone
        longest = max(said.tokens for said in reply.spoken)
        wait_s = max(reply.first_token_s + longest * reply.token_s(), reply.hold_s)
        if wait_s > 0:
            self._timer = reply.loop.call_later(wait_s, self._send)
        else:
            self._send()

    def _send(self) -> None:
        reply, connection, fault = self._reply, self._reply.connection, self._reply.fault
        body = whole_body(
            reply.response_id, reply.created, reply.model, reply.prompt_tokens, reply.spoken, fault != "no_finish"
        )
        if fault in (None, "no_done", "no_finish"):
            self._note()
        if fault != "stall":
            self._stop()
        if fault in ("cut", "reset", "stall"):
            connection.claim(len(body), body[: len(body) // 2], JSON, reply.headers)
            if fault == "stall":
                self._timer = reply.loop.call_later(reply.faults.stall_s, self._cut)
            else:
                (connection.reset if fault == "reset" else connection.close)()
        elif fault == "error_in_stream":
            error = b'{"error":{"code":50507,"message":"Request failed: Unknown error.","data":null}}'
            connection.respond(200, error, JSON, reply.headers)
        elif fault == "malformed":
            connection.respond(200, body[: len(body) // 2], JSON, reply.headers)
        elif fault == "empty":
            connection.respond(200, b"", JSON, reply.headers)
        else:
            connection.respond(200, body, JSON, reply.headers)

    def _note(self) -> None:
        """Note the reply as sent in full."""
        reply = self._reply
        for said, steps in zip(reply.spoken, self._steps, strict=True):
            choice = SentChoice(said.index)
            call_ids = [call.call_id for call in said.calls]
            for step in steps:
                if step[0] != FINISH or reply.fault != "no_finish":
                    choice.add(step, call_ids, None)
            reply.sent.append(choice)
        reply.sent_tokens = sum(said.tokens for said in reply.spoken)
        reply.reasoning_tokens = sum(len(said.reasoning) for said in reply.spoken)

    def _cut(self) -> None:
        self._reply.connection.close()
        self._stop()

    def _gone(self) -> None:
        self._reply.client_left = True
        self._stop()

    def _stop(self) -> None:
        self._reply.connection.on_gone = None
        if self._timer is not None:
            self._timer.cancel()
        self._reply.finish()
