"""Replies that another tool collected, made into a finished run that is scored and reported like any other."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from bench.config import Experiment, Model
from bench.datasets import Dataset
from bench.domain import (
    Cell,
    Choice,
    ConfigError,
    ErrorKind,
    Exchange,
    Failure,
    JsonObject,
    Outcome,
    Reply,
    Request,
    Sample,
    Timeline,
)
from bench.measure.header import make_header
from bench.measure.plan import Plan, make_plan
from bench.providers.recorded import Recorded
from bench.record import Record
from bench.registry import build
from bench.row_fields import ABSENT, Row, at

#: where a row says which question it answers, where no field is named; the names of the dataset's own fields follow
_BY = ("sample_id", "id", "task_id", "question_id", "key", "question", "prompt", "problem", "input")
_TEXTS = (
    *("text", "completion", "response", "prediction", "output", "reply", "generation"),
    *("model_outputs", "model_output", "solution", "result", "resps"),
)
_CALLS = "tool_calls"
#: under which lm-evaluation-harness repeats the row of the dataset
_DOC = "doc."
_MODELS = ("model", "model_id", "model_name")
_KINDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".json": "json"}
_SHOWN = 5


@dataclass(frozen=True)
class Shape:
    """How to read a file of replies.

    Attributes:
        by: the field whose value names the question: an id, or any field that the dataset has too; empty finds it.
        text: the field, or dotted path, of the reply; empty finds it.
        rows_at: where in a ``.json`` file the list of rows is, as ``dataset.rows_at``.
    """

    by: str = ""
    text: str = ""
    rows_at: str = ""


def record_replies(file: Path, experiment: Experiment, shape: Shape, command: Sequence[str]) -> tuple[Path, list[str]]:
    """Make a finished run folder of the replies in a file, one cell per model; gives it, and what to tell a person.

    Every row is a reply of its own: several to one question are its repeats. A question without a reply is a request
    that was not sent, never a wrong answer. The rows have no times.

    Args:
        file: JSON Lines, JSON, CSV or Parquet.
        experiment: dataset, scorers, name and results folder; its model where the rows name none.
        shape: how the file is read.
        command: what ``run.json`` says the run was started with.

    Raises:
        ConfigError: a file that cannot be read, no field with replies, or rows that match no question.
    """
    rows = _rows(file, shape)
    text = shape.text or _text_field(rows, file)
    empty = _without(text, rows, file)
    by_model: defaultdict[str, list[Row]] = defaultdict(list)
    for place, row in rows:
        by_model[
            next(
                (str(row[key]) for key in _MODELS if row.get(key) and isinstance(row[key], str)), experiment.model.name
            )
        ].append((place, row))
    source = Recorded(path=str(file), sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    plan = make_plan([replace(experiment, provider=source, model=_model(experiment, name)) for name in by_model])
    notes, cells = [*plan.notes, *empty], list[Cell]()
    asked: list[Exchange] = []
    for planned, own in zip(plan.cells, by_model.values(), strict=True):
        samples = plan.samples[planned.dataset_key].samples
        matched, how, strays = _matched(own, samples, planned.config.dataset, shape.by)
        if not matched:
            raise ConfigError(f"{file}: no row matches a question of the dataset; {how}")
        texts = {
            index: [one for _, row in several for one in _choices(row, text)] for index, several in matched.items()
        }
        cell = _repeated(planned, max(map(len, texts.values())))
        cells.append(cell)
        asked += _exchanges(cell, samples, texts)
        left = len(samples) - len(matched)
        notes.append(f"{cell.label}: {len(own) - strays} replies to {len(matched)} of {len(samples)} questions, {how}")
        if strays:
            what = "row answers no question of the dataset and is" if strays == 1 else "rows answer no question and are"
            notes.append(f"{cell.label}: {strays} {what} left out")
        if left:
            what = "question has no reply; it counts" if left == 1 else "questions have no reply; they count"
            notes.append(f"{cell.label}: {left} {what} as not sent, never as wrong")
    return _written(replace(plan, cells=tuple(cells)), asked, notes, command), notes


def _repeated(cell: Cell, times: int) -> Cell:
    """The cell, as it says how often its questions were asked."""
    return replace(cell, config=replace(cell.config, repeats=times), params={**cell.params, "repeats": times})


def _model(experiment: Experiment, name: str) -> Model:
    return experiment.model if name == experiment.model.name else Model(name=name)


def _rows(file: Path, shape: Shape) -> list[Row]:
    suffix = Path(file.name.removesuffix(".gz")).suffix.lower()
    if suffix not in _KINDS:
        raise ConfigError(f"{file}: replies are read from {', '.join(_KINDS)}; this file has another ending")
    given: JsonObject = {"kind": _KINDS[suffix], "path": str(file)}
    if suffix == ".tsv":
        given["delimiter"] = "\t"
    if suffix == ".json":
        given |= {"rows_at": shape.rows_at or None} if shape.rows_at or not _is_lines(file) else {"kind": "jsonl"}
    reader: Dataset = build("dataset", given)
    rows = list(reader.rows())
    if not rows:
        raise ConfigError(f"{file}: it has no rows")
    # lm-evaluation-harness logs a reply once for each filter that reads it
    filters = dict.fromkeys(str(row["filter"]) for _, row in rows if "resps" in row and "filter" in row)
    return [one for one in rows if str(one[1].get("filter")) == next(iter(filters))] if len(filters) > 1 else rows


def _is_lines(file: Path) -> bool:
    """Whether a ``.json`` file is JSON Lines by another name."""
    try:
        with file.open(encoding="utf-8") as lines:
            return isinstance(json.loads(next(lines, "")), dict) and bool(next(lines, "").strip())
    except (ValueError, RecursionError):
        return False


def _text_field(rows: Sequence[Row], file: Path) -> str:
    """The name of the field that holds the replies."""
    names = dict.fromkeys(key for _, row in rows[:_SHOWN] for key in row)
    found = next((name for name in (*_TEXTS, _CALLS) if name in names), None)
    if found is None:
        raise ConfigError(f"{file}: no field is known to hold replies; name it with --text ({', '.join(names)})")
    return found


def _without(text: str, rows: Sequence[Row], file: Path) -> list[str]:
    """A note on the rows that lack the field of the replies.

    Raises:
        ConfigError: none has it.
    """
    lacking = [row for _, row in rows if at(row, text) is ABSENT and not row.get(_CALLS)]
    if len(lacking) == len(rows):
        raise ConfigError(f"{file}: --text {text}: no row has it (a row has {', '.join(islice(lacking[0], 20))})")
    rest = "row has" if len(lacking) == 1 else "rows have"
    counts = "counts as an empty reply" if len(lacking) == 1 else "count as empty replies"
    return [f"{len(lacking)} {rest} no {text} and {counts}"] if lacking else []


def _matched(
    rows: Sequence[Row], samples: Sequence[Sample], dataset: Dataset, by: str
) -> tuple[dict[int, list[Row]], str, int]:
    """The rows of each question by its index, how they were matched, and how many match none.

    Questions that share the value take the rows in turns. Without a field in common rows are matched by their order.
    """
    known = dict.fromkeys((*_BY, *dataset.fields.values()))
    for name in [by] if by else (*known, *(f"{_DOC}{one}" for one in known)):
        of_value: defaultdict[str, list[int]] = defaultdict(list)
        for index, sample in enumerate(samples):
            of_value[_text(_value_of(sample, dataset, name))].append(index)
        of_value.pop("", None)
        found: defaultdict[int, list[Row]] = defaultdict(list)
        seen: Counter[str] = Counter()
        for row in rows:
            value = _text(at(row[1], name))
            if value in of_value:
                found[of_value[value][seen[value] % len(of_value[value])]].append(row)
                seen[value] += 1
        if found:
            return dict(found), f"matched by {name}", len(rows) - seen.total()
    if not by and len(rows) % len(samples) == 0 and not dataset.shuffle:
        many = len(rows) // len(samples)
        return (
            {index: list(rows[index * many : (index + 1) * many]) for index in range(len(samples))},
            "matched by their order",
            0,
        )
    names = ", ".join(islice(rows[0][1], 20))
    said = f"no value of {by!r} is one of the dataset's" if by else "they share no field with it"
    return {}, f"{said}; name one that both have with --by (a row has {names})", len(rows)


def _value_of(sample: Sample, dataset: Dataset, name: str) -> Any:
    """What a question says under a name of the rows: the dataset may know the field by another."""
    name = name.removeprefix(_DOC)
    if name in ("id", "sample_id") or dataset.fields.get("id") == name:
        return sample.sample_id
    new = next((new for new, old in dataset.fields.items() if old == name), name)
    return at(dict(sample.fields), new)


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _exchanges(cell: Cell, samples: Sequence[Sample], replies_to: Mapping[int, Sequence[Choice]]) -> Iterator[Exchange]:
    for index, sample in enumerate(samples):
        replies = replies_to.get(index, ())
        for repeat, choice in enumerate(replies):
            request = Request(f"{cell.cell_id}:{sample.sample_id}:{repeat}", cell, sample, repeat, index)
            yield Exchange(request, Outcome.OK, Timeline(0), Reply((choice,)), cached=True)
        if not replies:
            request = Request(f"{cell.cell_id}:{sample.sample_id}:0", cell, sample, 0, index)
            why = Failure(ErrorKind.CANCELLED, "the file has no reply to it")
            yield Exchange(request, Outcome.NOT_SENT, Timeline(0), failure=why)


def _choices(row: JsonObject, text: str) -> Iterator[Choice]:
    """The replies of a row: one, or each of a list of texts; a list of calls is one reply."""
    value = at(row, text)
    reasoning, finish = row.get("reasoning"), row.get("finish_reason")
    calls = _calls(row.get(_CALLS)) or _calls(value)
    several = value if isinstance(value, list) and not calls else [value]
    if len(several) == 1 and isinstance(several[0], list) and not calls:  # as lm-evaluation-harness logs them
        several = several[0]
    for one in several or [""]:
        said = "" if one is ABSENT or one is None or (calls and not isinstance(one, str)) else one
        yield Choice(
            0,
            text=said if isinstance(said, str) else json.dumps(said, ensure_ascii=False),
            reasoning=reasoning if isinstance(reasoning, str) else "",
            tool_calls=calls,
            finish_reason=finish if isinstance(finish, str) else None,
        )


def _calls(value: Any) -> tuple[JsonObject, ...]:
    """Tool calls in the shape of the API, or as the function-calling leaderboard keeps them: ``{name: arguments}``."""
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) and one for one in value):
        return ()
    if all(isinstance(one.get("function"), dict) for one in value):
        return tuple(value)
    if not all(len(one) == 1 for one in value):
        return ()
    pairs = [next(iter(one.items())) for one in value]
    return tuple(
        {
            "type": "function",
            "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
        }
        for name, given in pairs
    )


def _written(plan: Plan, exchanges: Sequence[Exchange], notes: Sequence[str], command: Sequence[str]) -> Path:
    config = plan.experiment
    header = {**make_header(plan, command), "planned": len(exchanges), "notes": list(notes)}
    counts = Counter(one.request.cell.cell_id for one in exchanges)
    header["cells"] = [{**cell, "planned": counts[cell["cell_id"]]} for cell in header["cells"]]
    with Record.create(Path(config.results_dir), config.name, header) as record:
        record.write_cells(plan.cells)
        record.write_samples({key: one.kept for key, one in plan.samples.items()})
        for exchange in exchanges:
            record.append(replace(exchange, timeline=Timeline(record.origin_ns)))
        record.finish(state="finished")
    return record.path
