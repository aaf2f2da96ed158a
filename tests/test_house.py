"""The house rules, as far as a machine can see them."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*(ROOT / "bench").rglob("*.py"), *(ROOT / "hydra_plugins").rglob("*.py")])
MODULE_LINES = 300
FUNCTION_LINES = 60

#: names that say nothing about what a thing does
EMPTY_NAMES = frozenset(
    "util utils helper helpers common base manager handler factory mixin misc".split()  # noqa: SIM905  # reads better
)
#: written in two halves, so that this file is not its own finding
UNFINISHED = re.compile(
    "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + r"CK\b", "raise NotImplemented" + "Error"])
)
ADDRESS = re.compile(r"(https?|ftp|git\+|file)://|--(extra-)?index-url|--find-links|\s@\s", re.IGNORECASE)
PINNED = re.compile(r"[a-z0-9][a-z0-9.-]*==[0-9][A-Za-z0-9.+!]*")

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def definitions(node: ast.AST) -> Iterator[Definition]:
    """Every class and function, nested ones too."""
    for child in ast.walk(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield child


def of_sources(findings: Callable[[Path], Iterable[str]]) -> list[str]:
    """Findings of every source file, each with the file's name in front."""
    return [f"{path.relative_to(ROOT)}: {finding}" for path in SOURCES for finding in findings(path)]


def test_modules_fit_a_reader() -> None:
    def too_long(path: Path) -> Iterator[str]:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines >= MODULE_LINES:
            yield f"{lines} lines"

    found = of_sources(too_long)
    assert not found, "\n".join(found)


def test_functions_fit_a_screen() -> None:
    def too_long(path: Path) -> Iterator[str]:
        for node in definitions(tree_of(path)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if not isinstance(node, ast.ClassDef) and lines >= FUNCTION_LINES:
                yield f"{node.name} has {lines} lines"

    found = of_sources(too_long)
    assert not found, "\n".join(found)


def test_names_say_what_things_do() -> None:
    def empty(path: Path) -> Iterator[str]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        for name in [*parts, *(node.name for node in definitions(tree_of(path)))]:
            words = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", name.replace("base_url", "address"))
            if EMPTY_NAMES & {word.lower() for word in words}:
                yield name

    found = of_sources(empty)
    assert not found, "\n".join(found)


def test_modules_functions_and_types_are_documented() -> None:
    def undocumented(path: Path) -> Iterator[str]:
        module = tree_of(path)
        if module.body and not ast.get_docstring(module):
            yield "the module"
        for node in module.body:
            if isinstance(node, Definition) and not node.name.startswith("_") and not ast.get_docstring(node):
                yield node.name

    found = of_sources(undocumented)
    assert not found, "\n".join(found)


def tracked_text() -> Iterator[tuple[str, str]]:
    """Our own text files as git knows them, or as they lie where there is no git."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"the files of the project cannot be listed: {error}")
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".txt", ".ini", ""} and path.is_file() and name != "LICENSE":
            yield name, path.read_text(encoding="utf-8")


def test_nothing_is_marked_unfinished() -> None:
    assert [name for name, text in tracked_text() if UNFINISHED.search(text)] == []


def test_no_file_holds_the_address_of_a_package_index() -> None:
    index = re.compile(
        r"index[-_]url|pypi\.org/simple|find[-_]links|(simple|pypi)/?\s*$|/opt/", re.IGNORECASE | re.MULTILINE
    )
    assert [name for name, text in tracked_text() if name != "tests/test_house.py" and index.search(text)] == []


def test_every_suppression_says_why() -> None:
    """A coded ignore, or words after it."""
    bare = re.compile(r"#\s*(noqa(?!:\s*[A-Z])|type:\s*ignore(?!\[))")
    assert [name for name, text in tracked_text() if name.endswith(".py") and bare.search(text)] == []


def test_constraints_are_names_and_versions_alone() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [line for line in pins if not PINNED.fullmatch(line)] == []
    assert pins == sorted(pins)
    assert [line for line in lines if ADDRESS.search(line)] == []


def test_every_dependency_is_pinned_and_those_of_dependencies_too() -> None:
    """As far as the packages are installed here; an extra's packages count only where they are."""
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    needed: set[tuple[str, frozenset[str]]] = set()
    queue = [("chatbench", frozenset({"dev", "local"}))]
    while queue:
        name, extras = queue.pop()
        if (name, extras) in needed:
            continue
        needed.add((name, extras))
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        queue += [
            (canonicalize_name(one.name), frozenset(one.extras))
            for one in map(Requirement, requires)
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras | {""})
        ]
    missing = {name for name, _ in needed} - pinned - {"chatbench"}
    assert missing == set(), "run `make constraints`"


def test_the_layers_hold() -> None:
    from importlinter.application.use_cases import lint_imports
    from importlinter.configuration import configure

    configure()
    assert lint_imports(config_filename=str(ROOT / ".importlinter"), cache_dir=None), "run `lint-imports` to see why"
