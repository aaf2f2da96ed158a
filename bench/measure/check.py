"""The last look before anything is sent: every cell's requests against the parameter rules, all breaches at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from bench.config import Experiment, Sampling, Unsupported, plain
from bench.datasets import MadeSamples
from bench.domain import ConfigError, Sample
from bench.files import SHIPPED
from bench.measure.body import request_body
from bench.measure.canonical import canonical
from bench.names import same_model
from bench.rules import EVERYWHERE_RULES, RULES, check_cell, drop_unsupported, estimate_tokens
from bench.rules.rule import items
from bench.samples import SampleSet
from bench.scorers.several import further_scorers

_SAMPLING_FIELDS = frozenset(f.name for f in fields(Sampling))
#: sampling fields without a "not sent" value: those are left out of the body by name only
_ALWAYS_SET = frozenset({"n", "stream", "extra"})


@dataclass(frozen=True)
class Checked:
    """An experiment as it will be sent.

    Attributes:
        dropped: names of body fields that are left out because the model does not take them.
        notes: one sentence per dropped field and per warning.
    """

    experiment: Experiment
    dropped: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def check_experiments(experiments: Sequence[Experiment], sets: Sequence[SampleSet]) -> list[Checked]:
    """Judge one request per shape and cell; ``sets[i]`` holds the samples of ``experiments[i]``.

    Raises:
        ConfigError: one sentence per broken rule, naming model, field, value and rule; all cells at once.
    """
    shapes: dict[int, tuple[Sample, ...]] = {}
    problems: dict[str, None] = {}
    checked = []
    for experiment, sample_set in zip(experiments, sets, strict=True):
        samples = shapes.get(id(sample_set))
        if samples is None:
            samples = shapes[id(sample_set)] = representatives(sample_set.samples)
        one, errors = _check(experiment, samples)
        checked.append(one)
        problems.update(dict.fromkeys(errors))
    problems.update(dict.fromkeys((*_missing_for_scores(experiments), *_absent_reference(experiments))))
    if problems:
        raise ConfigError(*problems)
    return checked


def _missing_for_scores(experiments: Sequence[Experiment]) -> Iterator[str]:
    """What the scorers lack: better said before anything is sent than after. Equal scorers are asked once."""
    asked: set[str] = set()
    for experiment in experiments:
        for scorer in (experiment.scorer, *further_scorers(experiment.also, experiment.scorer)):
            identity = repr(plain(scorer))
            if identity not in asked:
                asked.add(identity)
                try:
                    scorer.ready()
                except ConfigError as error:
                    yield from error.problems


def _absent_reference(experiments: Sequence[Experiment]) -> Iterator[str]:
    """A pinned reference that is not asked tells nothing of the night."""
    names = list(dict.fromkeys(one.model.name for one in experiments))
    for wanted in dict.fromkeys(one.reference for one in experiments):
        if wanted is not None and not any(same_model(wanted, name) for name in names):
            yield (
                f"reference={wanted}: is none of the models of this run ({', '.join(names)}); add it to model=..., or "
                "set reference=null"
            )


def _check(experiment: Experiment, samples: Sequence[Sample]) -> tuple[Checked, list[str]]:
    rules = RULES if experiment.provider.enforces_page_rules else EVERYWHERE_RULES
    errors: dict[str, None] = {}
    price = experiment.model.price
    if experiment.budget.cost is not None and None in (price.input_per_mtok, price.output_per_mtok):
        errors[
            f"model {experiment.model.name}: budget.cost={experiment.budget.cost:g}: the preset has no price, so cost "
            f"cannot be capped; set model.price.input_per_mtok and model.price.output_per_mtok, or cap budget.tokens"
        ] = None
    notes: dict[str, None] = dict.fromkeys(_filler(experiment))
    dropped: set[str] = set()
    for sample in samples:
        body: Mapping[str, object] = request_body(experiment, sample)
        if experiment.unsupported is Unsupported.drop and experiment.provider.enforces_page_rules:
            kept, said = drop_unsupported(body, experiment.model)
            dropped |= body.keys() - kept.keys()
            notes.update(dict.fromkeys(said))
            body = kept
        found = check_cell(
            body,
            experiment.model,
            prompt_tokens=estimate_tokens(sample.messages, items(body.get("tools"))),
            rules=rules,
            place=sample.place,
        )
        errors.update(dict.fromkeys(found.errors))
        notes.update(dict.fromkeys(found.warnings))
    unset: dict[str, Any] = dict.fromkeys(dropped & _SAMPLING_FIELDS - _ALWAYS_SET)
    sent = replace(experiment, sampling=replace(experiment.sampling, **unset)) if unset else experiment
    return Checked(sent, frozenset(dropped), tuple(notes)), list(errors)


def _filler(experiment: Experiment) -> Iterator[str]:
    """What to know of scores where the replies are made up."""
    dataset, scorer = experiment.dataset, experiment.scorer
    paths = dataset.path if isinstance(dataset.path, list) else [dataset.path or getattr(dataset, "url", None)]
    is_foreign = any(isinstance(path, str) and not path.startswith(SHIPPED) for path in paths)
    if experiment.provider.knows_shipped_only and is_foreign and scorer.kind != "none":
        yield (
            f"dataset {dataset.name or dataset.kind}: the simulator knows the answers of the shipped prompt sets alone "
            "and replies to others with filler, so these scores say nothing of a model"
        )


def representatives(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """One sample per shape of request (roles, tools, format), the longest of its kind: enough to check rules on."""
    if isinstance(samples, MadeSamples):
        return samples.hardest()
    longest: dict[str, tuple[int, Sample]] = {}
    for sample in samples:
        turns = [[message.get("role"), _kinds(message.get("content"))] for message in sample.messages]
        shape = canonical([turns, sample.tools, sample.response_format])
        length = estimate_tokens(sample.messages)
        if shape not in longest or length > longest[shape][0]:
            longest[shape] = (length, sample)
    return tuple(sample for _, sample in longest.values())


def _kinds(content: object) -> object:
    """The kinds of parts of a message's content; ``None`` for plain text."""
    if not isinstance(content, list):
        return None
    return sorted({str(part.get("type")) if isinstance(part, Mapping) else "?" for part in content})
