"""Fewer pauses for garbage collection while requests are timed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: new containers that start a collection of the youngest; a few hundred requests in flight hold thousands for long
YOUNGEST = 20_000


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect seldom, and leave out what is there already: modules, the plan and the configuration stay anyway.

    Reference counts free nearly all that a request leaves; what is in cycles waits a little longer, and memory stays
    bounded. Everything is as it was when the block ends.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(YOUNGEST, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
