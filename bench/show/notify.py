"""The hook that a verdict is handed to: a command of the user's, with JSON on its standard input."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence

from bench.domain import ConfigError
from bench.show.terminal import printable


def read_command(given: object, where: str) -> tuple[str, ...]:
    """A command as words: a text is split as a shell would, but no shell runs it; a list is taken as it is.

    Raises:
        ConfigError: neither a text nor a list of texts, empty, or quotes that do not close.
    """
    words: Sequence[object]
    if isinstance(given, str):
        try:
            words = shlex.split(given)
        except ValueError as error:
            raise ConfigError(f"{where}: cannot be split into words ({error})") from error
    else:
        words = given if isinstance(given, list) else ()
    if not words or not all(isinstance(word, str) for word in words):
        raise ConfigError(f'{where}: must be a command, or a list of its words, such as ["sh", "-c", "..."]')
    return tuple(str(word) for word in words)


def notify(command: Sequence[str], text: str, timeout_s: float) -> str | None:
    """Run the command with ``text`` on its standard input; its output goes where ours does.

    Gives one sentence when it could not be started, failed or took longer than ``timeout_s`` (then it is killed): the
    verdict stands whatever becomes of the hook.
    """
    try:
        done = subprocess.run(
            list(command),
            input=text,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"the notify command {printable(command[0])} was stopped after {timeout_s:g} s"
    except (OSError, ValueError) as error:
        return f"the notify command {printable(command[0])} did not start ({printable(error)})"
    return f"the notify command {printable(command[0])} ended with code {done.returncode}" if done.returncode else None
