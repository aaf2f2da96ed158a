"""Verdicts asked in processes that can be killed: a scorer that hangs on a reply loses that reply, never the run."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
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
_ALIVE = -1
#: hangs without a verdict in between, and in all, from which on a reply has only a tenth of the time
_SHORT_AFTER, _SHORT_AFTER_ALL = 2, 10
#: but not less than this
_SHORTEST_S = 0.25
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
        limit_s = min(self._limit_s, max(self._limit_s / 10, _SHORTEST_S)) if short else self._limit_s
        one = self._idle.get()
        try:
            score = one.ask(sample, choice, limit_s)
        finally:
            self._idle.put(one)
        with self._lock:
            self._hangs += score is None
            self._hangs_running = self._hangs_running + 1 if score is None else 0
        return _none(f"the scorer took more than {limit_s:g} s, or its process ended") if score is None else score

    def stop(self) -> None:
        """Interrupt what is being asked, from any thread; nothing is asked any more."""
        self._closed = True
        for one in self._all:
            one.interrupt()

    def close(self) -> None:
        """End the processes, when no other thread asks any more."""
        self._closed = True
        for one in self._all:
            one.kill()


class _Contestant:
    """One process that has the scorer ready, and under it the one that is asked and may be killed.

    The first imports once and forks the second whenever that is gone, so that a hang costs no new start.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Connection | None = None
        self._asked_pid = self._number = 0

    def ask(self, sample: Sample, choice: Choice, limit_s: float) -> Score | None:
        """The verdict, ``None`` if there is none in time or the process died over it."""
        self._number += 1
        try:
            line = self._line or self._started()
            line.send_bytes(pickle.dumps((self._number, sample, choice)))
            until = time.monotonic() + limit_s
            while line.poll(max(0.0, until - time.monotonic())):
                number, answer = pickle.loads(line.recv_bytes())
                if number == self._number:
                    break
                if number == _ALIVE:  # the one that was asked is gone, and this is its successor
                    self._asked_pid = answer
                    return None
            else:
                self._kill_asked(line)
                return None
        except (EOFError, OSError):
            self.kill()
            return None
        if isinstance(answer, str):
            raise ScorerBrokeError(answer)
        assert isinstance(answer, Score)
        return answer

    def interrupt(self) -> None:
        """Make the thread that is asking come back; it then cleans up itself."""
        process, asked = self._process, self._asked_pid
        if process is not None:
            process.kill()
        if asked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(asked, signal.SIGKILL)

    def kill(self) -> None:
        """End the processes, whatever they do."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._asked_pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._asked_pid, signal.SIGKILL)
        if self._line is not None:
            self._line.close()
        self._process, self._line, self._asked_pid = None, None, 0

    def _kill_asked(self, line: Connection) -> None:
        os.kill(self._asked_pid, signal.SIGKILL)
        while line.poll(WARM_S):
            number, pid = pickle.loads(line.recv_bytes())
            if number == _ALIVE:
                self._asked_pid = pid
                return
        self.kill()

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
        said: tuple[int, Any] = (0, f"not ready within {WARM_S:g} s")
        try:
            if line.poll(WARM_S):
                said = pickle.loads(line.recv_bytes())
        except EOFError:
            said = (0, "its process ended as it started; its error is above")
        if said[0] != _ALIVE:
            self.kill()
            raise ScorerBrokeError(f"scorer {self._scorer.title}: {said[1]}")
        self._asked_pid = said[1]
        return line


def serve() -> None:
    """The life of the process that has the scorer ready: it forks the one that is asked, as often as that is killed."""
    _end_with_the_run()
    line = Connection(int(sys.argv[1]))
    try:
        _import_module(*line.recv())
        scorer: Scorer = pickle.loads(line.recv_bytes())
        scorer.warm()
    except Exception:  # noqa: BLE001 - whatever a plug-in raises is shown on the other side
        line.send_bytes(pickle.dumps((0, traceback.format_exc())))
        return
    while True:
        asked = os.fork()
        if asked == 0:
            _end_with_the_run()
            _answer(line, scorer)
            os._exit(0)
        if os.waitpid(asked, 0)[1] == 0:  # the other end has closed
            return


def _answer(line: Connection, scorer: Scorer) -> None:
    """Reply after reply, each verdict with the number of its question."""
    with contextlib.suppress(EOFError, OSError):
        line.send_bytes(pickle.dumps((_ALIVE, os.getpid())))
        while True:
            number, sample, choice = pickle.loads(line.recv_bytes())
            try:
                verdict = _verdict(scorer, sample, choice)
            except BaseException:  # noqa: BLE001 - a plug-in that ends its process ends this one alone
                os._exit(1)
            line.send_bytes(pickle.dumps((number, verdict)))


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
