"""Coverage-guided fuzzing: ``python tests/fuzz.py [--target NAME ...] [--seconds S] [--runs N] [--keep FOLDER]``.

Every reader of bytes that others wrote has a target: an oracle (``fuzz_streams.py``, ``fuzz_files.py``) that says more
than "no crash". atheris mutates inputs towards code that none has reached yet; an input that takes longer than
``TIMEOUT_S``, or drives the process beyond ``MEMORY_MB``, counts as a failure too. Targets run one after another, each
in a process of its own, and end in a table of executions, edges covered and failures. The same oracles run on random
inputs, without atheris, in ``test_fuzz_oracles.py``.

atheris is in no extra, because it has no wheel for every Python: ``pip install atheris``.

On 2026-11-22 (atheris 3.0.0, Python 3.11, two busy cores), 200 to 600 seconds for each target, executions and edges:
sse 220,960 (82), decode 60,280 (533), payloads 336,500 (54), errors 146,758 (126), codings 93,966 (89), journal 318,702
(97), datasets 87,784 (181), parquet 214,019 (130), traces 440,407 (152), slo 292,165 (44), settings 9,702 (126). Found
and fixed, each with a test: invalid UTF-8 in an event, a Retry-After and a trace time beyond 64 bits, a chunked body
ended two bytes early, the stamp of an ``error:`` line, a record that is no exchange. Writing the oracles showed four
more: nesting near the interpreter's own limit, dates and texts in Parquet that are none, and two readers of quadratic
time. None was open at the end.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

#: seconds that one input may take, and memory that the whole process may have
TIMEOUT_S = 10
MEMORY_MB = 2048
LONGEST_INPUT = 4096
SECONDS = 60

MISSING = "tests/fuzz.py needs atheris, which is in no extra: pip install atheris (Linux and macOS, CPython)"

#: names of targets, and the tokens that their inputs are made of beside what the code compares with
TOKENS: dict[str, tuple[str, ...]] = {
    "sse": ("data: ", "event: error", "error: ", "id: ", "retry: ", "\r\n", "\n\n", "\xef\xbb\xbf", ": ping", "[DONE]"),
    "decode": ('"choices":[', '"delta":{', '"content":', '"index":', '"tool_calls":[', "\\ud83d", "data: [DONE]\n\n"),
    "payloads": ('{"choices":[', '"usage":', '"index":', '"message":{', "1e400", "NaN", "\\ud800", "[[[[[["),
    "errors": ('{"error":{', '"code":', '"message":', "Wed, 21 Oct 2026 07:28:00 GMT", "+9999", "1e309", '"status":'),
    "codings": ("0\r\n\r\n", "\r\n", "a;x=1\r\n", "\x1f\x8b\x08", "\r\n\r\n"),
    "journal": (),
    "datasets": ('"messages":[', '"role":', '"id":', '"tags":', '"prompt":', "\x1f\x8b\x08", '""', "\r\n"),
    "parquet": (),
    "traces": ("timestamp,input_tokens,output_tokens\n", "0001-01-01 00:00:00", "1e18", "-1e9", '"hash_ids":['),
    "slo": ("ttft_ms_p99 <= ", " and ", "failure_rate", "tpot_p95_ms", "e2e_ms", ">=", "1e999"),
    "settings": (
        '"load.kind":',
        '"sampling.stop":',
        '"slo":',
        '"cache":',
        '"load.rate":',
        '"budget":',
        "null",
        "1e400",
    ),
}


@dataclass(frozen=True)
class Ran:
    """How the fuzzing of one target went."""

    target: str
    executions: int
    edges: int
    seconds: int
    failure: str | None


def checks() -> dict[str, Callable[[bytes], None]]:
    """The oracle of each target."""
    import fuzz_files
    import fuzz_streams

    modules = (fuzz_streams, fuzz_files)
    return {name: next(getattr(m, f"check_{name}") for m in modules if hasattr(m, f"check_{name}")) for name in TOKENS}


def seeds(target: str) -> list[bytes]:
    """Inputs to start from."""
    import fuzz_files
    import fuzz_streams

    payloads = fuzz_streams.PAYLOADS
    encoded = [json.dumps(one).encode() for one in payloads]
    streams = [fuzz_streams.wire_of([one, *payloads[:2]], end) for one in payloads for end in ("\n", "\r\n")]
    edits = [bytes(9), bytes(range(1, 40)), b"\x04" + b"\x10\x00\x00\xff" * 3]
    known = {
        "sse": [b"\x00" + wire for wire in streams] + [b"\x02\x05\x00\x09\x00: x\r\rdata: a\rid: 1\n\n"],
        "decode": [cut + wire for wire in (*streams, *encoded) for cut in (b"\x00", b"\x02\x20\x00\x50\x00")],
        "payloads": encoded,
        "errors": [
            b"\x81\x00" + header + b"\n" + body
            for body in encoded
            for header in (b"30", b"Wed, 21 Oct 2026 07:28:00 GMT")
        ],
        "codings": [b"\x00" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) for body in encoded],
        "journal": [bytes([count]) + edit for count in range(5) for edit in edits],
        "datasets": [
            b"\x00" + fuzz_files.JSONL,
            b"\x01" + fuzz_files.CSV,
            *(bytes([c]) + e for c in range(16) for e in edits),
        ],
        "parquet": edits,
        "traces": [b"\x00" + text for text in fuzz_files.TRACES],
        "slo": [b"ttft_ms_p99 <= 500 and tpot_ms_p95 < 50 AND failure_rate <= 0.01", b"e2e_p50_ms >= 1e3"],
        "settings": [
            b'{"load.kind": "poisson", "load.rate": 2, "slo": "ttft_ms < 5", "limits.rpm": 0}',
            b'{"cache": true}',
        ],
    }
    return known[target]


def fuzz_one(target: str, seconds: int, runs: int, folder: Path) -> None:
    """Fuzz in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["bench"]):
        check = checks()[target]
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (corpus / f"seed-{number:03d}").write_bytes(seed)
    options = [f"-dict={_dictionary(target, folder)}"] if TOKENS[target] else []
    options += [f"-max_total_time={seconds}", f"-runs={runs}", f"-timeout={TIMEOUT_S}", f"-rss_limit_mb={MEMORY_MB}"]
    options += [f"-max_len={LONGEST_INPUT}", f"-artifact_prefix={folder}/", "-print_final_stats=1", "-verbosity=1"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], check)
    atheris.Fuzz()


