"""The simulator as a process: how it starts, what it refuses, and that it never outlives its parent."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.domain import ConfigError
from bench.providers.sim import Faults, ModelKnobs, Sim, SimKnobs, UsageStyle
from bench.registry import build, discover
from bench.sim.serve import listen, main, parse, running


def start() -> subprocess.Popen[bytes]:
    command = Sim(knobs=SimKnobs(speed=0)).server_command()
    assert command is not None
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def port_of(line: bytes) -> int:
    url = json.loads(line)["base_url"]
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/v1")
    return int(url.split(":")[2].split("/")[0])


def models_answer(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: client.recv(65536), b""))


def test_it_ends_when_its_input_closes_and_ctrl_c_is_the_parents() -> None:
    with start() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = port_of(process.stdout.readline())
        assert models_answer(port).startswith(b"HTTP/1.1 200 OK")
        process.send_signal(signal.SIGINT)
        assert models_answer(port).startswith(b"HTTP/1.1 200 OK")
        process.stdin.close()
        assert process.wait(timeout=30) == 0
        with pytest.raises(ConnectionRefusedError):
            models_answer(port)


def test_it_ends_when_its_parent_is_killed() -> None:
    parent = (
        "import subprocess, time; from bench.providers.sim import Sim, SimKnobs\n"
        "p = subprocess.Popen(Sim().server_command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "print(p.stdout.readline().decode(), flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", parent]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        port = port_of(process.stdout.readline())
        assert models_answer(port).startswith(b"HTTP/1.1 200 OK")
        process.kill()
        assert process.stderr.read() == b""  # ends when the simulator, which has inherited it, has ended too
    with pytest.raises(ConnectionRefusedError):
        models_answer(port)


def test_terminated_it_ends_well() -> None:
    command = [sys.executable, "-m", "bench.sim.serve", "port=0", "speed=0"]
    for how in (signal.SIGTERM, signal.SIGINT):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            models_answer(port_of(process.stdout.readline()))
            process.send_signal(how)
            assert process.wait(timeout=30) == 0
            assert process.stderr.read() == b""


def test_running_gives_an_address_and_cleans_up() -> None:
    with running(SimKnobs(speed=0)) as url:
        port = port_of(json.dumps({"base_url": url}).encode())
        assert b"Qwen/Qwen3-8B" in models_answer(port)
    with pytest.raises(ConnectionRefusedError):
        models_answer(port)


def test_the_command_carries_every_knob() -> None:
    knobs = SimKnobs(
        speed=2.5,
        models={"Qwen/Qwen2.5-7B-Instruct": ModelKnobs(usage_style=UsageStyle.trailing, skill=0.9)},
        api_keys=["a", "b"],
        faults=Faults(cut=0.25),
        truth_log="/tmp/with space.jsonl",
    )
    command = Sim(knobs=knobs).server_command()
    assert command is not None
    options, parsed = parse(command[4:])
    assert parsed == knobs
    assert options.port == 0
    assert options.stdin_watch


def test_a_provider_from_configuration_has_typed_knobs() -> None:
    discover()
    config = {"knobs": {"speed": 0, "models": {"*": {"usage_style": "none"}}, "faults": {"http_500": 0.1}}}
    provider = build("provider", {"kind": "sim", **config})
    assert provider.enforces_page_rules
    assert provider.knobs.models["*"].usage_style is UsageStyle.none
    assert provider.knobs.faults.http_500 == 0.1
    with pytest.raises(ConfigError, match="knobs"):
        build("provider", {"kind": "sim", "knobs": {"sped": 1}})
    assert Sim(base_url="http://127.0.0.1:1/v1").server_command() is None


def test_a_knob_out_of_range_is_named_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match=r"provider\.knobs\.faults\.cut=2: must be between 0 and 1"):
        Sim(knobs=SimKnobs(faults=Faults(cut=2))).server_command()


def test_words_set_single_knobs_on_top_of_json() -> None:
    words: list[Any] = [
        'knobs={"speed": 3, "faults": {"cut": 0.5}}',
        "faults.http_429=0.1",
        "models[Qwen/Qwen2.5-7B-Instruct].skill=0.9",
        "api_keys=[a,b]",
        "port=0",
    ]
    _, knobs = parse(words)
    assert (knobs.speed, knobs.faults, knobs.api_keys) == (3, Faults(cut=0.5, http_429=0.1), ["a", "b"])
    assert knobs.models == {"Qwen/Qwen2.5-7B-Instruct": ModelKnobs(skill=0.9)}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["portt=1"], "there is no knob 'portt'; did you mean port?"),
        (["faults.cutt=1"], "there is no knob 'faults.cutt'; did you mean faults.cut"),
        (["models[A].skil=1"], "there is no knob 'models[A].skil'; did you mean models[A].skill"),
        (["speed"], "'speed' is not KEY=VALUE"),
        (["speed=fast"], "speed"),
        (["era=1999"], "era=1999: must be 2025 or 2026"),
        (["rpm=0"], "rpm=0: must be at least 1"),
        (["window_s=0"], "window_s=0.0: must be greater than 0"),
        (["faults.cut=0.7", "faults.reset=0.5"], "add up to 1.2"),
        (["models[A].usage_style=x"], "expected one of [every_chunk, trailing, none]"),
        (["knobs={"], "bench serve:"),
        (["knobs=3"], "knobs must be a JSON object"),
        (["port=70000"], "port=70000: must be between 0 and 65535"),
        (["faults=3"], "Faults"),
    ],
)
def test_bad_words_are_refused_with_what_exists(words: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(words)
    assert told in str(error.value)


def test_a_taken_port_is_a_configuration_error() -> None:
    with listen(0) as taken, pytest.raises(ConfigError, match="cannot be used"):
        main([f"port={taken.getsockname()[1]}"])


def test_a_log_that_cannot_be_written_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written: No such file or directory"):
        main(["port=0", f"truth_log={tmp_path}/nowhere/log.jsonl"])


def test_help_lists_every_knob(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    for knob in ("speed:", "http_429:", "comment_every:", "truth_log:", "usage_style:"):
        assert knob in told
