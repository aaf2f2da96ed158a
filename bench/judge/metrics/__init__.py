"""Every figure of the reports, each declared once: name, unit, definition, function.

``REQUEST_METRICS`` become columns of the requests frame, ``CELL_METRICS`` columns of the summary. To add a figure, add
one entry to either table; ``summary.parquet`` and the definitions in the report follow.
"""

from bench.judge.metrics.cell import CellMetric, CellRows
from bench.judge.metrics.cells import CELL_METRICS
from bench.judge.metrics.requests import REQUEST_METRICS, RequestMetric

__all__ = ["CELL_METRICS", "REQUEST_METRICS", "CellMetric", "CellRows", "RequestMetric"]
