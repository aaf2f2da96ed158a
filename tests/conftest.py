"""What holds for every test: no bound on wall-clock time, and the same examples for everybody under ``CI=true``."""

from __future__ import annotations

import os
import sys

from hypothesis import settings

from bench.record.background import WithoutPandas

# A busy machine is no bug, so examples have no deadline. A failure that an automatic run shows must be one that
# people can repeat; runs by hand go on looking for new ones.
settings.register_profile("by_hand", deadline=None)
settings.register_profile("automatic", deadline=None, derandomize=True)
settings.load_profile("automatic" if os.environ.get("CI") else "by_hand")

# tables are laid out for the terminal: the tests see one of the same width, wherever they run
os.environ["COLUMNS"] = "120"


def pytest_runtest_teardown() -> None:
    """A run without a report hides pandas from its process for good; the tests that follow in this one need it."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, WithoutPandas)]
