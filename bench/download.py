"""Fetch one file into the cache: TLS verified, bounded, resumed where it broke off, kept only with the right hash."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from bench.cached import CHUNK_BYTES, Kept, keep, part_file, sha256_of
from bench.domain import ConfigError

#: of one file; the largest published set known here has some tens of MB
MAX_BYTES = 2 * 1024**3
SILENCE_LIMIT_S = 60.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")
BY_FSSPEC = ("hf", "s3")


def download(url: str, sha256: str | None = None) -> Kept:
    """Fetch an address into the cache.

    Args:
        sha256: what the content must have, hex; ``None`` takes whatever comes and records its hash.

    Raises:
        ConfigError: no such scheme, an extra not installed, no answer, a wrong hash (nothing is kept), or a download
            that broke off (the next one goes on from there).
    """
    scheme = _checked(url)
    with part_file(url) as part:
        if scheme in BY_FSSPEC:
            _by_fsspec(url, part)
        else:
            _by_http(url, part)
        found = sha256_of(part)
        if sha256 is not None and found != sha256.lower():
            part.unlink()
            raise ConfigError(
                f"{url}: its SHA-256 is {found}, not {sha256}: the file has changed at its source or on the way; "
                "nothing was kept. If the new file is what you want, give its hash as sha256"
            )
        return keep(part, url, found, datetime.now(UTC).isoformat(timespec="seconds"))


def _checked(url: str) -> str:
    """The scheme of an address that may be fetched."""
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ConfigError(f"{url}: plain http is not fetched, since anyone on the way could change it; use https")
    if parts.scheme not in ("http", "https", *BY_FSSPEC):
        raise ConfigError(f"{url}: only https://, hf:// and s3:// addresses are fetched")
    return parts.scheme


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not to an address that would not be fetched itself."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        try:
            if _checked(newurl) in BY_FSSPEC:
                raise ConfigError(f"{newurl}: a redirect may lead to https addresses only")
        except ConfigError as error:
            fp.close()
            raise ConfigError(f"{req.full_url}: redirects astray: {error}") from None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _by_http(url: str, part: Path) -> None:
    """Write the body to ``part``; a part left by an earlier try with the same ETag is continued."""
    tag_file = part.with_suffix(".etag")
    tag = _tag(tag_file) if part.is_file() else None
    begun = part.stat().st_size if tag else 0
    headers = {"User-Agent": "chatbench", "Accept-Encoding": "identity"}
    if tag and begun:
        headers |= {"Range": f"bytes={begun}-", "If-Range": tag}
    try:
        with _opened(urllib.request.Request(url, headers=headers)) as answer:
            goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {begun}-")
            if answer.status != 200 and not goes_on:
                raise ConfigError(f"{url}: answered HTTP {answer.status} where a file was expected")
            # a weak tag does not promise the same bytes
            strong = answer.headers.get("ETag", "")
            tag_file.write_text(json.dumps(strong if strong.startswith('"') else ""), encoding="utf-8")
            _write(url, answer, part, begun if goes_on else 0)
    except ConfigError:
        for left in (part, tag_file):
            left.unlink(missing_ok=True)
        raise
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the part is no beginning of what is there now
            part.unlink(missing_ok=True)
        raise ConfigError(f"{url}: answered HTTP {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        hint = "; what arrived is kept, and the next try goes on from there" if _tag(tag_file) else ""
        raise ConfigError(f"{url}: cannot be fetched: {str(reason) or type(reason).__name__}{hint}") from None
    tag_file.unlink(missing_ok=True)


@contextmanager
def _opened(request: urllib.request.Request) -> Iterator[http.client.HTTPResponse]:
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        _Redirects(),
    ]
    if urlsplit(request.full_url).hostname in LOOPBACK:
        handlers.append(urllib.request.ProxyHandler({}))
    with urllib.request.build_opener(*handlers).open(request, timeout=SILENCE_LIMIT_S) as answer:
        yield answer


def _tag(tag_file: Path) -> str | None:
    try:
        tag = json.loads(tag_file.read_bytes())
    except (OSError, ValueError):
        return None
    return tag if isinstance(tag, str) and tag else None


def _write(url: str, answer: http.client.HTTPResponse, part: Path, begun: int) -> None:
    declared = answer.headers.get("Content-Length", "")
    wanted = begun + int(declared) if declared.isdecimal() else None
    if wanted is not None and wanted > MAX_BYTES:
        raise _too_large(url)
    size = _copied(url, answer, part, begun)
    if wanted is not None and size != wanted:
        raise http.client.IncompleteRead(b"", wanted - size)


def _copied(url: str, source: Any, part: Path, begun: int = 0) -> int:
    """Append all that ``source`` gives to the first ``begun`` bytes of the part; returns its size."""
    with part.open("r+b" if begun else "wb") as stream:
        stream.seek(begun)
        stream.truncate()
        while chunk := source.read(CHUNK_BYTES):
            begun += len(chunk)
            if begun > MAX_BYTES:
                raise _too_large(url)
            stream.write(chunk)
    return begun


def _too_large(url: str) -> ConfigError:
    return ConfigError(f"{url}: over {MAX_BYTES} bytes; fetch it yourself and give dataset.path")


def _by_fsspec(url: str, part: Path) -> None:
    try:
        import fsspec

        with fsspec.open(url, "rb") as source:
            _copied(url, source, part)
    except ImportError:
        raise ConfigError(f"{url}: hf:// and s3:// need the extra `remote`: pip install 'chatbench[remote]'") from None
    except ConfigError:
        part.unlink(missing_ok=True)
        raise
    except Exception as error:  # noqa: BLE001 - any file system's own errors, none of which is a bug of ours
        said = " ".join(str(error).split())[:300]
        raise ConfigError(f"{url}: cannot be fetched: {said or type(error).__name__}") from None
