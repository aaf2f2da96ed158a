"""The section of the report on what became of the replies: exclusive outcomes, and the bounds that errors leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.judge.statistics.outcomes import ANSWERED, ERROR_LIMIT, UNANSWERED
from bench.show.markdown import table
from bench.show.table import NONE, short_labels
from bench.show.terminal import printable

if TYPE_CHECKING:
    import pandas as pd

    from bench.show.summary import SummaryTable

MEANING = (
    "Every reply that was asked for has one outcome. Shares are of all replies but errors, with 95% intervals "
    "(Wilson's; where questions have several replies, mean and interval over questions); errors are of all. An error "
    "is never a wrong answer."
)
ACCURACIES = {
    "accuracy": "accuracy",
    "strict_accuracy": "strict",
    "answered_accuracy": "of the answered",
    "worst_accuracy": "had errors been wrong",
    "best_accuracy": "had errors been right",
}


def outcome_section(summary: SummaryTable) -> str:
    """A table of shares and one of accuracies, a row per cell; nothing where nothing was scored."""
    frame = summary.frame
    if frame.empty or not (frame["scored"] > 0).any():
        return ""
    rows = [{str(key): value for key, value in row.items()} for row in frame[frame["scored"] > 0].to_dict("records")]
    labels = short_labels([printable(row["label"], 200) for row in rows], 60)
    outcomes = [name for name in (*ANSWERED, *UNANSWERED, "error") if any(row[f"{name}_rate"] for row in rows)]
    shares = [
        [label, f"{row['scored'] + row['errors']:,.0f}", *(share_text(row, f"{name}_rate") for name in outcomes)]
        for label, row in zip(labels, rows, strict=True)
    ]
    shown = {name: said for name, said in ACCURACIES.items() if any(_is_known(row[name]) for row in rows)}
    accuracies = [
        [label, f"{row['questions']:,.0f}", *(share_text(row, name) for name in shown)]
        for label, row in zip(labels, rows, strict=True)
    ]
    return "\n\n".join(
        [
            "## Outcomes",
            MEANING,
            table(["cell", "replies", *outcomes], shares),
            table(["cell", "questions", *shown.values()], accuracies),
        ]
    )


def outcome_notes(frame: pd.DataFrame) -> list[str]:
    """Sentences on errors beyond what an accuracy bears, and on questions that hang together."""
    notes = []
    bad = frame[(frame["scored"] > 0) & (frame["error_rate"] > ERROR_LIMIT)]
    if len(bad):
        worst = max(bad.to_dict("records"), key=lambda row: float(row["error_rate"]))
        notes.append(
            f"Accuracy is not to be relied on in {len(bad)} of {len(frame)} cells: more than {ERROR_LIMIT:.0%} of the "
            f"replies never came (errors; {worst['error_rate']:.1%} in {worst['label']}, whose accuracy lies between "
            f"{worst['worst_accuracy']:.1%} and {worst['best_accuracy']:.1%} had they been wrong or right)."
        )
    hanging = frame[frame["clusters"].notna() & (frame["clusters"] < frame["questions"])]
    if len(hanging):
        questions, clusters = hanging["questions"].max(), hanging["clusters"].min()
        notes.append(
            f"Questions repeat each other or share a passage ({questions:,.0f} questions in {clusters:,.0f} clusters); "
            "the interval of the accuracy counts clusters."
        )
    return notes


def share_text(row: dict[str, Any], name: str) -> str:
    """``81.2% [78.0, 84.1]``, without ends where there are none."""
    ends = [float(row[key]) for key in (f"{name}_low", f"{name}_high") if _is_known(row.get(key))]
    if not _is_known(row[name]):
        return NONE
    return f"{row[name]:.1%}" + (f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]" if len(ends) == 2 else "")


def _is_known(value: Any) -> bool:
    return value is not None and value == value
