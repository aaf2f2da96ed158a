"""Pulling published sets: hashes, broken downloads, redirects, the cache; against a server of this test's own."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import pytest

from bench import download as downloading
from bench.cached import cache_folder, kept, name_of, part_file
from bench.cli import main
from bench.domain import ConfigError
from bench.download import download
from bench.registry import build, discover
from bench.samples import load_samples

ROWS = b"".join(b'{"question": "What is %d + 1?", "answer": "%d"}\n' % (n, n + 1) for n in range(2000))
SHA = hashlib.sha256(ROWS).hexdigest()

discover()


class Server:
    """A web server with one behaviour per path; ``asked`` keeps the paths and ranges of requests."""

    def __init__(self) -> None:
        self.content = ROWS
        self.asked: list[tuple[str, str | None]] = []
        self.etag = '"one"'
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.asked.append((self.path, self.headers.get("Range")))
                server.answer(self)

            def log_message(self, *words: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        if to.path.startswith("/moved/"):
            self._head(to, 302, {"Location": "/good/rows.jsonl", "Content-Length": "0"})
        elif to.path.startswith("/astray/"):
            self._head(to, 302, {"Location": "http://192.0.2.1/rows.jsonl", "Content-Length": "0"})
        elif to.path.startswith("/gone/"):
            self._head(to, 404, {"Content-Length": "0"})
        elif to.path.startswith("/endless/"):
            self._head(to, 200, {"Content-Length": str(1 << 50)})
        elif to.path.startswith("/cut/") and to.headers.get("Range") is None:
            self._head(to, 200, {"Content-Length": str(len(self.content)), "ETag": self.etag})
            to.wfile.write(self.content[:10_000])
            to.close_connection = True
        elif to.path.startswith("/cut/") and to.headers.get("If-Range") == self.etag:
            begun = int(str(to.headers["Range"]).removeprefix("bytes=").removesuffix("-"))
            rest = self.content[begun:]
            span = f"bytes {begun}-{len(self.content) - 1}/{len(self.content)}"
            self._head(to, 206, {"Content-Length": str(len(rest)), "Content-Range": span, "ETag": self.etag})
            to.wfile.write(rest)
        else:
            self._head(to, 200, {"Content-Length": str(len(self.content)), "ETag": self.etag})
            to.wfile.write(self.content)

    def _head(self, to: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
        to.send_response(status)
        for name, value in headers.items():
            to.send_header(name, value)
        to.end_headers()

    def stop(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    made = Server()
    yield made
    made.stop()


def files() -> list[str]:
    """The names of everything in the cache that is content or half of it."""
    kinds = [path for folder in ("files", "parts", "urls") for path in (cache_folder() / folder).rglob("*")]
    return sorted(path.name for path in kinds if path.is_file() and path.suffix != ".lock")


def refused(url: str, sha256: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        download(url, sha256)
    return str(caught.value)


def preset(folder: Path, url: str, sha256: str | None) -> None:
    own = folder / "conf" / "dataset"
    own.mkdir(parents=True, exist_ok=True)
    lines = ["defaults: [jsonl, _self_]", "name: sums", f"url: {url}", "licence: MIT", "scorer: numeric"]
    lines += ["fields: {prompt: question, target: answer}", *([f"sha256: {sha256}"] if sha256 else [])]
    (own / "sums.yaml").write_text("\n".join(lines), encoding="utf-8")


def test_what_has_the_right_hash_is_kept(server: Server) -> None:
    url = f"{server.url}/good/rows.jsonl"
    record = download(url, SHA)
    assert (record.sha256, record.size, record.name) == (SHA, len(ROWS), "rows.jsonl")
    assert record.path.read_bytes() == ROWS
    assert kept(url) == record
    assert files() == sorted(["rows.jsonl", next((cache_folder() / "urls").iterdir()).name])


def test_a_wrong_hash_is_refused_and_nothing_kept(server: Server) -> None:
    url = f"{server.url}/good/rows.jsonl"
    said = refused(url, "0" * 64)
    assert SHA in said
    assert "nothing was kept" in said
    assert files() == []
    assert kept(url) is None


def test_a_download_that_broke_off_goes_on_where_it_stopped(server: Server) -> None:
    url = f"{server.url}/cut/rows.jsonl"
    assert "goes on from there" in refused(url, SHA)
    assert kept(url) is None
    assert download(url, SHA).path.read_bytes() == ROWS
    assert server.asked == [("/cut/rows.jsonl", None), ("/cut/rows.jsonl", "bytes=10000-")]


def test_a_file_that_changed_in_between_starts_anew(server: Server) -> None:
    url = f"{server.url}/cut/rows.jsonl"
    refused(url, SHA)
    server.etag, server.content = '"two"', ROWS[::-1]
    assert download(url).path.read_bytes() == ROWS[::-1]


def test_redirects_are_followed_but_not_off_the_safe_path(server: Server) -> None:
    assert download(f"{server.url}/moved/rows.jsonl", SHA).path.read_bytes() == ROWS
    assert "plain http is not fetched" in refused(f"{server.url}/astray/rows.jsonl")


def test_no_file_no_server_and_too_large_are_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "HTTP 404" in refused(f"{server.url}/gone/rows.jsonl")
    assert "over" in refused(f"{server.url}/endless/rows.jsonl")
    monkeypatch.setattr(downloading, "MAX_BYTES", 5000)
    monkeypatch.setattr(downloading, "CHUNK_BYTES", 1000)
    assert "over 5000 bytes" in refused(f"{server.url}/good/rows.jsonl")
    assert "cannot be fetched" in refused("http://127.0.0.1:1/rows.jsonl")
    assert files() == []


@pytest.mark.parametrize("url", ["http://192.0.2.1/x.jsonl", "file:///etc/passwd", "ftp://192.0.2.1/x", "data:,x"])
def test_other_schemes_are_refused_before_anything_is_asked(url: str) -> None:
    assert "fetched" in refused(url)


def test_one_process_at_a_time_fetches_an_address(server: Server) -> None:
    url = f"{server.url}/good/rows.jsonl"
    with part_file(url):
        assert "another process" in refused(url)
    assert download(url, SHA).sha256 == SHA


def test_a_damaged_cache_is_noticed(server: Server) -> None:
    url = f"{server.url}/good/rows.jsonl"
    download(url, SHA).path.write_bytes(b"{}")
    with pytest.raises(ConfigError, match="damaged"):
        kept(url)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/b.jsonl?x=1", "b.jsonl"),
        ("https://h/..%2f..%2fetc", "etc"),
        ("https://h/", "file"),
        ("https://h/.hidden", "_hidden"),
    ],
)
def test_names_of_cached_files_are_harmless(url: str, name: str) -> None:
    assert name_of(url) == name


@pytest.mark.slow
def test_pull_then_run(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset(tmp_path, f"{server.url}/good/rows.jsonl", SHA)
    assert main(["run", "dataset=sums", "dry_run=true", "report=none"]) == 2
    said = capsys.readouterr().err
    assert "bench datasets pull sums" in said
    assert "dataset.path=FILE" in said
    assert main(["datasets", "sums"]) == 0
    assert "not pulled" in capsys.readouterr().out
    assert main(["datasets", "pull", "sums"]) == 0
    shown = capsys.readouterr().out
    assert f"fetched, {len(ROWS):,} bytes, SHA-256 {SHA} (as the preset says)" in shown
    assert "sums: 2,000 rows" in shown
    assert main(["datasets", "pull", "sums"]) == 0
    assert "was here" in capsys.readouterr().out
    assert len(server.asked) == 1
    assert main(["datasets", "pull", "sums", "--refresh"]) == 0
    assert len(server.asked) == 2
    capsys.readouterr()
    assert main(["datasets", "--json"]) == 0
    listed = {row["dataset"]: row for row in json.loads(capsys.readouterr().out)}
    assert (listed["sums"]["rows"], listed["sums"]["state"]) == (2000, "pulled")
    assert main(["run", "dataset=sums", "dry_run=true", "report=none"]) == 0


def test_pull_names_every_failure(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset(tmp_path, f"{server.url}/good/rows.jsonl", "1" * 64)
    assert main(["datasets", "pull", "choice", "sums"]) == 2
    said = capsys.readouterr().err
    assert "choice: its preset has no url" in said
    assert SHA in said
    preset(tmp_path, f"{server.url}/good/rows.jsonl", None)
    assert main(["datasets", "pull", "sums"]) == 0
    assert "the preset knows none" in capsys.readouterr().out
    server.content = ROWS[: ROWS.index(b"\n", 1000) + 1]
    assert main(["datasets", "pull", "sums", "--refresh"]) == 0
    assert "has changed: what was pulled" in capsys.readouterr().out
    # what was taken without a known hash does not pass for the file with one
    preset(tmp_path, f"{server.url}/good/rows.jsonl", "1" * 64)
    assert main(["datasets", "sums"]) == 2
    assert "pull sums` again" in capsys.readouterr().err


def test_an_address_as_path_is_fetched_once(server: Server) -> None:
    path = f"{server.url}/good/rows.jsonl"
    settings = {"kind": "jsonl", "path": path, "fields": {"prompt": "question"}, "sha256": SHA}
    assert load_samples(build("dataset", settings)).rows_total == 2000
    assert load_samples(build("dataset", settings)).rows_total == 2000
    assert len(server.asked) == 1
    with pytest.raises(ConfigError, match=r"dataset\.path: .*not 1111"):
        load_samples(build("dataset", {**settings, "sha256": "1" * 64}))


def test_hf_and_s3_go_through_fsspec(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("fsspec")

    def opened(url: str, mode: str) -> Any:
        if "locked" in url:
            raise PermissionError("no credentials")
        local = Path("remote.jsonl")
        local.write_bytes(ROWS)
        return local.open(mode)

    fake.open = opened  # type: ignore[attr-defined]  # stands in for a module
    monkeypatch.setitem(sys.modules, "fsspec", fake)
    assert download("s3://bucket/rows.jsonl", SHA).path.read_bytes() == ROWS
    assert download("hf://datasets/a/b/rows.jsonl").name == "rows.jsonl"
    assert "no credentials" in refused("s3://bucket/locked.jsonl")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert "extra `remote`" in refused("s3://bucket/other.jsonl")
