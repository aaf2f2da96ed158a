"""Verdicts asked in processes that can be killed: a scorer that hangs on a reply loses that reply, never the run."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import pickle
import signal
import socket
import subprocess
import sys
import traceback
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Lock
from typing import Any

from bench.domain import Choice, Label, Sample, Score
from bench.scorers import Scorer

WARM_S = 120.0
_MEMORY_BYTES = 4 << 30
_PR_SET_PDEATHSIG = 1
#: hangs without a verdict in between, and in all, from which on a reply has only a tenth of the time
_SHORT_AFTER, _SHORT_AFTER_ALL = 2, 10
#: hangs without a verdict in between after which nothing more is tried
_STOP_AFTER = 12
_CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[2]); from bench.judge.arena import serve; serve()"


class ScorerBrokeError(RuntimeError):
    """A scorer raised, which is a bug of the scorer; the text is its traceback."""


class Arena:
    """Some processes that ask one scorer; safe to use from as many threads.

    A reply whose verdict takes longer than the scorer's ``time_limit_s`` is unscored, and its process is killed. A
    scorer that hangs on everything costs its limit about once: after two hangs in a row a reply has a tenth of the
    limit, after twelve nothing more is tried, and any verdict in between restores the limit (to a tenth of it after ten
    hangs in all).
    """

    def __init__(self, scorer: Scorer, processes: int) -> None:
        assert scorer.time_limit_s is not None
        self._limit_s = scorer.time_limit_s
        self._idle: SimpleQueue[_Contestant] = SimpleQueue()
        self._all = [_Contestant(scorer) for _ in range(processes)]
        for one in self._all:
            self._idle.put(one)
        self._lock = Lock()
        self._hangs, self._hangs_running, self._closed = 0, 0, False

    def ask(self, sample: Sample, choice: Choice) -> Score:
        """The verdict on one choice, ``unscored`` where there is none in time.

        Raises:
            ScorerBrokeError: the scorer raised.
        """
        with self._lock:
            if self._closed:
                return _none("not tried: the scoring was stopped")
            if self._hangs_running >= _STOP_AFTER:
                return _none(f"not tried: the scorer hung on {self._hangs_running} replies running")
            short = self._hangs_running >= _SHORT_AFTER or self._hangs >= _SHORT_AFTER_ALL
        limit_s = self._limit_s / 10 if short else self._limit_s
        one = self._idle.get()
        try:
            score = one.ask(sample, choice, limit_s)
        finally:
            self._idle.put(one)
        with self._lock:
            self._hangs += score is None
            self._hangs_running = self._hangs_running + 1 if score is None else 0
        return _none(f"the scorer took more than {limit_s:g} s") if score is None else score

    def close(self) -> None:
        """Kill the processes; nothing is asked any more."""
        self._closed = True
        for one in self._all:
            one.kill()


class _Contestant:
    """One process, started when it is first asked, and again after it had to be killed."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Connection | None = None

    def ask(self, sample: Sample, choice: Choice, limit_s: float) -> Score | None:
        """The verdict, ``None`` if there is none in time or the process died over it."""
        line = self._line or self._started()
        try:
            line.send_bytes(pickle.dumps((sample, choice)))
            if not line.poll(limit_s):
                self.kill()
                return None
            answer = pickle.loads(line.recv_bytes())
        except (EOFError, OSError):
            self.kill()
            return None
        if isinstance(answer, str):
            raise ScorerBrokeError(answer)
        assert isinstance(answer, Score)
        return answer

    def kill(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._line is not None:
            self._line.close()
        self._process = self._line = None

    def _started(self) -> Connection:
        ours, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, str(number), json.dumps(sys.path)],
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._line = line = Connection(ours.detach())
        module = sys.modules[type(self._scorer).__module__]
        line.send((module.__name__, getattr(module, "__file__", None)))
        line.send_bytes(pickle.dumps(self._scorer))
        try:
            complaint = line.recv() if line.poll(WARM_S) else f"it was not ready within {WARM_S:g} s"
        except EOFError:
            complaint = "its process ended as it started; its error is above"
        if complaint:
            self.kill()
            raise ScorerBrokeError(f"scorer {self._scorer.title}: {complaint}")
        return line


def serve() -> None:
    """The life of a process of the arena: the scorer first, then reply after reply until the other end closes."""
    _end_with_the_run()
    line = Connection(int(sys.argv[1]))
    try:
        _import_module(*line.recv())
        scorer: Scorer = pickle.loads(line.recv_bytes())
        scorer.warm()
    except Exception:  # noqa: BLE001 - whatever a plug-in raises is shown on the other side
        line.send(traceback.format_exc())
        return
    line.send("")
    with contextlib.suppress(EOFError, OSError):
        while True:
            sample, choice = pickle.loads(line.recv_bytes())
            line.send_bytes(pickle.dumps(_verdict(scorer, sample, choice)))


def _end_with_the_run() -> None:
    """Ctrl-C is the parent's matter; a parent that is gone takes this process along; memory has an end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ImportError, ValueError, OSError, AttributeError):
        import ctypes
        import resource

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


def _verdict(scorer: Scorer, sample: Sample, choice: Choice) -> Any:
    try:
        return scorer.score(sample, choice)
    except (MemoryError, RecursionError) as error:
        return _none(f"the scorer ran out of memory: {type(error).__name__}")
    except Exception:  # noqa: BLE001 - whatever a plug-in raises is shown on the other side
        return traceback.format_exc()


def _import_module(name: str, file: str | None) -> None:
    """The module of a scorer's class, from its file where it lies on no path (plug-ins of a user's own)."""
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
        return
    spec = importlib.util.spec_from_file_location(name, file) if file else None
    if spec is None or spec.loader is None:
        raise ImportError(f"{name} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _none(why: str) -> Score:
    return Score(None, Label.UNSCORED, None, why)
