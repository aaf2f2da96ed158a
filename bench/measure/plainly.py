"""The reply of a stream of the usual kind: one choice of text, with or without reasoning, in one pass.

Nearly all events of such a stream are the same but for a word. Once one has been read as JSON, the next that have the
same bytes before and after the word need not be: where the word holds nothing that JSON would escape, it stands in
them as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from bench.domain import Choice, EventKind, Reply
from bench.measure.assemble import whole
from bench.measure.payloads import Chunk, raw_value, read_exactly, read_usage

_ANSWER, _REASONING = EventKind.ANSWER, EventKind.REASONING

_START, _BETWEEN, _END = b"data: {", b"\n\ndata: ", b"\n\ndata: [DONE]\n\n"

#: what cannot stand in a JSON string as it is, and the delimiter that ends it
_ESCAPED = re.compile(rb'[\x00-\x1f"\\]')

_WORDS = {"content": _ANSWER, "reasoning_content": _REASONING, "reasoning": _REASONING}

#: a word for trying out a mould, unlike any that a model says
_TRIAL = "~trial~"

#: moulds to try at most: a stream that needs more of them has no use for them
_MOST_MOULDS = 8

#: events that a mould is tried on at once, at first and after one that it did not fit
_FEWEST_EVENTS = 8


@dataclass(frozen=True, slots=True)
class Mould:
    """The bytes of an event before and after its word, and what the word is."""

    head: bytes
    tail: bytes
    kind: EventKind

    def words(self, events: Sequence[bytes]) -> list[bytes]:
        """The words of the events, up to the first of another shape or with escapes."""
        head, tail = self.head, self.tail
        before, after = len(head), -len(tail)
        if not (events and events[0].startswith(head)):
            return []
        fits = [event.startswith(head) and event.endswith(tail) and len(event) >= before - after for event in events]
        fitting = events if all(fits) else events[: fits.index(False)]
        words = [event[before:after] for event in fitting]
        if _ESCAPED.search(b"".join(words)):
            return words[: next(place for place, word in enumerate(words) if _ESCAPED.search(word))]
        return words


def mould_of(event: bytes, chunk: Chunk) -> Mould | None:
    """The mould of an event that was read as ``chunk``; ``None`` where it holds more than a word, or the word twice."""
    choices = chunk.choices
    if not choices or choices[0].finish_reason or choices[0].delta is None or chunk.usage:
        return None
    delta = choices[0].delta
    said = [name for name in _WORDS if getattr(delta, name)]
    if len(said) != 1:
        return None
    (name,) = said
    word = getattr(delta, name)
    quoted = b'"%b"' % word.encode()
    if event.count(quoted) != 1:
        return None
    at = event.find(quoted) + 1
    mould = Mould(event[:at], event[at + len(quoted) - 2 :], _WORDS[name])
    tried = read_exactly(mould.head + _TRIAL.encode() + mould.tail)
    if tried is None or not tried.choices or (other := tried.choices[0].delta) is None:
        return None
    if getattr(other, name) != _TRIAL:
        return None
    setattr(other, name, word)
    return mould if tried == chunk else None


@dataclass(slots=True)
class _Plain:
    """A reply of one choice being put together; a method that gives ``False`` has met something unusual."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    event_ns: list[int] = field(default_factory=list)
    event_kind: list[EventKind] = field(default_factory=list)
    usages: list[msgspec.Raw] = field(default_factory=list)
    named: list[Chunk] = field(default_factory=list)
    finish_reason: str | None = None
    seen: bool = False

    def take(self, chunk: Chunk, ns: int) -> bool:
        """Add one chunk."""
        choices = chunk.choices
        if choices is None or chunk.error or chunk.timings or chunk.perf_metrics or chunk.x_groq:
            return False
        self.named.append(chunk)
        if chunk.usage:
            self.usages.append(chunk.usage)
        if not choices:
            return True
        choice = choices[0]
        delta = choice.delta
        if delta is None or choice.index or choice.usage or len(choices) > 1:
            return False
        self.seen = True
        content, thought = delta.content, delta.reasoning_content or delta.reasoning
        if delta.tool_calls or delta.refusal or (content and not isinstance(content, str)):
            return False
        if thought:
            self.reasoning.append(thought)
        if content:
            self.text.append(content)  # type: ignore[arg-type]  # a list was refused above
        if content or thought:
            self.event_ns.append(ns)
            self.event_kind.append(_ANSWER if content else _REASONING)
        self.finish_reason = choice.finish_reason or self.finish_reason
        return choice.finish_reason != "error"

    def take_event(self, event: bytes, clock: _Clock) -> Chunk | None:
        """Read and add one event; ``None`` where it is unusual."""
        if not event.startswith(b"{") or b"\n" in event:
            return None
        (ns,) = clock.stamps([len(event)])
        chunk = read_exactly(event)
        return chunk if chunk is not None and self.take(chunk, ns) else None

    def take_words(self, words: Sequence[bytes], kind: EventKind, clock: _Clock, frame: int) -> bool:
        """Add the words of events that hold nothing else; ``frame`` is what each event is longer than its word.

        ``False`` where one of them is not valid UTF-8 by itself.
        """
        try:
            texts = [word.decode() for word in words]
        except UnicodeDecodeError:
            return False
        stamps = clock.stamps([frame + len(word) for word in words])
        if not all(texts):  # an empty word is no event
            stamps = [ns for ns, text in zip(stamps, texts, strict=True) if text]
        (self.text if kind is _ANSWER else self.reasoning).extend(texts)
        self.event_ns += stamps
        self.event_kind += [kind] * len(stamps)
        return True

    def reply(self) -> Reply:
        """The reply of a stream that ended with ``[DONE]``."""
        choice = Choice(
            index=0,
            text=whole("".join(self.text)),
            reasoning=whole("".join(self.reasoning)),
            finish_reason=self.finish_reason and whole(self.finish_reason),
            event_ns=tuple(self.event_ns),
            event_kind=tuple(self.event_kind),
        )
        response_id = next((chunk.id for chunk in self.named if chunk.id), None)
        model = next((chunk.model for chunk in self.named if chunk.model), None)
        fingerprint = next((chunk.system_fingerprint for chunk in self.named if chunk.system_fingerprint), None)
        found = (read_usage(raw_value(raw)) for raw in reversed(self.usages))
        return Reply(
            choices=(choice,),
            usage=next((usage for usage in found if usage is not None), None),
            response_id=response_id and whole(response_id),
            response_model=model and whole(model),
            system_fingerprint=fingerprint and whole(fingerprint),
            events=len(self.event_ns),
            done=True,
        )


