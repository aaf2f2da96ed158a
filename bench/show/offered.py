"""What a server says it offers: ``GET /models``, asked once, with time limits and without following redirects."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPMessage, HTTPResponse
from selectors import EVENT_READ, DefaultSelector
from typing import IO, Any
from urllib.parse import urlsplit

from bench.domain import ConfigError
from bench.providers import Provider
from bench.show.terminal import printable

ANSWER_LIMIT_S = 20.0
START_LIMIT_S = 60.0
LIMIT_BYTES = 16 * 1024 * 1024
SHOWN_BYTES = 1000


def offered_models(provider: Provider) -> list[str]:
    """The chat models of a server by name, sorted; a provider that starts its own server has it started for this.

    Raises:
        ConfigError: no key, no answer, or an answer that is no model list; names the address, never the key.
    """
    with _running(provider) as base_url:
        # the filters leave embedding and image models out; only this service is known to have them
        filters = "?type=text&sub_type=chat" if provider.enforces_page_rules else ""
        return _names(_get(f"{base_url.rstrip('/')}/models{filters}", provider), base_url)


@contextmanager
def _running(provider: Provider) -> Iterator[str]:
    command = None if provider.base_url else provider.server_command()
    if command is None:
        if not provider.base_url:
            raise ConfigError(f"provider {provider.name}: provider.base_url is missing")
        yield provider.base_url
        return
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    try:
        yield _address(process, provider.name)
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[bytes], name: str) -> str:
    """The ``base_url`` that a started server prints as one JSON line."""
    assert process.stdout is not None  # asked for as a pipe
    with DefaultSelector() as selector:
        selector.register(process.stdout, EVENT_READ)
        line = process.stdout.readline() if selector.select(START_LIMIT_S) else b""
    try:
        return str(json.loads(line)["base_url"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"provider {name}: its server did not start; its own messages stand above") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another address."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def _get(url: str, provider: Provider) -> bytes:
    if urlsplit(url).scheme not in ("http", "https"):  # urllib would open files as well
        raise ConfigError(f"provider {provider.name}: {printable(url)} is no http or https address")
    headers = {**provider.headers, "Accept": "application/json"}
    if provider.api_key_env is not None:
        headers["Authorization"] = f"Bearer {_key(provider)}"
    tls = ssl.create_default_context()
    if not provider.verify_tls:
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    # no proxies: a run does not use any either, and what this says must hold for it
    handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls), _NoRedirect())
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.build_opener(*handlers).open(request, timeout=ANSWER_LIMIT_S) as answer:
            return _read(answer)
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(SHOWN_BYTES).decode("utf-8", "replace")
        hint = f"; is the key in {provider.api_key_env} one of this host?" if error.code in (401, 403) else ""
        raise ConfigError(f"{url}: answered HTTP {error.code}: {printable(said)}{hint}") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        said = printable(str(reason) or type(reason).__name__)
        raise ConfigError(f"{url}: cannot be reached: {said}") from None


def _read(answer: HTTPResponse) -> bytes:
    deadline, parts, size = time.monotonic() + ANSWER_LIMIT_S, [], 0
    while part := answer.read1(65536):
        parts.append(part)
        size += len(part)
        if size > LIMIT_BYTES or time.monotonic() > deadline:
            raise TimeoutError(f"the answer takes over {LIMIT_BYTES} bytes or {ANSWER_LIMIT_S:g} s")
    return b"".join(parts)


def _key(provider: Provider) -> str:
    name = provider.api_key_env or ""
    key = os.environ.get(name, "").strip()
    if not key:
        raise ConfigError(f"provider {provider.name}: the environment variable {name} is not set; put your key there")
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"provider {provider.name}: the key in {name} holds characters that no key has")
    return key


def _names(body: bytes, base_url: str) -> list[str]:
    try:
        content: Any = json.loads(body)
        rows = content["data"]
        return sorted({str(row["id"]) for row in rows})
    except (ValueError, KeyError, TypeError, RecursionError):
        shown = printable(body[:SHOWN_BYTES].decode("utf-8", "replace"))
        raise ConfigError(f"{base_url}/models: the answer is no list of models: {shown}") from None
