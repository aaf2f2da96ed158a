"""Scorers held against labels that people gave: Cohen's kappa of each, and Fleiss' of all together."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.domain import ConfigError, Label
from bench.files import Problems, opened, parse_json, text_lines
from bench.judge.statistics.agreement import ENOUGH_LABELS, Kappa, cohen_kappa, cross_table, fleiss_kappa
from bench.record import read_table

_LABELS = frozenset(label.value for label in Label)


@dataclass(frozen=True, slots=True)
class Agreement:
    """One scorer against people.

    Attributes:
        scorer: its name.
        kappa: Cohen's, with interval and raw agreement; over the replies that both judged.
        confusion: ``(person's label, scorer's label)`` to number of replies, commonest first.
        missing: labelled replies on which the scorer has no verdict.
    """

    scorer: str
    kappa: Kappa
    confusion: tuple[tuple[tuple[str, str], int], ...]
    missing: int


@dataclass(frozen=True, slots=True)
class Labelled:
    """All scorers of a run against the labels of one file.

    Attributes:
        file: its name.
        labels: how many replies of the run it labels.
        by_scorer: each scorer by itself.
        fleiss: of people and all scorers together, where there are at least two scorers.
    """

    file: str
    labels: int
    by_scorer: tuple[Agreement, ...]
    fleiss: Kappa | None

    @property
    def is_enough(self) -> bool:
        """Whether there are labels enough to trust a judge by."""
        return self.labels >= ENOUGH_LABELS


def held_against(path: Path, file: Path) -> Labelled:
    """Every scorer of a run against a file of labels.

    Labels that are all names of verdicts (``correct``, ``wrong``, ``partial``, ``refused`` ...) are compared with the
    scorers' labels, any others (ratings, grades) with what the scorers extracted.

    Args:
        path: the run folder.
        file: ``.jsonl`` or ``.csv``; rows have ``label``, and ``request_id`` or ``sample_id`` (and ``model``, where
            several models answered), and ``choice`` (0 where it is missing).

    Raises:
        ConfigError: the file cannot be read, or rows name no reply of the run, or several; names them.
    """
    people = _people(path, _rows(file), file)
    names = all(label in _LABELS for label in people.values())
    said: dict[str, dict[tuple[str, int], str]] = defaultdict(dict)
    columns = ["request_id", "choice", "scorer", "label", "extracted"]
    for row in read_table(path, "scores", columns).to_pylist():
        place = (row["request_id"], row["choice"])
        verdict = row["label"] if names else _tidy(row["extracted"])
        if place in people and verdict not in (None, "unscored") and row["label"] != "unscored":
            said[row["scorer"]][place] = verdict
    by_scorer = tuple(_agreement(scorer, people, verdicts) for scorer, verdicts in said.items())
    return Labelled(file.name, len(people), by_scorer, _fleiss(people, said) if len(said) > 1 else None)


def _agreement(scorer: str, people: Mapping[Any, str], verdicts: Mapping[Any, str]) -> Agreement:
    both = [(people[place], verdict) for place, verdict in verdicts.items()]
    table = cross_table([one for one, _ in both], [other for _, other in both])
    return Agreement(scorer, cohen_kappa(table), tuple(Counter(both).most_common()), len(people) - len(both))


def _fleiss(people: Mapping[Any, str], said: Mapping[str, Mapping[Any, str]]) -> Kappa:
    raters = [people, *said.values()]
    categories = sorted({verdict for rater in raters for verdict in rater.values()})
    rows = [Counter(rater[place] for rater in raters if place in rater) for place in people]
    return fleiss_kappa([[row[name] for name in categories] for row in rows])


def _tidy(text: Any) -> str | None:
    """A number as the same text however it was written; other texts as they are."""
    if text is None or text == "":
        return None
    try:
        return f"{float(text):g}"
    except (TypeError, ValueError):
        return str(text).strip()


def _rows(file: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """The rows with their places.

    Raises:
        ConfigError: the file cannot be read.
    """
    if not file.is_file():
        raise ConfigError(f"--labels {file}: there is no such file")
    problems = Problems()
    with opened(file) as stream:
        lines = [(f"{file}:{number}", line) for number, line in text_lines(file, stream, problems)]
    problems.refuse()
    if file.name.removesuffix(".gz").endswith(".csv"):
        reader = csv.DictReader(io.StringIO("".join(line for _, line in lines), newline=""))
        return [(f"{file}:{reader.line_num}", row) for row in reader]
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for place, line in lines:
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise ConfigError(f"{place}: invalid JSON: {error}") from error
        if not isinstance(row, dict):
            raise ConfigError(f"{place}: a row must be a JSON object with `label` and `request_id` or `sample_id`")
        rows.append((place, row))
    return rows


def _people(path: Path, rows: Sequence[tuple[str, Mapping[str, Any]]], file: Path) -> dict[tuple[str, int], str]:
    """The labels by request id and choice."""
    requests = read_table(path, "requests", ["request_id", "sample_id", "model"]).to_pylist()
    known = {row["request_id"] for row in requests}
    of_sample: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in requests:
        of_sample[row["sample_id"]].append(row)
    found: dict[tuple[str, int], str] = {}
    problems = Problems()
    for place, row in rows:
        try:
            label, choice = _tidy(row.get("label")), int(row.get("choice") or 0)
        except (TypeError, ValueError):
            problems.add(f"{place}: `choice` must be a whole number, it is {row.get('choice')!r}")
            continue
        request_id = row.get("request_id") or None
        if request_id is None:
            model = row.get("model")
            several = [one for one in of_sample.get(str(row.get("sample_id")), ()) if model in (None, "", one["model"])]
            if len(several) != 1:
                problems.add(
                    f"{place}: sample_id {row.get('sample_id')!r} names {len(several)} requests of the run; give the "
                    "request_id, or the model as well"
                )
                continue
            request_id = several[0]["request_id"]
        if request_id not in known or label is None:
            lacks = "has no label" if label is None else f"request_id {request_id!r} is not in the run"
            problems.add(f"{place}: {lacks}")
            continue
        found[str(request_id), choice] = label
    problems.refuse()
    if not found:
        raise ConfigError(f"--labels {file}: it holds no labels")
    return found
