"""Questions that one side answers and the other does not, with both answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import record
from bench.domain import Choice
from bench.judge.clusters import last_user_text
from bench.judge.sides import Side

if TYPE_CHECKING:
    import pandas as pd

#: a side answers a question when it scores more than this on average
ANSWERED = 0.5

Key = tuple[str, int]


@dataclass(frozen=True)
class Said:
    """One side's reply to a question."""

    request_id: str
    choice: int
    score: float
    label: str
    extracted: str | None
    text: str


@dataclass(frozen=True)
class Flip:
    """One question that one side scores above :data:`ANSWERED` on, and the other below.

    Attributes:
        gained: B scores higher.
        mean_a, mean_b: of all its replies; ``a``, ``b``: the reply of each side that is shown.
        question: the last turn of the user; ``None`` where prompts are not kept. ``target`` as text, likewise.
    """

    sample_id: str
    gained: bool
    mean_a: float
    mean_b: float
    a: Said
    b: Said
    question: str | None
    target: str | None
    tags: tuple[str, ...]


def find_flips(a: Side, b: Side) -> list[Flip]:
    """Every flipped question: what was lost first, then what was gained, by sample id.

    Of several replies the first is shown that is on its side's side of the half.
    """
    left, right = _scores(a), _scores(b)
    means = [rows.groupby("sample_id", observed=True)["value"].mean() for rows in (left, right)]
    both = means[0].to_frame("a").join(means[1].to_frame("b"), how="inner") - ANSWERED
    flipped = sorted(str(name) for name in both[both["a"] * both["b"] < 0].index)
    shown = [_shown(side, rows, flipped) for side, rows in ((a, left), (b, right))]
    samples = b.run.samples.get(b.cell.dataset_key, {})
    found = []
    for name in flipped:
        sample = samples.get(name)
        found.append(
            Flip(
                sample_id=name,
                gained=bool(means[1][name] > ANSWERED),
                mean_a=float(means[0][name]),
                mean_b=float(means[1][name]),
                a=shown[0][name],
                b=shown[1][name],
                question=None if sample is None else last_user_text(sample.messages),
                target=None if sample is None or sample.target is None else str(sample.target),
                tags=() if sample is None else sample.tags,
            )
        )
    return sorted(found, key=lambda flip: (flip.gained, flip.sample_id))


def _scores(side: Side) -> pd.DataFrame:
    rows = side.run.scores_of(side.cell).sort_values(["repeat", "choice"], kind="stable")
    return rows.assign(sample_id=rows["sample_id"].astype(str))


def _shown(side: Side, rows: pd.DataFrame, flipped: Iterable[str]) -> dict[str, Said]:
    wanted = rows[rows["sample_id"].isin(list(flipped))]
    mean = wanted.groupby("sample_id")["value"].transform("mean")
    typical = wanted[(wanted["value"] - ANSWERED) * (mean - ANSWERED) > 0]
    first = typical.drop_duplicates("sample_id")
    keys = set(zip(first["request_id"].astype(str), first["choice"].astype(int), strict=True))
    texts, read = _texts(side, keys), _extracted(side, keys)
    return {
        row["sample_id"]: Said(
            request_id=str(row["request_id"]),
            choice=int(row["choice"]),
            score=float(row["value"]),
            label=str(row["label"]),
            extracted=read.get((str(row["request_id"]), int(row["choice"]))),
            text=texts.get((str(row["request_id"]), int(row["choice"])), ""),
        )
        for row in first.to_dict("records")
    }


def _texts(side: Side, keys: set[Key]) -> dict[Key, str]:
    requests = {request for request, _ in keys}
    found = {}
    for batch in record.read_choices(side.run.path) if keys else ():
        for one in batch:
            if one.request_id in requests and (one.request_id, one.choice.index) in keys:
                found[one.request_id, one.choice.index] = _text(one.choice)
    return found


def _text(choice: Choice) -> str:
    """What a reply says: its text, else its tool calls."""
    if choice.text or not choice.tool_calls:
        return choice.text
    return "\n".join(_call(call) for call in choice.tool_calls)


def _call(call: Mapping[str, Any]) -> str:
    function = call.get("function") or {}
    return f"{function.get('name')}({function.get('arguments')})"


def _extracted(side: Side, keys: set[Key]) -> dict[Key, str]:
    columns = ["request_id", "choice", "scorer", "extracted"]
    found = {}
    for batch in record.iter_batches(side.run.path, "scores", columns) if keys else ():
        for row in batch.to_pylist():
            key = (row["request_id"], row["choice"])
            if row["extracted"] is not None and row["scorer"] == side.cell.scorer and key in keys:
                found[key] = str(row["extracted"])
    return found
