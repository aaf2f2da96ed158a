"""Server processes that a run starts for itself: the simulator, or a local engine."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType

from bench.config import Experiment
from bench.domain import ConfigError
from bench.providers import Provider

#: a local engine reads its weights first
START_LIMIT_S = 180.0


class ServerProcess:
    """A server in a process of its own, which ends when this one does: it watches its standard input.

    Starting returns at once; :meth:`base_url` waits until the server listens.
    """

    def __init__(self, command: list[str], what: str) -> None:
        self._what = what
        self._url: str | None = None
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def base_url(self) -> str:
        """The address the server printed.

        Raises:
            ConfigError: it ended or stayed silent instead; what it wrote is above on standard error.
        """
        if self._url is None:
            assert self._process.stdout is not None
            timer = threading.Timer(START_LIMIT_S, self._process.kill)
            timer.daemon = True
            timer.start()
            try:
                line = self._process.stdout.readline()
            finally:
                timer.cancel()
            try:
                self._url = str(json.loads(line)["base_url"])
            except (ValueError, KeyError, TypeError) as error:
                self.close()
                raise ConfigError(
                    f"{self._what} did not start (its process printed {line[:200]!r} and ended with code "
                    f"{self._process.returncode}); its own messages stand above"
                ) from error
        return self._url

    def cpu_s(self) -> float | None:
        """Processor time the server has used so far; ``None`` where the system does not tell."""
        try:
            with open(f"/proc/{self._process.pid}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End the process and wait for it."""
        process = self._process
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


class Servers:
    """The servers of a run, by provider. A context manager: leaving it stops them all."""

    def __init__(self, experiments: Iterable[Experiment]) -> None:
        self._stack = ExitStack()
        self._by_command: dict[tuple[str, ...], ServerProcess] = {}
        for experiment in experiments:
            provider = experiment.provider
            if provider.base_url is None and (command := provider.server_command()) is not None:
                key = tuple(command)
                if key not in self._by_command:
                    server = ServerProcess(command, f"provider {provider.name or provider.kind}")
                    self._by_command[key] = server
                    self._stack.callback(server.close)

    def base_url(self, provider: Provider) -> str:
        """Where the provider's requests go.

        Raises:
            ConfigError: no address is configured, or the server did not start.
        """
        if provider.base_url is not None:
            return provider.base_url.rstrip("/")
        command = provider.server_command()
        if command is None:
            raise ConfigError(
                f"provider {provider.name or provider.kind}: provider.base_url is not set; "
                f"give the address, for example provider.base_url=http://127.0.0.1:8000/v1"
            )
        return self._by_command[tuple(command)].base_url()

    def wait(self) -> None:
        """Wait until every server that was started listens.

        Raises:
            ConfigError: one of them did not start.
        """
        for server in self._by_command.values():
            server.base_url()

    def __enter__(self) -> Servers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def api_key(provider: Provider) -> str | None:
    """The provider's key from the environment variable that its configuration names.

    Raises:
        ConfigError: the variable is not set; names it, never a value.
    """
    if provider.api_key_env is None:
        return None
    key = os.environ.get(provider.api_key_env, "").strip()
    if not key:
        raise ConfigError(
            f"provider {provider.name or provider.kind}: the environment variable {provider.api_key_env} is not set; "
            f"put your API key there, for example: export {provider.api_key_env}=..."
        )
    return key
