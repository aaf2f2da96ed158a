"""A judge is another run: a finished run's replies become a dataset, asked like any other and recorded likewise."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.catalogue import load_models, load_presets, load_provider
from bench.compose import AUTO, user_folders
from bench.config import Budget, Experiment, Limits, Model, Sampling
from bench.datasets import Dataset
from bench.domain import ConfigError, Label
from bench.judge.judged import answered, asked_of, identity_of, judging_scorers, rubric_hash, said_in, spent_on
from bench.measure.plan import Plan, make_plan
from bench.measure.servers import Servers
from bench.measure.stop import Stop
from bench.providers import Provider
from bench.record import Record, amend_header, read_header
from bench.registry import build, typed, unknown
from bench.scorers.judging import Judging
from bench.sweep import Parser

#: who judges where nobody is named
DEFAULT_MODEL = "deepseek-v3"
_SAMPLING = {"temperature": 0.0, "max_tokens": 2048}


@dataclass(frozen=True)
class Means:
    """How a run is sent and recorded.

    Attributes:
        send: measures and finishes the record; ``None`` where a worker process died.
        new_record: a new folder for a plan, started with a command.
        check_same: refuses a plan that is not the one that a folder was started with.
    """

    send: Callable[[Plan, Servers, Callable[[], Record]], tuple[Path, Stop] | None]
    new_record: Callable[[Plan, Sequence[str]], Record]
    check_same: Callable[[Plan, dict[str, Any], Path], None]


def ask_judges(
    path: Path, configs: Mapping[str, Mapping[str, Any]], command: Sequence[str], means: Means
) -> str | None:
    """Ask every judge among the scorers of a finished run about the replies that it has not judged yet.

    ``run.json`` of the judged run names the judge's run before its first request, so that one that was interrupted is
    gone on with, whoever asks next. Gives why a judge's run stopped early, or ``None``.

    Args:
        path: the judged run.
        configs: plain configs (``scorer`` and ``also``) by cell id.
        command: what the judge's run says it was started with.

    Raises:
        ConfigError: a judge's model, provider or rubric does not exist or does not fit, or no budget is left.
    """
    askings = []
    for scorer in judging_scorers(list(configs.values())):
        cells = [cell_id for cell_id, config in configs.items() if scorer in judging_scorers([config])]
        scorer.ready()
        asking = _Asking(path, scorer, [] if len(cells) == len(configs) else cells, command, means)
        next(asking.left(), None)  # one judge that cannot be asked stops all before anything is sent
        askings.append(asking)
    return next((why for asking in askings if (why := asking.ask()) is not None), None)


class _Asking:
    """One judge of one run, asked as far as it is not answered."""

    def __init__(self, path: Path, scorer: Judging, cells: list[str], command: Sequence[str], means: Means) -> None:
        header = read_header(path)
        self._path, self._scorer, self._cells = path, scorer, cells
        self._command, self._means, self._header = command, means, header
        self._identity = identity_of(scorer, [cell["config"] for cell in header["cells"]])
        self._runs = [run for one in asked_of(path, header) if one.identity == self._identity for run in one.runs]
        self._judge = judge_of(scorer, header)

    def ask(self) -> str | None:
        """Go on with what was interrupted, then ask about the rest."""
        for run in self._runs:
            if read_header(run).get("state") != "finished" and (why := self._go_on(run)) is not None:
                return why
        if self._runs:
            self._tell()
        if next(self.left(), None) is None:
            return None
        return self._start(
            replace(
                self._judge,
                dataset=replace(self._dataset(), name=f"judged-{self._path.name}"),
                budget=_budget(self._scorer, self._path, self._header, self._runs),
                results_dir=str(self._path.absolute().parent.parent),
            )
        )

    def left(self) -> Iterator[Any]:
        """The rows that are not answered yet.

        Raises:
            ConfigError: there is nothing that this judge could be asked about.
        """
        yield from self._dataset().rows()

    def _dataset(self) -> Dataset:
        skip = sorted(set[str]().union(*(answered(run) for run in self._runs)))
        made: Dataset = build("dataset", self._scorer.dataset(str(self._path.absolute()), self._cells, skip))
        return made

    def _go_on(self, run: Path) -> str | None:
        header = read_header(run)
        experiments = [Parser().parse(cell["config"]) for cell in header["cells"]]
        with Servers(experiments) as servers:
            plan = make_plan(experiments)
            self._means.check_same(plan, header, run)
            return self._sent(plan, servers, lambda: Record.reopen(run))

    def _start(self, experiment: Experiment) -> str | None:
        with Servers([experiment]) as servers:
            plan = make_plan([experiment])

            def opened() -> Record:
                record = self._means.new_record(plan, self._command)
                record.update(judge_of=os.path.relpath(self._path, record.path))
                self._runs.append(record.path)
                self._tell()
                return record

            return self._sent(plan, servers, opened)

    def _sent(self, plan: Plan, servers: Servers, opened: Callable[[], Record]) -> str | None:
        sent = self._means.send(plan, servers, opened)
        self._tell()
        return "a worker process ended early" if sent is None else sent[1].reason

    def _tell(self) -> None:
        """Keep in ``run.json`` of the judged run who judges it, where, and what that took so far."""
        others = [one for one in read_header(self._path).get("judges") or () if one["identity"] != self._identity]
        verdicts = said_in(self._runs, self._scorer).values()
        entry = {
            "scorer": self._scorer.title,
            "identity": self._identity,
            "runs": [os.path.relpath(run, self._path) for run in self._runs],
            "model": self._judge.model.name,
            "provider": self._judge.provider.name or self._judge.provider.kind,
            "rubric_sha256": rubric_hash(self._scorer),
            **spent_on(self._runs),
            "unread": sum(score.label is Label.UNPARSED for score in verdicts),
        }
        amend_header(self._path, judges=[*others, entry])


def judge_of(scorer: Judging, header: Mapping[str, Any]) -> Experiment:
    """The experiment of a judge, but for its dataset and budget.

    Args:
        header: what is known of the judged run: ``cells`` with plain configs, ``name`` and ``seed``.

    Raises:
        ConfigError: no such model or provider, or a setting that it does not take.
    """
    call, first = scorer.judge, header["cells"][0]["config"]
    folders = user_folders()
    model = _model(call.model, folders)
    inherited = {} if call.provider is not None else dict(first["limits"])
    provider = _provider(call.provider, model, first, folders)
    if provider.enforces_page_rules and isinstance(call.model, str):
        known = load_models(*folders)
        if model.name not in known:
            raise ConfigError(f"scorer.judge.model: {unknown('model', call.model, list(load_presets(*folders)))}")
    return Experiment(
        model=model,
        provider=provider,
        dataset=build("dataset", scorer.dataset("", [], [])),
        sampling=typed(Sampling, {**_SAMPLING, **call.sampling}, "scorer.judge.sampling"),
        load=build("load", {"kind": "closed", "concurrency": call.concurrency}),
        scorer=build("scorer", {"kind": "none"}),
        limits=typed(Limits, {**inherited, **call.limits}, "scorer.judge.limits"),
        cache=first.get("cache"),
        name=f"judge-{header['name']}",
        seed=int(header["seed"]),
    )


def _model(asked: Any, folders: Sequence[Path]) -> Model:
    """A model preset by its name or the model's, any other model by its name alone, or one given key by key."""
    if isinstance(asked, Mapping):
        return typed(Model, asked, "scorer.judge.model")
    name = str(asked or DEFAULT_MODEL)
    presets = load_presets(*folders)
    return presets.get(name) or load_models(*folders).get(name) or Model(name=name)


