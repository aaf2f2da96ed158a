"""The service: its addresses, and what comes of a request that was let in."""

from __future__ import annotations

import time
from asyncio import AbstractEventLoop
from collections import Counter, OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from random import Random
from typing import Any

import msgspec

from bench.config import Model
from bench.providers.sim import ABOUT_REPLY, BEFORE_REPLY, EXCLUSIVE, SimKnobs, ToolDelta
from bench.sim import refusals
from bench.sim.answers import Answers
from bench.sim.chunks import Chunks, steps_of
from bench.sim.compose import Prompt, compose
from bench.sim.deliver import Reply, Streamed, Whole
from bench.sim.door import Accepted, Door
from bench.sim.refusals import Refusal
from bench.sim.service import first_token_s, pace_of, token_s
from bench.sim.truth import TruthLog
from bench.sim.wire import FLOOD_HEADERS, Connection, Dress, HttpRequest

OTHER_MODELS = (
    # a few models for other tasks, so that the filters of /v1/models have something to leave out
    ("BAAI/bge-m3", "text", "embedding"),
    ("BAAI/bge-reranker-v2-m3", "text", "reranker"),
    ("Kwai-Kolors/Kolors", "image", "text-to-image"),
    ("FunAudioLLM/SenseVoiceSmall", "audio", "speech-to-text"),
    ("Wan-AI/Wan2.2-T2V-A14B", "video", "text-to-video"),
)
REMEMBERED_BODIES = 100_000
_DRESSES = {
    "early_hints": Dress(early_hints=True),
    "http_1_0": Dress(http_1_0=True),
    "header_flood": Dress(flood_headers=FLOOD_HEADERS),
}
#: what shortens, repeats or wraps a reply without changing its words
NOT_CONTENT = ("stream", "stream_options", "n", "stop", "max_tokens", "thinking_budget")


