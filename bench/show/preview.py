"""What ``dry_run=true`` prints: the plan, with nothing sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol


class Ceiling(Protocol):
    """What is shown of one cell (see ``bench.measure.ceiling``)."""

    @property
    def label(self) -> str: ...
    @property
    def cell_id(self) -> str: ...
    @property
    def requests(self) -> int | None: ...
    @property
    def tokens(self) -> int | None: ...
    @property
    def assumed(self) -> bool: ...
    @property
    def cost(self) -> float | None: ...
    @property
    def currency(self) -> str: ...


def print_plan(ceilings: Sequence[Ceiling], notes: Sequence[str], judges: Sequence[Ceiling] = ()) -> None:
    """Print cells, requests, and the ceiling of tokens and cost; those of judges beside them."""
    from tabulate import tabulate

    rows = [
        [one.label, one.cell_id, _count(one.requests), _count(one.tokens), _money(one.cost, one.currency)]
        for one in (*ceilings, *judges)
    ]
    headers = ["cell", "id", "requests", "tokens, at most", "cost, at most"]
    print(tabulate(rows, headers=headers, colalign=("left", "left", "right", "right", "right"), disable_numparse=True))
    print()
    print(f"{len(ceilings)} cells, {_total((*ceilings, *judges))}. Nothing was sent.")
    if judges:
        print("The judges' requests are among them: they are sent once the run is over, and cost what they cost.")
    if any(one.assumed for one in (*ceilings, *judges)):
        print("Ceilings assume 1,024 answer and 4,096 thinking tokens per choice where the sampling sets no cap.")
    if any(one.requests is None for one in ceilings):
        print("A cell without a number of requests runs for load.duration_s, or until a search has found its rate.")
    for note in notes:
        print(f"note: {note}")


def _total(ceilings: Sequence[Ceiling]) -> str:
    costs: dict[str, float] = defaultdict(float)
    for one in ceilings:
        if one.cost is not None:
            costs[one.currency] += one.cost
    unpriced = sum(one.cost is None for one in ceilings)
    requests = sum(one.requests or 0 for one in ceilings)
    tokens = sum(one.tokens or 0 for one in ceilings)
    money = " + ".join(_money(cost, currency) for currency, cost in costs.items()) or "no price"
    gap = f" ({unpriced} without a price)" if unpriced and costs else ""
    return f"{requests:,} requests, at most {tokens:,} tokens, at most {money}{gap}"


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _money(cost: float | None, currency: str) -> str:
    return "-" if cost is None else f"{cost:,.4f} {currency}"