def _provider(asked: Any, model: Model, config: Mapping[str, Any], folders: Sequence[Path]) -> Provider:
    if asked is None:
        made: Provider = build("provider", config["provider"])
        return made
    if isinstance(asked, Mapping):
        given: Provider = build("provider", asked)
        return given
    return load_provider(model.provider if asked == AUTO else str(asked), *folders)


def _budget(scorer: Judging, path: Path, header: Mapping[str, Any], runs: Sequence[Path]) -> Budget:
    """The judge's own budget, else what the judged run and its judge have left of the run's.

    Raises:
        ConfigError: nothing is left.
    """
    if scorer.judge.budget:
        return typed(Budget, scorer.judge.budget, "scorer.judge.budget")
    whole = typed(Budget, header["cells"][0]["config"].get("budget") or {}, "budget")
    spent = spent_on([path, *runs])
    tokens = spent["prompt_tokens"] + spent["completion_tokens"]
    taken_by = {
        "requests": spent["attempts"],
        "tokens": tokens,
        "cost": spent["cost"] or 0.0,
        "seconds": spent["seconds"],
    }
    left: dict[str, Any] = {}
    for key, taken in taken_by.items():
        cap = getattr(whole, key)
        left[key] = None if cap is None else cap - taken
        if left[key] is not None and left[key] <= 0:
            raise ConfigError(
                f"budget.{key}={cap:g}: the run has used it up, so nothing is left for the judge {scorer.title}; "
                f"give the judge its own, for example scorer.judge.budget.{key}=..."
            )
    return Budget(**left)