class Service:
    """The simulated service. Answers each request through its connection, at once or later."""

    def __init__(
        self, knobs: SimKnobs, models: Mapping[str, Model], answers: Answers, truth: TruthLog, loop: AbstractEventLoop
    ) -> None:
        self._knobs, self._answers, self._truth, self._loop = knobs, answers, truth, loop
        self._door = Door(knobs, models)
        self._ids = Random()  # ids identify: two simulators of one seed must not give the same one
        self._in_flight: Counter[str] = Counter()
        self._seen: OrderedDict[int, int] = OrderedDict()

    def handle(self, request: HttpRequest, connection: Connection) -> None:
        """Answer one HTTP request."""
        route = (request.method, request.path)
        trace = ("x-siliconcloud-trace-id", f"ti_{self._ids.getrandbits(96):024x}")
        account = self._door.account(request)
        if route == ("POST", "/v1/chat/completions"):
            self._chat(request, account, connection, trace)
            return
        if route not in (("GET", "/v1/models"), ("GET", "/v1/user/info")):
            answer = refusals.not_found()
        elif account is None:
            answer = refusals.unauthorized(self._knobs.era)
        else:
            answer = self._listing(request.query) if route[1] == "/v1/models" else refusals.user_info(self._knobs.era)
        connection.respond(answer.status, answer.body, answer.content_type, [trace])

    def _listing(self, query: Mapping[str, str]) -> Refusal:
        chat = [(name, "text", "chat") for name in self._door.models]
        now_s = self._loop.time()
        gone = {*self._knobs.offline, *(name for name in self._door.models if self._door.is_gone(name, now_s))}
        kinds = [row for row in (*chat, *OTHER_MODELS) if row[0] not in gone]
        wanted, sub = query.get("type"), query.get("sub_type")
        ids = [name for name, kind, task in kinds if wanted in (None, "", kind) and sub in (None, "", task)]
        data = [{"id": name, "object": "model", "created": 0, "owned_by": ""} for name in ids]
        return Refusal(200, msgspec.json.encode({"object": "list", "data": data}))

    def _chat(self, request: HttpRequest, account: str | None, connection: Connection, trace: tuple[str, str]) -> None:
        accept_ns = time.monotonic_ns()
        asked = self._door.admit(request, account, self._loop.time())
        if isinstance(asked, Refusal):
            self._refuse(asked, None, connection, trace, accept_ns)
            return
        digest = digest_of(asked.body)
        attempt = self._attempt(digest)
        chance = Random(f"{self._knobs.seed}/{digest}/{attempt}")
        fault = _drawn(self._knobs, chance)
        if fault in BEFORE_REPLY:
            self._door.spend(asked, -asked.prompt_tokens, self._loop.time())  # read by nobody
        if fault == "drop":
            self._log(accept_ns, asked.body, 0, fault)
            connection.reset()
        elif fault in BEFORE_REPLY:
            refusal = refusals.fault(fault, self._knobs.era, self._knobs.faults.retry_after_s)
            self._refuse(refusal, fault, connection, trace, accept_ns, asked.body)
        else:
            self._reply(asked, connection, trace, accept_ns, attempt, chance, fault)

    def _attempt(self, digest: int) -> int:
        """How many times this body was seen before; the oldest bodies are forgotten."""
        attempt = self._seen.pop(digest, 0)
        self._seen[digest] = attempt + 1
        if len(self._seen) > REMEMBERED_BODIES:
            self._seen.popitem(last=False)
        return attempt

    def _reply(
        self,
        asked: Accepted,
        connection: Connection,
        trace: tuple[str, str],
        accept_ns: int,
        attempt: int,
        chance: Random,
        fault: str | None,
    ) -> None:
        knobs, name = self._knobs, asked.model.name
        warm = asked.body.get("temperature") != 0
        content = digest_of(asked.body, NOT_CONTENT)
        seed = Random(f"{knobs.seed}+{content}+{attempt if warm else 0}").getrandbits(64)
        try:
            spoken = compose(Prompt(asked.body, asked.model, knobs, asked.knobs, seed), self._answers)
        except (TypeError, ValueError, AttributeError, KeyError, IndexError, RecursionError) as error:
            # only a schema that is no schema gets here: everything else was checked
            refusal = refusals.bad_parameter(f"schema: {type(error).__name__}")
            self._refuse(refusal, None, connection, trace, accept_ns, asked.body)
            return
        pace, others, slots = pace_of(name, asked.knobs), self._in_flight[name], knobs.slots_per_model
        scale = 1 / knobs.speed if knobs.speed else 0.0
        response_id, created = self._new_id()

        def ended(reply: Reply) -> None:
            self._in_flight[name] -= 1
            self._door.spend(asked, reply.sent_tokens, self._loop.time())
            self._log(accept_ns, asked.body, 200, fault, reply)

        reply = Reply(
            connection=connection,
            loop=self._loop,
            headers=[trace],
            response_id=response_id,
            created=created,
            model=name,
            prompt_tokens=asked.prompt_tokens,
            spoken=spoken,
            random=chance,
            fault=None if fault in ABOUT_REPLY else fault,
            faults=knobs.faults,
            framing=knobs.framing,
            slow_headers=chance.random() < knobs.faults.slow_headers,
            first_token_s=scale * first_token_s(pace, asked.prompt_tokens, others, slots, chance),
            token_s=lambda: scale * token_s(pace, self._in_flight[name] - 1, slots),
            ended=ended,
        )
        self._in_flight[name] += 1
        if fault in ABOUT_REPLY:
            connection.dress = _DRESSES[fault]
        self._deliver(reply, asked)

    def _deliver(self, reply: Reply, asked: Accepted) -> None:
        knobs = asked.knobs
        leak = knobs.tool_delta is ToolDelta.glm_broken and bool(asked.body.get("stream"))
        most = knobs.tokens_per_chunk
        sizes = [1] if most == 1 else [reply.random.randint(1, most) for _ in range(16)]
        steps = [steps_of(said, sizes, leak) for said in reply.spoken]
        if not asked.body.get("stream"):
            Whole(reply, steps).start()
            return
        chunks = Chunks(
            response_id=reply.response_id,
            created=reply.created,
            model=reply.model,
            prompt_tokens=reply.prompt_tokens,
            style=knobs.usage_style,
            role_repeat=knobs.role_repeat,
            call_ids=[[call.call_id for call in said.calls] for said in reply.spoken],
            crlf=self._knobs.framing.crlf,
        )
        Streamed(reply, chunks, steps).start()

    def _refuse(
        self,
        refusal: Refusal,
        fault: str | None,
        connection: Connection,
        trace: tuple[str, str],
        accept_ns: int,
        body: dict[str, Any] | None = None,
    ) -> None:
        reason = " ".join(refusal.reason.split())[:300]
        headers = [trace, *refusal.headers, *([("x-sim-reason", reason)] if reason else [])]
        self._log(accept_ns, body or {}, refusal.status, fault)
        connection.respond(refusal.status, refusal.body, refusal.content_type, headers)

    def _log(
        self, accept_ns: int, body: Mapping[str, Any], status: int, fault: str | None, reply: Reply | None = None
    ) -> None:
        if not self._truth.is_kept:
            return
        row: dict[str, Any] = {"id": None, "model": body.get("model"), "status": status, "fault": fault}
        row |= {"accept_ns": accept_ns, "end_ns": time.monotonic_ns(), "digest": f"{digest_of(body):016x}"}
        row |= {"stream": bool(body.get("stream")), "choices": [], "usage": None}
        if reply is not None:
            row["id"], row["client_left"] = reply.response_id, reply.client_left
            row["slow_headers"] = reply.slow_headers
            row["choices"] = [choice.row() for choice in reply.sent]
            row["usage"] = {
                "prompt_tokens": reply.prompt_tokens,
                "completion_tokens": reply.sent_tokens,
                "reasoning_tokens": reply.reasoning_tokens,
            }
        self._truth.write(row)

    def _new_id(self) -> tuple[str, int]:
        """A response id, 48 bits of milliseconds and 80 random ones in hex, and the second it tells."""
        now_ms = time.time_ns() // 1_000_000
        return f"{now_ms:012x}{self._ids.getrandbits(80):020x}", now_ms // 1_000


def _drawn(knobs: SimKnobs, chance: Random) -> str | None:
    """The fault that strikes this attempt, if any."""
    left = chance.random()
    for name in EXCLUSIVE:
        left -= getattr(knobs.faults, name)
        if left < 0:
            return name
    return None


def digest_of(body: Mapping[str, Any], without: tuple[str, ...] = ()) -> int:
    """A hash of what a body asks for; the order of its keys does not count."""
    content = {key: value for key, value in body.items() if key not in without}
    return int.from_bytes(blake2b(msgspec.json.encode(content, order="deterministic"), digest_size=8).digest(), "big")
