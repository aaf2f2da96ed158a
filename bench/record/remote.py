"""A results folder behind an address that fsspec opens: one listing tells what changed, and only that is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.record.results import FILES, FoundRun, asked, is_run, mark_of, scratch

#: what file systems call the time or version of a file
_CHANGES = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")


@dataclass(frozen=True)
class RemoteResults:
    """A results folder behind an address. Runs are fetched one at a time into a folder that is removed again."""

    name: str
    index: Path
    system: Any
    root: str

    def runs(self) -> list[FoundRun]:
        """Every run folder, by name, from one listing."""
        with asked(self.name):
            self.system.invalidate_cache()
            listed = self.system.find(self.root, detail=True)
        kept: dict[str, dict[str, object]] = {}
        for path, info in listed.items():
            parts = path[len(self.root) :].strip("/").split("/")
            if len(parts) < 3 or parts[0].startswith("."):
                continue
            files = kept.setdefault("/".join(parts[:2]), {})
            if parts[2] in FILES:
                changed = next((str(info[key]) for key in _CHANGES if info.get(key) is not None), "")
                files["/".join(parts[2:])] = (info.get("size"), changed)
        found = [FoundRun(name, mark_of(files), tuple(sorted(files))) for name, files in kept.items()]
        return sorted(filter(is_run, found))

    @contextmanager
    def opened(self, run: FoundRun) -> Iterator[Path]:
        """The run as a folder of this machine, fetched for as long as it is open."""
        with scratch() as folder:
            target = Path(folder) / run.name
            for file in run.files:
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                with asked(f"{self.name}/{run.name}/{file}"):
                    self.system.get_file(f"{self.root}/{run.name}/{file}", str(target / file))
            yield target

    def read(self, name: str) -> bytes:
        """A file beside the runs; empty where there is none."""
        with asked(f"{self.name}/{name}"):
            path = f"{self.root}/{name}"
            return bytes(self.system.cat_file(path)) if self.system.exists(path) else b""

    def append(self, name: str, line: bytes) -> None:
        """Add a line by writing the file anew: object stores know no other way, so two writers at once lose one."""
        before = self.read(name)
        with asked(f"{self.name}/{name}"):
            self.system.pipe_file(f"{self.root}/{name}", before + line)
