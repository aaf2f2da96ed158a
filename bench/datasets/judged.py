"""The replies of a finished run as the rows of another: what a judge is asked about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any

from bench.datasets import Dataset
from bench.domain import Choice, ConfigError, JsonObject, Outcome, Sample
from bench.registry import plugin

#: control tokens of chat templates, which some servers read even inside a message
_CONTROL = re.compile(r"<(?=\|)|<(?=｜)|<(?=/?s>)|<(?=<SYS>>|</SYS>>)|<(?=(?:start|end)_of_turn>)|\[(?=/?INST\])")
_BREAK = "\u200b"
_THOUGHT_END = re.compile(r"</think(?:ing)?>")


@plugin("dataset", "judged")
@dataclass(frozen=True)
class Judged(Dataset):
    """One row for each reply of a finished run; warm-up and replies that broke off are left out.

    Rows have ``question conversation reply reference item origin``; see ``docs/judging.md``.

    Attributes:
        path: the folder of the judged run.
        cells: cell ids whose replies are judged; empty is all.
        skip: replies that are judged already, as ``request_id#choice``.
        reply_chars: longest part of a reply that is shown; of a longer one the middle is left out.
        needs_reference: whether rows without a target are left out.
    """

    kind: str = "judged"
    cells: list[str] = field(default_factory=list)
    skip: list[str] = field(default_factory=list)
    reply_chars: int = 20_000
    needs_reference: bool = False

    def rows(self) -> Iterator[tuple[str, JsonObject]]:
        """The replies in the order in which they were recorded.

        Raises:
            ConfigError: the folder is no run, or a table cannot be read.
        """
        skip = set(self.skip)
        for key, sample, choice, cell_id in replies_of(Path(str(self.path or "")), self.cells):
            if key in skip or (self.needs_reference and sample.target is None):
                continue
            request_id, _, index = key.rpartition("#")
            yield (
                f"{self.path}:{key}",
                {
                    "id": key,
                    "origin": {"request_id": request_id, "choice": int(index), "cell_id": cell_id},
                    **asked(sample),
                    "reply": fenced("reply", said(choice), self.reply_chars, key),
                },
            )


def replies_of(path: Path, cells: list[str]) -> Iterator[tuple[str, Sample, Choice, str]]:
    """Every whole reply of a run as ``(request_id#choice, sample, choice, cell id)``; warm-up left out.

    Raises:
        ConfigError: the folder is no run, or a table cannot be read.
    """
    from bench.record import read_choices, read_header, read_samples, read_table

    keys = {cell["cell_id"]: cell["dataset_key"] for cell in read_header(path)["cells"]}
    strange = set(cells) - keys.keys()
    if strange:
        raise ConfigError(f"dataset.cells: {path} has no cell {sorted(strange)[0]}")
    samples = read_samples(path)
    warm = read_table(path, "requests", ["request_id", "warmup"])
    warmup = {one for one, is_warm in zip(*(column.to_pylist() for column in warm.columns), strict=True) if is_warm}
    for recorded in chain.from_iterable(read_choices(path)):
        if recorded.outcome is not Outcome.OK or recorded.request_id in warmup:
            continue
        if cells and recorded.cell_id not in cells:
            continue
        sample = samples.get(keys[recorded.cell_id], {}).get(recorded.sample_id)
        if sample is not None:
            yield f"{recorded.request_id}#{recorded.choice.index}", sample, recorded.choice, recorded.cell_id


def asked(sample: Sample) -> JsonObject:
    """What a rubric sees of the question: ``question conversation reference item``."""
    turns = [(str(turn.get("role")), _text(turn.get("content"))) for turn in sample.messages]
    question = next((text for role, text in reversed(turns) if role == "user"), "")
    conversation = "\n\n".join(f"{role}: {text}" for role, text in turns)
    found: JsonObject = {
        "question": defused(question),
        "conversation": defused(conversation),
        "item": {key: value for key, value in sample.fields.items() if key not in ("messages", "tools")},
    }
    if sample.target is not None:
        found["reference"] = sample.target
    return found


def said(choice: Choice) -> str:
    """The answer of a choice without a leaked chain of thought; its tool calls after it."""
    ends = list(_THOUGHT_END.finditer(choice.text))
    text = (choice.text[ends[-1].end() :] if ends else choice.text).strip()
    calls = [one.get("function") or {} for one in choice.tool_calls]
    return "\n".join([text, *(f"{call.get('name')}({call.get('arguments')})" for call in calls)]).strip()


def fenced(name: str, text: str, most_chars: int, key: str) -> str:
    """Text between two marks that it cannot contain, because they hold a hash of it; defused, and cut in the middle."""
    text = defused(text)
    if len(text) > most_chars:
        half = most_chars // 2
        text = f"{text[:half]}\n[... {len(text) - 2 * half:,} characters left out ...]\n{text[len(text) - half :]}"
    mark = blake2b(f"{key}\0{text}".encode("utf-8", "replace"), digest_size=6).hexdigest()
    return f"<{name} {mark}>\n{text}\n</{name} {mark}>"


def defused(text: str) -> str:
    """Text whose control tokens of chat templates are broken by a character without width."""
    return _CONTROL.sub(lambda match: match.group() + _BREAK, text).encode("utf-8", "replace").decode("utf-8")


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)
