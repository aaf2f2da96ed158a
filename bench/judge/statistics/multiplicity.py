"""Many claims at once: adjusted p-values and e-values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bench.judge.statistics.floats import Numbers, as_floats

if TYPE_CHECKING:
    from bench.judge.statistics.floats import Floats

#: at most so many headline claims go by Holm; more, by Benjamini and Hochberg
HEADLINE_CLAIMS = 5


def holm(p: Numbers) -> list[float | None]:
    """P-values adjusted by Holm's step-down (1979, Scandinavian Journal of Statistics 6:65), in the order given.

    ``max_{j<=i} min(1, (m-j+1)·p_(j))``. ``None`` stays ``None`` and is no test of the family.
    """
    import numpy as np

    def step(ordered: Floats) -> Floats:
        m = ordered.size
        found: Floats = np.maximum.accumulate((m - np.arange(m)) * ordered)
        return found

    return _adjust(p, step)


def benjamini_hochberg(p: Numbers) -> list[float | None]:
    """P-values adjusted to control the false discovery rate (Benjamini and Hochberg 1995, JRSS B 57:289).

    ``min_{j>=i} min(1, m·p_(j)/j)``, in the order given; ``None`` as in :func:`holm`.
    """
    return _adjust(p, _step_up)


def benjamini_yekutieli(p: Numbers) -> list[float | None]:
    """As :func:`benjamini_hochberg`, under any dependence: times ``Σ 1/i`` (2001, Annals of Statistics 29:1165)."""
    import numpy as np

    return _adjust(p, lambda ordered: _step_up(ordered) * float((1 / np.arange(1, ordered.size + 1)).sum()))


def _step_up(ordered: Floats) -> Floats:
    import numpy as np

    m = ordered.size
    found: Floats = np.minimum.accumulate((m * ordered / np.arange(1, m + 1))[::-1])[::-1]
    return found


def _adjust(p: Numbers, step: Callable[[Floats], Floats]) -> list[float | None]:
    import numpy as np

    values = as_floats(p)
    known = np.flatnonzero(np.isfinite(values))
    if ((values[known] < 0) | (values[known] > 1)).any():
        raise ValueError("P-values lie between 0 and 1.")
    adjusted: list[float | None] = [None] * values.size
    if known.size:
        order = known[np.argsort(values[known], kind="stable")]
        for place, value in zip(order, np.minimum(step(values[order]), 1.0), strict=True):
            adjusted[int(place)] = float(value)
    return adjusted


def e_bh(e: Sequence[float], q: float = 0.05) -> list[int]:
    """Indices of the hypotheses that e-BH rejects: the ``k*`` largest, ``k* = max{k: e_(k) >= m/(q·k)}``.

    False discovery rate at most ``q`` under any dependence (Wang and Ramdas 2022, JRSS B 84:822).
    """
    order = sorted(range(len(e)), key=lambda index: -e[index])
    most = 0
    for k, index in enumerate(order, start=1):
        if e[index] * q * k >= len(e) * (1 - 1e-12):
            most = k
    return sorted(order[:most])


def adjust_claims(p: Numbers) -> tuple[list[float | None], str]:
    """P-values of a family adjusted, and by what: Holm up to :data:`HEADLINE_CLAIMS`, else Benjamini-Hochberg."""
    few = sum(value is not None for value in p) <= HEADLINE_CLAIMS
    return (holm(p), "Holm") if few else (benjamini_hochberg(p), "Benjamini-Hochberg")
