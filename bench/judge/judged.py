"""What judges said of a finished run: read back from the runs in which they were asked."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from bench import record
from bench.config import plain
from bench.domain import ConfigError, Outcome, Score
from bench.record.folder import HEADER, table_path
from bench.registry import discover, plugins
from bench.scorers import Scorer
from bench.scorers.judging import Judgement, Judging
from bench.scorers.several import named_scorer
from bench.scorers.verdicts import reply_text

#: what of a judge's settings says how fast or for how much it is asked, not what it is asked
_NOT_ASKED = ("limits", "budget", "concurrency")


@dataclass(frozen=True)
class Asked:
    """One judge of a run, as ``run.json`` of the judged run tells it.

    Attributes:
        title: the name of its scorer.
        identity: a hash of all that its requests depend on.
        runs: the folders in which it was asked, oldest first.
    """

    title: str
    identity: str
    runs: tuple[Path, ...]


def identity_of(scorer: Judging, configs: Sequence[Mapping[str, Any]]) -> str:
    """A hash of what a judge is asked: rubric, model, sampling, and the provider that it takes from the judged run.

    How its verdicts are read is not part of it, so that they can be read again without asking again.
    """
    settings = scorer.asked()
    settings["judge"] = {key: value for key, value in settings["judge"].items() if key not in _NOT_ASKED}
    if scorer.judge.provider is None and configs:
        settings["provider"] = configs[0]["provider"]
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


def rubric_hash(scorer: Judging) -> str:
    """SHA-256 (hex) of the rubric and the system turn."""
    return hashlib.sha256(json.dumps([scorer.rubric, scorer.system]).encode()).hexdigest()


def asked_of(path: Path, header: Mapping[str, Any]) -> list[Asked]:
    """Every judge that a run names, in the order in which they were first asked; folders that are gone are left out."""
    found = []
    for one in header.get("judges") or ():
        places = [Path(os.path.normpath(path.absolute() / place)) for place in one["runs"]]
        runs = tuple(place for place in places if (place / HEADER).is_file())
        found.append(Asked(str(one["scorer"]), str(one["identity"]), runs))
    return found


def verdicts_of(path: Path, header: Mapping[str, Any], scorer: Judging) -> dict[tuple[str, int], Score]:
    """The verdicts of one judge on a run's replies, by request id and choice; of runs that are over.

    Raises:
        ConfigError: a judge's run cannot be read.
    """
    mine = identity_of(scorer, [cell["config"] for cell in header["cells"]])
    return said_in([run for one in asked_of(path, header) if one.identity == mine for run in one.runs], scorer)


def said_in(runs: Sequence[Path], scorer: Judging) -> dict[tuple[str, int], Score]:
    """The verdicts of a judge on replies, by request id and choice, as it gave them in the runs that are over.

    Raises:
        ConfigError: as :func:`judgements`.
    """
    return scorer.verdicts(chain.from_iterable(judgements(run) for run in runs if _has_ended(run)))


def _has_ended(run: Path) -> bool:
    """Whether a judge's run has its tables, so that its replies can be read."""
    return table_path(run, "requests").exists()


def judgements(run: Path) -> Iterator[Judgement]:
    """Every row of a judge's run with what the judge said of it, or why it said nothing.

    Raises:
        ConfigError: the folder is no run, or a table cannot be read.
    """
    origins = {
        sample_id: sample.fields["origin"]
        for one in record.read_samples(run).values()
        for sample_id, sample in one.items()
    }
    said = {}
    for recorded in chain.from_iterable(record.read_choices(run)):
        if recorded.outcome is Outcome.OK and recorded.choice.index == 0:
            said[recorded.request_id] = reply_text(recorded.choice)
    columns = ["request_id", "sample_id", "outcome", "error_kind", "error_detail"]
    for row in record.read_table(run, "requests", columns).to_pylist():
        origin = origins[row["sample_id"]]
        if (text := said.get(row["request_id"])) is not None:
            yield Judgement(row["sample_id"], origin, text)
        else:
            kind = row["error_kind"] or row["outcome"]
            why = f"the judge gave no answer: {kind} {row['error_detail'] or ''}".strip()
            yield Judgement(row["sample_id"], origin, None, why)


