"""What scorers that run a model's code share: the permission, the limits, and how code is found in a reply."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.domain import Choice, ConfigError, Label, Sample, Score
from bench.sandbox.ready import ready_backend
from bench.sandbox.rooms import Ended, Limits, SandboxError, run_program
from bench.scorers import Scorer
from bench.scorers.verdicts import MAX_TEXT_CHARS, right_or_wrong, shown, unparsed, unscored

_FENCED = re.compile(
    r"^[ \t]*(?:```|~~~)[ \t]*([\w+.-]*)[^\n]*\n(.*?)(?:^[ \t]*(?:```|~~~)|\Z)", re.DOTALL | re.MULTILINE
)
_THOUGHT_END = re.compile(r"</think(?:ing)?>")
_LANGUAGES = ("python", "python3", "py")


@dataclass(frozen=True)
class CodeScorer(Scorer):
    """A scorer whose verdict is a program run in a sandbox; it runs nothing unless ``allow_code`` is set.

    Attributes:
        allow_code: the permission to run what models wrote.
        cpu_s: CPU seconds that one program may take; by the clock it has twice that and a second more.
        memory_mib: its memory.
    """

    needs_target: ClassVar[bool] = False
    is_sandboxed: ClassVar[bool] = True

    allow_code: bool = False
    cpu_s: float = 3.0
    memory_mib: int = 1024

    def __post_init__(self) -> None:
        if not 0 < self.cpu_s <= 3600:
            raise ConfigError(f"scorer.cpu_s={self.cpu_s:g}: must be more than 0 and at most 3600 seconds")
        if not 64 <= self.memory_mib <= 1 << 20:
            raise ConfigError(f"scorer.memory_mib={self.memory_mib}: must be from 64 to {1 << 20}")

    def ready(self) -> None:
        """Whether code may be run, and a sandbox stands here."""
        if not self.allow_code:
            raise ConfigError(
                f"scorer {self.kind} runs programs that models wrote, in a sandbox without network or files; "
                f"allow it with scorer.allow_code=true, or choose scorer=none and score later with `bench score`"
            )
        ready_backend()

    def program(self, sample: Sample, choice: Choice) -> str:
        """The program whose last line is reached exactly if the reply is right.

        Raises:
            NoCodeError: the reply holds no code.
            RowError: the row lacks what the check needs.
        """
        raise TypeError(f"{type(self).__name__} is no code scorer: it lacks program()")

    def score(self, sample: Sample, choice: Choice) -> Score:
        """``correct`` where the program passes its checks, ``unparsed`` without code, else ``wrong`` and why."""
        if not self.allow_code:
            return unscored("code is not run: scorer.allow_code is not set")
        try:
            program = self.program(sample, choice)
        except NoCodeError as error:
            return unparsed(str(error))
        except RowError as error:
            return unscored(str(error))
        try:
            found = run_program(program, Limits(self.cpu_s, self.memory_mib << 20), ready_backend())
        except (SandboxError, ConfigError) as error:
            return Score(None, Label.UNSCORED, None, shown(f"no sandbox: {error}"))
        why = found.why if found.ended in (Ended.PASSED, Ended.FAILED) else f"{found.ended}: {found.why}"
        return right_or_wrong(found.ended is Ended.PASSED, found.ended, why)


class NoCodeError(ValueError):
    """A reply holds no code."""


class RowError(ValueError):
    """A dataset row lacks a field that the check is made of."""


def text_field(sample: Sample, name: str) -> str:
    """A field of a row that must be a text.

    Raises:
        RowError: it is absent or of another type.
    """
    value: Any = sample.fields.get(name)
    if not isinstance(value, str):
        raise RowError(f"the row has no text in its field `{name}`")
    return value


def raw_text(choice: Choice) -> str:
    """The answer text with its indentation, which is code: without a leaked ``<think>`` block.

    Raises:
        NoCodeError: it is empty.
    """
    text = choice.text[-MAX_TEXT_CHARS:].replace("\r\n", "\n")
    ends = list(_THOUGHT_END.finditer(text))
    text = text[ends[-1].end() :] if ends else text
    if not text.strip():
        raise NoCodeError("the reply is empty")
    return text


def blocks(text: str) -> list[str]:
    """The fenced blocks of a reply in order, only those said to be Python if any is; the last one may stay open."""
    found = [(match.group(1).lower(), match.group(2)) for match in _FENCED.finditer(text)]
    python = [code for language, code in found if language in _LANGUAGES]
    return python or [code for _, code in found]
