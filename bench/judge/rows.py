"""Run folder to tidy pandas frames: raw facts in, derived columns out, null where undefined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import record
from bench.domain import Sample
from bench.judge.clusters import find_clusters
from bench.judge.metrics import REQUEST_METRICS, CellRows
from bench.judge.metrics.requests import NS_PER_MS
from bench.judge.pairwise import PairwiseRanking, rankings_of
from bench.slo import Slo, parse_slo

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray


IDENTITY = ("request_id", "cell_id", "sample_id", "repeat", "provider", "model", "stream", "n", "cached", "warmup")
CLIENT_MARKS = ("due_ns", "permit_ns", "sent_ns", "end_ns")
REPLY_MARKS = ("first_reasoning_ns", "first_answer_ns", "last_token_ns")
OUTCOME = ("outcome", "error_kind", "error_detail", "attempts")
WIRE = ("connect_ns", "events")
AMOUNTS = ("prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens", "cost")
REQUEST_COLUMNS = (*IDENTITY, *CLIENT_MARKS, *REPLY_MARKS, *WIRE, *OUTCOME, *AMOUNTS, "currency")
NUMBERS = (*CLIENT_MARKS, *REPLY_MARKS, *WIRE, *AMOUNTS, "n", "attempts")
STRICT_ZERO = ("unparsed", "refused", "truncated")


@dataclass(frozen=True)
class CellInfo:
    """What ``run.json`` says of one cell: identity, names of its swept parameters, plain config."""

    cell_id: str
    index: int
    label: str
    swept: tuple[str, ...]
    config: Mapping[str, Any]
    dataset_key: str = ""

    def param(self, key: str) -> Any:
        """The value of a parameter by its dotted name; ``None`` where it is not set."""
        value: Any = self.config
        for name in key.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    @property
    def is_open(self) -> bool:
        """Whether requests were due by the clock, so that latency from the due time is the headline."""
        return str((self.config.get("load") or {}).get("kind", "closed")) != "closed"

    @property
    def slo(self) -> Slo | None:
        """What the cell's requests are held against.

        Raises:
            ConfigError: the expression cannot be read.
        """
        text = self.config.get("slo")
        return None if text is None else parse_slo(str(text))

    @property
    def scorer(self) -> str | None:
        """Name of the scorer that the cell is configured with, which is its kind where it has none."""
        scorer = self.config.get("scorer") or {}
        return scorer.get("name") or scorer.get("kind")


@dataclass(frozen=True)
class RunRows:
    """One recorded run, read on demand.

    Attributes:
        path: the run folder.
        header: ``run.json`` as it is.
        cells: in sweep order.
    """

    path: Path
    header: Mapping[str, Any]
    cells: tuple[CellInfo, ...]

    @cached_property
    def every_request(self) -> pd.DataFrame:
        """All rows, warm-up included, with the derived columns."""
        return derive(_frame(record.read_table(self.path, "requests", columns=list(REQUEST_COLUMNS))))

    @cached_property
    def requests(self) -> pd.DataFrame:
        """The rows that figures stand on: warm-up left out."""
        rows = self.every_request
        return rows[~rows["warmup"].astype(bool)].reset_index(drop=True)

    @cached_property
    def replies(self) -> pd.DataFrame:
        """One row per choice of served requests: ``request_id choice finish_reason cell_id sample_id repeat``."""
        table = self._optional("choices", ["request_id", "choice", "finish_reason"])
        return self._of_served(_frame(table), ["cell_id", "sample_id", "repeat"])

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row per choice of served requests and scorer, unscored ones left out.

        Unparsed, refused and truncated replies without a value count 0; but a judge's verdict that cannot be read says
        nothing of the reply, and is left out.
        """
        columns = ["request_id", "choice", "scorer", "value", "label", "scorer_version"]
        rows = self._of_served(_frame(self._optional("scores", columns)), ["cell_id", "sample_id", "repeat"])
        value = rows["value"].astype("float64")
        judges = [str(one["scorer"]) for one in self.header.get("judges") or ()]
        zero = rows["label"].isin(STRICT_ZERO) & ~(rows["scorer"].isin(judges) & (rows["label"] == "unparsed"))
        rows["value"] = value.mask(value.isna() & zero, 0.0)
        return rows[rows["value"].notna() & (rows["label"] != "unscored")].reset_index(drop=True)

    @cached_property
    def rankings(self) -> list[PairwiseRanking]:
        """By each judge of pairs among the scorers."""
        return rankings_of(self.path, self.header)

    @cached_property
    def gaps_ms(self) -> Mapping[str, NDArray[np.float32]]:
        """Every pause between consecutive events of one choice, pooled per ``cell_id``; served requests only."""
        import numpy as np
        import pandas as pd

        cell_of = self.requests.loc[self.requests["outcome"] == "ok"].set_index("request_id")["cell_id"]
        pooled: dict[str, list[NDArray[Any]]] = {}
        for batch in self._batches("choices", ["request_id", "event_ns"]):
            gaps, lengths = pauses(batch.column("event_ns"))
            cell_ids = cell_of.reindex(batch.column("request_id").to_pandas()).to_numpy(dtype=object)
            owner = pd.Series(np.repeat(cell_ids, lengths), dtype=object)
            for cell_id, part in pd.Series(gaps).groupby(owner, sort=False):
                # seven digits of a pause are plenty, and half the memory: a long run has hundreds of millions
                pooled.setdefault(str(cell_id), []).append(part.to_numpy(dtype=np.float32))
        return {cell_id: np.concatenate(parts) for cell_id, parts in pooled.items()}

    @cached_property
    def identities(self) -> pd.DataFrame:
        """What the server said of itself, a row per request: ``cell_id response_model system_fingerprint``."""
        columns = ["cell_id", "outcome", "response_model", "system_fingerprint"]
        rows: pd.DataFrame = record.read_table(self.path, "requests", columns=columns).to_pandas()
        return rows[rows["outcome"] == "ok"].drop(columns="outcome")

    @cached_property
    def samples(self) -> Mapping[str, Mapping[str, Sample]]:
        """Dataset key -> sample id -> sample; nothing of samples that a dataset makes itself, which are not kept."""
        kept = (self.path / "samples.parquet").exists()
        return record.read_samples(self.path) if kept else {}

    def clusters_of(self, cell: CellInfo) -> Mapping[str, str]:
        """The cluster of each question of a cell, by sample id; empty where every question stands alone."""
        if cell.dataset_key not in self._clusters:
            self._clusters[cell.dataset_key] = find_clusters(list(self.samples.get(cell.dataset_key, {}).values()))
        return self._clusters[cell.dataset_key]

    @cached_property
    def _clusters(self) -> dict[str, dict[str, str]]:
        return {}

    def scorers_of(self, cell: CellInfo) -> list[str]:
        """Scorers that judged a cell, its configured one first."""
        found = self.scores.loc[self.scores["cell_id"] == cell.cell_id, "scorer"].unique()
        return sorted((str(name) for name in found), key=lambda name: (name != cell.scorer, name))

    def scores_of(self, cell: CellInfo) -> pd.DataFrame:
        """Scores of one cell by its own scorer: never two scorers' verdicts in one mean, nor another's for its own."""
        mine = self.scores["cell_id"] == cell.cell_id
        own: pd.DataFrame = self.scores[mine & (self.scores["scorer"] == cell.scorer)]
        return own

    def rows_of(self, cell: CellInfo) -> CellRows:
        """Everything that the figures of one cell need."""
        import numpy as np

        scores = self.scores_of(cell)
        return CellRows(
            requests=self.requests[self.requests["cell_id"] == cell.cell_id],
            scores=scores,
            gaps_ms=self.gaps_ms.get(cell.cell_id, np.empty(0, np.float32)),
            replies=self.replies[self.replies["cell_id"] == cell.cell_id],
            slo=cell.slo,
            clusters=self.clusters_of(cell) if len(scores) else {},
        )

    def _optional(self, table: str, columns: Sequence[str]) -> pa.Table:
        import pyarrow as pa

        if not (self.path / f"{table}.parquet").exists():
            return pa.table({name: pa.array([], pa.null()) for name in columns})
        return record.read_table(self.path, table, columns=list(columns))

    def _batches(self, table: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        if (self.path / f"{table}.parquet").exists():
            yield from record.iter_batches(self.path, table, columns=list(columns))

    def _of_served(self, rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
        served = self.requests.loc[self.requests["outcome"] == "ok", ["request_id", *columns]]
        return rows.astype({"request_id": served["request_id"].dtype}).merge(served, on="request_id", how="inner")


def read_run(path: Path) -> RunRows:
    """Open a run folder; tables are read when they are first used (and raise ``ConfigError`` when absent or damaged).

    Raises:
        ConfigError: the folder holds no recorded run.
    """
    header = record.read_header(path)
    cells = [
        CellInfo(
            cell_id=str(cell["cell_id"]),
            index=int(cell["index"]),
            label=str(cell["label"]),
            swept=tuple(cell.get("swept") or ()),
            config=dict(cell.get("config") or {}),
            dataset_key=str(cell.get("dataset_key") or ""),
        )
        for cell in header.get("cells", [])
    ]
    return RunRows(path, header, tuple(sorted(cells, key=lambda cell: cell.index)))


def with_slo(run: RunRows, text: str) -> RunRows:
    """The same rows held against another SLO.

    Raises:
        ConfigError: the expression cannot be read.
    """
    parse_slo(text)
    return replace(run, cells=tuple(replace(cell, config={**cell.config, "slo": text}) for cell in run.cells))


def derive(requests: pd.DataFrame) -> pd.DataFrame:
    """The rows with every column of ``REQUEST_METRICS``; null for replies from the cache, which measured nothing."""
    columns = {metric.name: metric.of(requests).astype("float64") for metric in REQUEST_METRICS}
    cached = requests["cached"].astype(bool)
    if cached.any():
        columns = {name: values.mask(cached) for name, values in columns.items()}
    return requests.assign(**columns)


def pauses(event_ns: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Pauses in ms between neighbours inside each list of event times, and how many pauses each list has."""
    import numpy as np
    import pyarrow.compute as pc

    lengths = pc.list_value_length(event_ns).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    flat = pc.list_flatten(event_ns).to_numpy(zero_copy_only=False).astype(np.int64)
    steps = np.diff(flat) / NS_PER_MS
    crossing = np.cumsum(lengths[lengths > 0])[:-1] - 1
    return np.delete(steps, crossing), np.maximum(lengths - 1, 0)


def _frame(table: pa.Table) -> pd.DataFrame:
    """A frame in which numbers are float64 with NaN for null: exact below 2**53 ns, 104 days after the run's origin."""
    import pyarrow as pa

    schema = pa.schema([field.with_type(pa.float64()) if field.name in NUMBERS else field for field in table.schema])
    frame: pd.DataFrame = table.cast(schema, safe=False).to_pandas()
    return frame