def _dictionary(target: str, folder: Path) -> Path:
    path = folder / "tokens.dict"
    quoted = ("".join(f"\\x{byte:02x}" for byte in token.encode("latin-1")) for token in TOKENS[target])
    path.write_text("".join(f'"{token}"\n' for token in quoted), encoding="ascii")
    return path


def run_target(target: str, seconds: int, runs: int, folder: Path) -> Ran:
    """Fuzz in a process of its own, which a crash of native code may take with it."""
    command = [sys.executable, __file__, "--inside", "--target", target, "--keep", str(folder)]
    command += ["--seconds", str(seconds), "--runs", str(runs)]
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    # the process ends without cleaning up, so what it writes goes where this one does
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory) as inputs:
        env = {**os.environ, "TMPDIR": inputs}
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=env)
    said = done.stdout + done.stderr
    numbers = {name: int(value) for name, value in re.findall(r"stat::(\w+):\s+(\d+)", said)}
    edges = [int(count) for count in re.findall(r"\bcov: (\d+)", said)]
    took = re.search(r"Done \d+ runs in (\d+) second", said)
    failure = None
    if done.returncode:
        path = re.search(r"Test unit written to (\S+)", said)
        why = re.search(r"=== Uncaught Python exception: ===\n(.*)|ERROR: libFuzzer: (.*)", said)
        reason = next((word for word in (why.groups() if why else ()) if word), f"exit code {done.returncode}")
        failure = f"{reason.strip()[:200]} ({path[1] if path else 'no input was written'})"
        (folder / "output.txt").write_text(said, encoding="utf-8")
    counted = [int(count) for count in re.findall(r"^#(\d+)\t", said, re.MULTILINE)]
    executions = numbers.get("number_of_executed_units", max(counted, default=0))
    return Ran(target, executions, max(edges, default=0), int(took[1]) if took else 0, failure)


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz the chosen targets; 1 where one of them failed, 2 where atheris is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", action="append", choices=sorted(TOKENS), help="all of them unless given")
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"for each target (default {SECONDS})")
    parser.add_argument("--runs", type=int, default=-1, help="executions at most, for each target")
    parser.add_argument("--keep", type=Path, help="folder for corpus and failing inputs (default: a temporary one)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if importlib.util.find_spec("atheris") is None:
        print(MISSING, file=sys.stderr)
        return 2
    if options.inside:
        fuzz_one(options.target[0], options.seconds, options.runs, options.keep)
        return 0
    folder = options.keep or Path(tempfile.mkdtemp(prefix="fuzz-"))
    failed = False
    print(f"{'target':<10} {'executions':>12} {'edges':>7} {'seconds':>8}  failure")
    for target in options.target or TOKENS:
        ran = run_target(target, options.seconds, options.runs, (folder / target).absolute())
        failed = failed or ran.failure is not None
        print(
            f"{target:<10} {ran.executions:>12,} {ran.edges:>7,} {ran.seconds:>8}  {ran.failure or 'none'}", flush=True
        )
    print(f"corpus and failing inputs: {folder}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
