"""``bench serve``: the simulator on a port of this machine."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, cast, get_type_hints

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bench.domain import ConfigError
from bench.providers.sim import ModelKnobs, Sim, SimKnobs, problems
from bench.registry import typed, unknown

HELP = """bench serve [KEY=VALUE ...]: the built-in simulator of the SiliconFlow API on http://127.0.0.1:PORT/v1

  port=8000                       0 takes a free port; the address is printed as one JSON line
  speed=10                        ten times as fast; 0 sends without any pause
  faults.http_429=0.1             a tenth of the requests refused
  framing.crlf=true               lines end with CR LF
  rpm=60 tpm=40000                limits per account and model
  'models[Qwen/Qwen3-8B].skill=0.9'   one model; 'models.*.usage_style=trailing' for all

All knobs and their defaults:
"""


@dataclass(frozen=True)
class ServeOptions:
    """What ``bench serve`` takes beside the knobs.

    Attributes:
        port: 0 takes a free one.
        stdin_watch: end when standard input closes, and leave Ctrl-C to the parent.
        knobs: all knobs as one JSON object; single knobs given as well come on top.
    """

    port: int = 8000
    stdin_watch: bool = False
    knobs: str = "{}"


def parse(argv: list[str]) -> tuple[ServeOptions, SimKnobs]:
    """Options and knobs from ``key=value`` words.

    Raises:
        ConfigError: a word that is no ``key=value``, a key that does not exist, a value of the wrong type or range.
    """
    strange = [word for word in argv if "=" not in word]
    if strange:
        raise ConfigError(*(f"bench serve: {word!r} is not KEY=VALUE; see bench serve --help" for word in strange))
    own = {f.name for f in fields(ServeOptions)}
    knob_names = [f.name for f in fields(SimKnobs)]
    option_words = [word for word in argv if word.split("=", 1)[0] in own]
    knob_words = [word for word in argv if word not in option_words]
    heads = {word: word.split("=", 1)[0].split(".", 1)[0].split("[", 1)[0] for word in knob_words}
    missing = [head for head in heads.values() if head not in knob_names]
    if missing:
        raise ConfigError(*(f"bench serve: {unknown('knob', head, [*own, *knob_names])}" for head in missing))
    try:
        plain = [word for word in option_words if not word.startswith("knobs=")]
        options = typed(ServeOptions, _mapping(OmegaConf.from_dotlist(plain)), where="bench serve")
        single = _mapping(OmegaConf.from_dotlist(knob_words))
        whole = json.loads(next((word[6:] for word in reversed(option_words) if word.startswith("knobs=")), "{}"))
    except (OmegaConfBaseException, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"bench serve: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(whole, Mapping):
        raise ConfigError("bench serve: knobs must be a JSON object")
    if not 0 <= options.port <= 65535:
        raise ConfigError(f"bench serve: port={options.port}: must be between 0 and 65535")
    given = _merged(whole, single)
    _check_keys(given, SimKnobs, "")
    knobs = typed(SimKnobs, given, where="bench serve")
    if found := problems(knobs):
        raise ConfigError(*(f"bench serve: {sentence}" for sentence in found))
    return options, knobs


def _mapping(node: Any) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(node))  # a dotlist always makes a mapping


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    deeper = [k for k in above if isinstance(above[k], Mapping) and isinstance(below.get(k), Mapping)]
    return {**below, **above, **{k: _merged(below[k], above[k]) for k in deeper}}


def _check_keys(given: Mapping[str, Any], schema: type, path: str) -> None:
    hints = get_type_hints(schema)
    for key, value in given.items():
        if key not in hints:
            raise ConfigError(f"bench serve: {unknown('knob', f'{path}{key}', [f'{path}{name}' for name in hints])}")
        if is_dataclass(hints[key]) and isinstance(value, Mapping):
            _check_keys(value, hints[key], f"{path}{key}.")
        elif hints[key] == dict[str, ModelKnobs] and isinstance(value, Mapping):
            for name, entry in value.items():
                if isinstance(entry, Mapping):
                    _check_keys(entry, ModelKnobs, f"{path}{key}[{name}].")


def main(argv: list[str]) -> int:
    """Serve until interrupted, or until standard input closes with ``stdin_watch``. Returns the exit code.

    Raises:
        ConfigError: as :func:`parse`, or the port is taken, or the log cannot be written.
    """
    if {"-h", "--help", "help"} & set(argv):
        print(HELP + OmegaConf.to_yaml(OmegaConf.structured(SimKnobs)))
        print("Knobs of one model, models[NAME].KNOB:\n" + OmegaConf.to_yaml(OmegaConf.structured(ModelKnobs)), end="")
        return 0
    options, knobs = parse(argv)
    _check_log(knobs.truth_log)
    listening = listen(options.port)
    port = listening.getsockname()[1]
    print(json.dumps({"base_url": f"http://127.0.0.1:{port}/v1"}), flush=True)
    from bench.sim.process import run  # the client can connect and send while the rest is still being imported

    run(listening, knobs, options.stdin_watch)
    return 0


def _check_log(path: str | None) -> None:
    try:
        if path is not None:
            Path(path).open("ab").close()
    except OSError as error:
        raise ConfigError(f"bench serve: truth_log={path} cannot be written: {error.strerror}") from error


def listen(port: int) -> socket.socket:
    """A socket that listens on this machine only.

    Raises:
        ConfigError: the port is taken or not allowed.
    """
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"bench serve: port {port} cannot be used ({error.strerror}); port=0 takes a free one"
        ) from error
    listening.listen(1024)
    listening.setblocking(False)
    return listening


@contextmanager
def running(knobs: SimKnobs | None = None) -> Iterator[str]:
    """A simulator in a process of its own for the length of a ``with`` block; gives its base URL."""
    import subprocess

    command = Sim(knobs=knobs or SimKnobs()).server_command()
    assert command is not None
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield str(json.loads(process.stdout.readline())["base_url"])
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except ConfigError as error:
        print(error, file=sys.stderr)
        code = 2
    raise SystemExit(code)
