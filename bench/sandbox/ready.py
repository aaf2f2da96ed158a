"""Whether this machine can make sandboxes: tried before the first one counts, and refused where it cannot."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from bench.domain import ConfigError
from bench.sandbox.rooms import Backend, Ended, Limits, SandboxError, run_program

_LIMITS = Limits(cpu_s=2.0)
_OR_WRONG = "\nexcept OSError:\n    pass\nelse:\n    assert False"
_TRIALS = (
    ("a right program passes", "assert sum(range(4)) == 6", Ended.PASSED, _LIMITS),
    ("a wrong program fails", "assert sum(range(4)) == 7", Ended.FAILED, _LIMITS),
    ("an early exit is no pass", "import os\nos._exit(0)", Ended.FAILED, _LIMITS),
    ("an endless program is ended", "while True:\n    pass", Ended.TIMEOUT, Limits(cpu_s=0.1)),
    (
        "nothing outside can be written",
        "try:\n    open('/usr/bench-was-here', 'w')" + _OR_WRONG,
        Ended.PASSED,
        _LIMITS,
    ),
    (
        "there is no network",  # the address is one of documentation's; to connect a datagram socket sends nothing
        "from socket import *\ntry:\n    socket(AF_INET, SOCK_DGRAM).connect(('203.0.113.1', 9))" + _OR_WRONG,
        Ended.PASSED,
        _LIMITS,
    ),
)


def faults(backend: Backend) -> list[str]:
    """What a kind of sandbox does not hold on this machine, one sentence each; empty for one that can be trusted."""

    def fault(trial: tuple[str, str, Ended, Limits]) -> str | None:
        claim, program, ended, limits = trial
        try:
            found = run_program(program, limits, backend)
        except SandboxError as error:
            return str(error)
        return None if found.ended is ended else f"{backend}: {claim}: not here ({found.ended}: {found.why})"

    first = fault(_TRIALS[0])
    if first is not None:
        return [first]
    with ThreadPoolExecutor(len(_TRIALS)) as pool:
        return [said for said in pool.map(fault, _TRIALS[1:]) if said is not None]


@cache
def ready_backend() -> Backend:
    """The first kind of sandbox that holds what it promises here; nothing is ever run without one.

    Root makes the namespaces itself, for bubblewrap then leaves the program root's own user number; everyone else
    takes bubblewrap where it is.

    Raises:
        ConfigError: none does; says why and what to install.
    """
    order = [Backend.BUBBLEWRAP, Backend.NAMESPACES]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        order.reverse()
    said: list[str] = []
    for backend in order:
        found = faults(backend)
        if not found:
            return backend
        said += found
    raise ConfigError(
        f"programs of models cannot be run here, for no sandbox stands ({'; '.join(said)}); on Linux install "
        f"bubblewrap and allow user namespaces (in a container: --security-opt seccomp=unconfined, or --privileged), "
        f"or score the run on another machine with `bench score`"
    )
