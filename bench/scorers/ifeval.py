"""IFEval: which of a prompt's instructions a reply follows, strictly and loosely."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.domain import Choice, Label, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer
from bench.scorers.ifeval_checks import CHECKS
from bench.scorers.verdicts import unscored, unstripped_text


@plugin("scorer", "ifeval")
@dataclass(frozen=True)
class IfEval(Scorer):
    """The instructions of google-research/google-research, ``instruction_following_eval`` (Zhou et al. 2023).

    The value is the share of the row's instructions that the reply follows; ``correct`` when it follows all. Strict
    takes the reply as it is. Loose also takes it without its first line, its last line or both, each with and without
    asterisks, and an instruction is followed if any of the eight forms follows it. The detail holds both as JSON, a
    digit for each instruction (``{"strict":"101","loose":"111"}``), and :func:`rates` makes the four published figures
    of the details of a run. Unlike the original it is deterministic: the language detection is seeded, and an
    instruction that lacks a parameter leaves the row unscored where the original draws one.

    A row brings ``instruction_id_list`` and ``kwargs``, in its fields or as an object that is its target.

    Attributes:
        loose: whether value and label are the loose ones.
        time_limit_s: for one verdict; keywords are expressions, and cutting a long hostile reply into words takes long.
    """

    kind: str = "ifeval"
    version: str = "1"
    loose: bool = False
    time_limit_s: float | None = 30.0

    needs_target: ClassVar[bool] = False

    def warm(self) -> None:
        """Load the sentence splitter and the language profiles."""
        CHECKS["length_constraints:number_sentences"]("One.", {"relation": "at least", "num_sentences": 1})
        CHECKS["language:response_language"]("One two three.", {"language": "en"})

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct``, ``partial`` or ``wrong``; ``unparsed`` with nothing followed for an empty reply."""
        row = sample.target if isinstance(sample.target, Mapping) else sample.fields
        try:
            instructions = _instructions(row)
            text = unstripped_text(choice)
            strict = [followed(one, options, [text]) for one, options in instructions]
            forms = loose_forms(text)
            loose = [
                kept or followed(one, options, forms) for kept, (one, options) in zip(strict, instructions, strict=True)
            ]
        except (KeyError, TypeError, ValueError) as error:
            return unscored(f"the row's instructions cannot be read: {error}")
        counted = loose if self.loose else strict
        value = sum(counted) / len(counted)
        label = Label.CORRECT if all(counted) else Label.PARTIAL if any(counted) else Label.WRONG
        if not text.strip():
            label = Label.UNPARSED
        detail = json.dumps({"strict": _digits(strict), "loose": _digits(loose)}, separators=(",", ":"))
        return Score(value, label, f"{sum(counted)} of {len(counted)}", detail)

    def together(self, details: Sequence[str]) -> str:
        """The four published figures."""
        found = rates(details)
        return ", ".join(f"{name.replace('_', ' level ')} {share:.2%}" for name, share in found.items())


def followed(instruction: str, options: Mapping[str, Any], forms: Sequence[str]) -> bool:
    """Whether any of some forms of a reply, blank ones aside, follows an instruction.

    Raises:
        KeyError: there is no such instruction, or it lacks a parameter.
    """
    check = CHECKS[instruction]
    return any(check(form, options) for form in forms if form.strip())


def loose_forms(text: str) -> list[str]:
    """The eight forms in which a reply is read loosely, the reply itself first."""
    lines = text.split("\n")
    cut = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    forms = [text, text.replace("*", ""), *cut, *(part.replace("*", "") for part in cut)]
    return list(dict.fromkeys(forms))


def rates(details: Sequence[str]) -> dict[str, float]:
    """The published figures of the details of verdicts: prompt and instruction level, strict and loose, in 0..1.

    Raises:
        ValueError: there are no details, or one is not of this scorer.
    """
    if not details:
        raise ValueError("rates need at least one verdict")
    flags = [json.loads(detail) for detail in details]
    found: dict[str, float] = {}
    for how in ("strict", "loose"):
        prompts = [str(flag[how]) for flag in flags]
        found[f"prompt_{how}"] = sum("0" not in prompt for prompt in prompts) / len(prompts)
        found[f"instruction_{how}"] = sum(prompt.count("1") for prompt in prompts) / sum(map(len, prompts))
    return found


def _instructions(row: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    names, options = list(row["instruction_id_list"]), list(row["kwargs"])
    if not names or len(names) != len(options):
        raise ValueError("`instruction_id_list` and `kwargs` must be of one length, and not empty")
    strange = [name for name in names if name not in CHECKS]
    if strange:
        raise ValueError(f"there is no instruction {strange[0]!r}")
    # some copies of the data set write every parameter and null those that an instruction does not have
    return [
        (name, {key: value for key, value in (given or {}).items() if value is not None})
        for name, given in zip(names, options, strict=True)
    ]


def _digits(flags: Sequence[bool]) -> str:
    return "".join("1" if flag else "0" for flag in flags)