def plain_reply(reads: Sequence[tuple[int, bytes]]) -> Reply | None:
    """What :class:`bench.measure.assemble.Assembly` makes of a stream of ``data: {...}`` events and ``[DONE]``.

    ``None`` where anything is out of the usual: events of several lines, comments, several choices, tool calls,
    refusals, content in parts, errors, server timings, or no choice at all.

    Args:
        reads: stamp and bytes of each read.
    """
    raw = b"".join([data for _, data in reads])
    if not raw.startswith(_START) or not raw.endswith(_END) or b"\r" in raw:
        return None
    plain, clock = _Plain(), _Clock(reads)
    events = raw[len(_START) - 1 : -len(_END)].split(_BETWEEN)
    mould: Mould | None = None
    left, place, window = _MOST_MOULDS, 0, _FEWEST_EVENTS
    while place < len(events):
        chunk = plain.take_event(events[place], clock)
        if chunk is None:
            return None
        place += 1
        words = mould.words(events[place : place + window]) if mould else []
        if not words and left and (made := mould_of(events[place - 1], chunk)) is not None:
            mould, left = made, left - 1
            words = mould.words(events[place : place + window])
        while mould is not None and words:
            if not plain.take_words(words, mould.kind, clock, len(mould.head) + len(mould.tail)):
                return None
            place += len(words)
            # as many as the mould has just fitted again, so that looking ahead in vain costs no more than it has saved
            window, fitted = max(_FEWEST_EVENTS, 2 * len(words)), len(words) == window
            words = mould.words(events[place : place + window]) if fitted else []
    return plain.reply() if plain.seen else None


class _Clock:
    """The stamps of events that follow each other: of the read that completed each."""

    def __init__(self, reads: Sequence[tuple[int, bytes]]) -> None:
        self._reads = iter(reads)
        self._ns, self._read_until, self._completes_at = 0, 0, 0

    def stamps(self, lengths: Sequence[int]) -> list[int]:
        """The stamps of the next events, whose data is so long."""
        all_complete_at = self._completes_at + sum(lengths) + len(lengths) * len(_BETWEEN)
        if all_complete_at <= self._read_until:
            self._completes_at = all_complete_at
            return [self._ns] * len(lengths)
        stamps: list[int] = []
        ns, read_until, completes_at, reads = self._ns, self._read_until, self._completes_at, self._reads
        for length in lengths:
            completes_at += length + len(_BETWEEN)  # as long as "data: " before it and two line ends after it
            while read_until < completes_at:
                ns, data = next(reads)
                read_until += len(data)
            stamps.append(ns)
        self._ns, self._read_until, self._completes_at = ns, read_until, completes_at
        return stamps
