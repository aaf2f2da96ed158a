"""The registry: a plug-in is one file, found by folder; plain values become typed ones exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.config import Sampling
from bench.domain import Choice, ConfigError, Label, Sample
from bench.registry import build, discover, plugins, typed

SCORER = '''
from dataclasses import dataclass

from bench.domain import Choice, Label, Sample, Score
from bench.registry import plugin
from bench.scorers import Scorer


@plugin("scorer", "brevity")
@dataclass(frozen=True)
class Brevity(Scorer):
    """Right when the reply has at most so many characters."""

    kind: str = "brevity"
    version: str = "1"
    characters: int = 200

    def score(self, sample: Sample, choice: Choice) -> Score:
        short = len(choice.text) <= self.characters
        return Score(float(short), Label.CORRECT if short else Label.WRONG, extracted=str(len(choice.text)))
'''


def test_a_users_plugin_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "brevity.py").write_text(SCORER)
    discover(tmp_path)
    scorer = build("scorer", {"kind": "brevity", "characters": 3})
    sample = Sample("s", ({"role": "user", "content": "?"},), target="x")
    assert scorer.score(sample, Choice(0, "abc")).label is Label.CORRECT
    assert scorer.score(sample, Choice(0, "abcd")).label is Label.WRONG


def test_a_plugin_that_does_not_import_is_named(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "broken_plugin.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(ConfigError, match=r"broken_plugin\.py: the plug-in does not import"):
        discover(tmp_path)


def test_every_group_of_plugins_is_found() -> None:
    discover()
    assert {"sim", "siliconflow", "compatible", "local"} <= plugins("provider").keys()
    assert {"jsonl", "csv", "parquet", "needle", "synthetic"} <= plugins("dataset").keys()
    assert {"closed", "constant", "poisson", "gamma", "ramp", "trace", "stages"} <= plugins("load").keys()
    assert {"exact", "numeric", "choice", "contains", "regex", "json_schema"} <= plugins("scorer").keys()


@pytest.mark.parametrize("text", ["${x}", "a ${oc.env:HOME} b", "\\${x}", "\\\\${x}", "$${x}", "${", "???x", "${${y}}"])
def test_text_that_looks_like_an_interpolation_stays_as_it_is(text: str) -> None:
    assert typed(Sampling, {"stop": [text], "extra": {"user": text}}, "sampling").extra == {"user": text}
    assert typed(Sampling, {"stop": [text]}, "sampling").stop == [text]


@given(st.text())
def test_any_text_stays_as_it_is(text: str) -> None:
    if text != "???":
        assert typed(Sampling, {"extra": {"user": text}}, "sampling").extra == {"user": text}


def test_unknown_keys_and_kinds_say_what_exists() -> None:
    discover()
    with pytest.raises(ConfigError, match="did you mean temperature"):
        typed(Sampling, {"temprature": 1}, "sampling")
    with pytest.raises(ConfigError, match="did you mean closed"):
        build("load", {"kind": "closd"})