def answered(run: Path) -> set[str]:
    """The ids of the rows of a judge's run that it has answered, readable or not: they are paid for.

    Raises:
        ConfigError: as :func:`judgements`.
    """
    return {one.row for one in judgements(run) if one.said is not None} if _has_ended(run) else set()


def spent_on(runs: Sequence[Path]) -> dict[str, Any]:
    """What runs took together.

    Gives ``requests`` that were sent, ``failed`` ones among them, HTTP ``attempts``, ``prompt_tokens``,
    ``completion_tokens``, ``cost`` and ``currency`` (``None`` where there is no price), and ``seconds``.
    """
    spent: dict[str, Any] = dict.fromkeys(("requests", "failed", "attempts", "prompt_tokens", "completion_tokens"), 0)
    cost: float | None = None
    currencies: set[str] = set()
    seconds = 0.0
    columns = ["outcome", "attempts", "prompt_tokens", "completion_tokens", "cost", "currency", "end_ns"]
    for run in filter(_has_ended, runs):
        rows = [row for row in record.read_table(run, "requests", columns).to_pylist() if row["attempts"]]
        spent["requests"] += len(rows)
        spent["failed"] += sum(row["outcome"] != "ok" for row in rows)
        for key in ("attempts", "prompt_tokens", "completion_tokens"):
            spent[key] += sum(row[key] or 0 for row in rows)
        priced = [row for row in rows if row["cost"] is not None]
        if priced:
            cost = (cost or 0.0) + sum(row["cost"] for row in priced)
            currencies |= {str(row["currency"]) for row in priced}
        seconds += max((row["end_ns"] or 0 for row in rows), default=0) / 1e9
    return {**spent, "cost": cost, "currency": " ".join(sorted(currencies)) or None, "seconds": round(seconds, 3)}


def judged_lines(header: Mapping[str, Any]) -> list[str]:
    """A sentence for each judge of a run: who it was, and what it took beside the run's own requests."""
    lines = []
    for one in header.get("judges") or ():
        cost = "" if one.get("cost") is None else f", {one['cost']:.4g} {one['currency']}"
        failed = f", {one['failed']:,} of them without an answer" if one.get("failed") else ""
        tokens = (one.get("prompt_tokens") or 0) + (one.get("completion_tokens") or 0)
        unread = f"; {one['unread']:,} verdicts could not be read and count for nothing" if one.get("unread") else ""
        lines.append(
            f"{one['scorer']}: judged by {one['model']} at {one['provider']}, {one['requests']:,} requests of its "
            f"own{failed}, {tokens:,} tokens{cost}, in no other figure here{unread}."
        )
    return lines


def judging_scorers(configs: Sequence[Mapping[str, Any]]) -> list[Judging]:
    """The judges among the scorers of plain configs, each once, in order.

    Raises:
        ConfigError: a scorer that does not exist, or options that it does not take.
    """
    discover()
    found: dict[str, Judging] = {}
    for config in configs:
        also = config.get("also") or ()
        for one in (config["scorer"], *([also] if isinstance(also, str | Mapping) else also)):
            if isinstance(one, Mapping) and one.get("kind") not in plugins("scorer"):
                continue  # a plug-in of the user's own, which a report need not know
            scorer = _made(json.dumps(one, sort_keys=True))
            if isinstance(scorer, Judging):
                found.setdefault(repr(plain(scorer)), scorer)
    titles = [one.title for one in found.values()]
    if len(set(titles)) < len(titles):
        raise ConfigError("scorer: two judges of this run have one name; give one of them another `name`")
    return list(found.values())


@lru_cache(maxsize=256)
def _made(config: str) -> Scorer:
    """The scorer of a plain config as JSON: the same few are asked for again and again."""
    return named_scorer(json.loads(config))
