"""What every statistic does first: turn numbers with gaps into finite arrays; and tails of distributions."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: numbers in order; ``None`` and NaN are gaps
Numbers = Sequence[float | None] | Sequence[float] | Sequence[int] | Sequence[bool] | Any


def as_floats(values: Numbers) -> Floats:
    """Values as they stand, ``None`` as NaN."""
    import numpy as np

    if isinstance(values, np.ndarray) and values.dtype != object:
        return values.astype(np.float64)
    return np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)


def known_floats(values: Numbers) -> Floats:
    """The finite ones among the values, in order."""
    import numpy as np

    x = as_floats(values)
    return x[np.isfinite(x)]


def cluster_codes(clusters: Sequence[Hashable]) -> tuple[Ints, int]:
    """Clusters as numbers from 0 in order of appearance, and how many there are."""
    import numpy as np

    codes: dict[Hashable, int] = {}
    numbers = [codes.setdefault(name, len(codes)) for name in clusters]
    return np.array(numbers, dtype=np.int64), len(codes)


def t_two_sided(t: float, degrees: float) -> float:
    """``P(|T| >= |t|)``."""
    from scipy.special import stdtr

    return float(2 * stdtr(degrees, -abs(t)))


def finite(value: float) -> float | None:
    """``None`` for NaN and infinities."""
    return float(value) if math.isfinite(value) else None
