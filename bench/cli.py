"""``bench VERB ...``: one line per verb, exit codes, and nothing heavy imported before it is needed."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module

from bench import __version__
from bench.domain import ConfigError

VERBS = {
    "run": ("bench.launch:main", "plan, send, record, score, print the summary, write the report"),
    "resume": ("bench.pipeline:resume", "finish an interrupted run: only what has no outcome yet is sent"),
    "score": ("bench.rescore:main", "score the recorded replies of a run again, by any scorer, sending nothing"),
    "report": ("bench.show.report:main", "write report.md, plots and summary tables of a run again"),
    "compare": ("bench.show.compare:main", "two runs, or the cells of one, on the same prompts: quality, times, flips"),
    "gate": ("bench.show.gate:main", "is a candidate worse than its baseline? REGRESSION, PASS or INCONCLUSIVE"),
    "history": (
        "bench.show.history:main",
        "every finished run as one table; series of each metric, their changes, and the nightly monitor",
    ),
    "calibrate": ("bench.calibrate:main", "what this machine can measure: streams, rates, and how true its clocks are"),
    "serve": ("bench.sim.serve:main", "the built-in simulator of the SiliconFlow API on a port"),
    "models": ("bench.show.models:main", "the configured models; --check compares them with a server's list"),
    "datasets": (
        "bench.show.datasets:main",
        "the configured datasets; sample rows of one; pull NAME fetches a published one",
    ),
}

EXAMPLES = (
    ("bench run", "the demo: 2 models x 2 temperatures on the simulator, no key needed"),
    ("bench run model=qwen3-8b,qwen3-32b -m", "compare two models"),
    ("bench run --help", "every group, its presets, and more examples"),
    ("bench report latest", "look at the last run again"),
)

OK, BUG, REFUSED, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and give its exit code: 0 done, 1 a bug, 2 refused before anything was sent, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        return guarded(lambda: _show(usage()))
    if arguments[0] == "--version":
        return guarded(lambda: _show(f"bench {__version__}"))
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        print(f"error: {_unknown_verb(verb)}", file=sys.stderr)
        return REFUSED
    return guarded(lambda: _function(verb)(rest))


def usage() -> str:
    """What ``bench --help`` prints."""
    verbs = [f"  {verb:<11}{what}" for verb, (_, what) in VERBS.items()]
    width = max(len(line) for line, _ in EXAMPLES) + 2
    examples = [f"  {line:<{width}}{what}" for line, what in EXAMPLES]
    return "\n".join(
        [
            f"bench {__version__}: batch evaluation and benchmarking of LLM chat-completion APIs",
            "",
            "usage: bench VERB ...   (bench VERB --help says more)",
            "",
            *verbs,
            "",
            "for example:",
            *examples,
        ]
    )


def guarded(call: Callable[[], int]) -> int:
    """The exit code of ``call``, with errors shown as the kind of error they are."""
    try:
        code = call()
        sys.stdout.flush()
        return code
    except ConfigError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as exit_request:  # argparse leaves this way
        if isinstance(exit_request.code, str):
            print(exit_request.code, file=sys.stderr)
            return REFUSED
        return int(exit_request.code or OK)
    except BrokenPipeError:  # the reader of our output has gone: `bench models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python's last flush would fail again
        return OK
    except Exception:  # noqa: BLE001 - the outermost frame: a bug is shown whole and has an exit code of its own
        traceback.print_exc()
        return BUG


def _show(text: str) -> int:
    print(text)
    return OK


def _function(verb: str) -> Callable[[list[str]], int]:
    module, name = VERBS[verb][0].split(":")
    function: Callable[[list[str]], int] = getattr(import_module(module), name)
    return function


def _unknown_verb(verb: str) -> str:
    near = get_close_matches(verb, VERBS, n=1)
    if near:
        hint = f"did you mean `bench {near[0]}`?"
    elif "=" in verb:
        hint = f"did you mean `bench run {verb}`?"
    else:
        hint = f"there are: {', '.join(VERBS)}"
    return f"there is no verb {verb!r}; {hint}"
