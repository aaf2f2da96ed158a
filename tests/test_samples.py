"""Mapping, ordering and rendering rows; what is wrong with a row is named by file and line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows_files import load, refused, texts, written

from bench.datasets import Dataset
from bench.datasets.jsonl import JsonLines
from bench.domain import ConfigError
from bench.registry import build, discover
from bench.samples import load_samples, repeats_told

discover()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


# Bad input


def test_duplicate_ids_name_both_places(folder: Path) -> None:
    path = folder / "rows.jsonl"
    written(path, {"id": 7, "prompt": "a"}, {"prompt": "b"}, {"id": "7", "prompt": "c"}, {"prompt": "b"})
    (problem,) = refused(path)
    assert f"{path}:3" in problem
    assert f"{path}:1" in problem


def test_rows_that_ask_the_same_are_kept_apart_and_told(folder: Path) -> None:
    path = written(folder / "rows.jsonl", {"prompt": "b"}, {"prompt": "a"}, {"prompt": "b"}, {"id": "x", "prompt": "b"})
    found = load(path)
    ids = [sample.sample_id for sample in found.samples]
    assert len(set(ids)) == 4
    assert ids[2] == f"{ids[0]}-2"
    assert found.repeated == ((ids[2], ids[0]), ("x", ids[0]))
    assert "2 of 4 samples ask" in str(repeats_told("rows", found))
    assert repeats_told("rows", load(path, limit=2)) is None


def test_only_the_first_twenty_problems_are_told(folder: Path) -> None:
    path = folder / "rows.jsonl"
    written(path, *({"id": n, "text": "a"} for n in range(50)))
    problems = refused(path)
    assert len(problems) == 21
    assert problems[0] == f"{path}:1: the row lacks the field `prompt`; fields of the row: id, text"
    assert problems[-1] == "... and 30 more problems"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": 1.5, "prompt": "a"}, "`id` must be"),
        ({"id": True, "prompt": "a"}, "`id` must be"),
        ({"prompt": 5}, "`prompt` must be a text"),
        ({"prompt": ""}, "empty text"),
        ({"prompt": None}, "lacks the field `prompt`"),
        ({"messages": []}, "`messages` is empty"),
        ({"messages": "Hi"}, "not JSON"),
        ({"messages": {"role": "user"}}, "`messages` must be a list"),
        ({"messages": [{"content": "Hi"}]}, r"messages\[0\]"),
        ({"prompt": "a", "tags": [1]}, "`tags` must be"),
        ({"prompt": "a", "tools": ["x"]}, "`tools` must be a list of objects"),
        ({"prompt": "a", "response_format": []}, "`response_format` must be an object"),
    ],
)
def test_wrong_types_are_named_with_their_line(folder: Path, row: dict[str, Any], said: str) -> None:
    path = written(folder / "rows.jsonl", {"prompt": "fine"}, row)
    with pytest.raises(ConfigError, match=said) as caught:
        load(path)
    assert f"{path}:2" in caught.value.problems[0]


def test_template_faults_are_named(folder: Path) -> None:
    path = written(folder / "rows.jsonl", {"prompt": "a", "extra": {"k": 1}}, {"prompt": "b"})
    assert "dataset.prompt: template syntax error in line 2" in refused(path, prompt="{{ prompt }}\n{{ prompt")[0]
    assert "dataset.system: template syntax error" in refused(path, system="{% if %}")[0]
    (problem,) = refused(path, prompt="{{ extra.k }}")
    assert problem == f"{path}:2: the `prompt` template fails: 'extra' is undefined; fields of the row: prompt"
    assert "fails" in refused(path, prompt="{{ 1 / 0 }}")[0]
    assert "unsafe" in refused(path, prompt="{{ prompt.__class__.__mro__ }}")[0]


# Mapping and rendering


def test_fields_are_renamed_before_anything_else(folder: Path) -> None:
    path = written(folder / "rows.jsonl", {"question": "Q", "answer": 4, "prompt": "old"}, {"question": "R"})
    found = load(path, fields={"prompt": "question", "target": "answer"})
    assert texts(found) == ["Q", "R"]
    assert [s.target for s in found.samples] == [4, None]
    assert found.samples[0].fields == {"prompt": "Q", "target": 4}
    assert "no row has this field; fields of the row: question" in refused(path, fields={"prompt": "questoin"})[0]


def test_fields_can_be_swapped(folder: Path) -> None:
    path = written(folder / "rows.jsonl", {"prompt": "the answer", "target": "the question"})
    (sample,) = load(path, fields={"prompt": "target", "target": "prompt"}).samples
    assert (sample.messages[0]["content"], sample.target) == ("the question", "the answer")


def test_system_few_shot_and_prompt_make_turns_in_order(folder: Path) -> None:
    path = written(folder / "rows.jsonl", {"q": "3+3", "topic": "sums"})
    shots = [{"q": "1+1", "answer": "2"}, {"q": "2+2", "answer": 4}]
    (sample,) = load(path, prompt="Q: {{ q }}", system="You do {{ topic }}.", few_shot=shots).samples
    assert sample.messages == (
        {"role": "system", "content": "You do sums."},
        {"role": "user", "content": "Q: 1+1"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "Q: 2+2"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "Q: 3+3"},
    )
    (plain,) = load(written(folder / "p.jsonl", {"prompt": "x"}), few_shot=[{"prompt": "a", "answer": "b"}]).samples
    assert [turn["content"] for turn in plain.messages] == ["a", "b", "x"]


def test_few_shot_faults_are_named(folder: Path) -> None:
    path = written(folder / "rows.jsonl", {"q": "3+3"})
    problems = refused(
        path, prompt="{{ q }}", few_shot=[{"q": "1"}, "text", {"answer": "1"}, {"q": "1", "answer": [1]}]
    )
    for position, problem in enumerate(problems):
        assert problem.startswith(f"dataset.few_shot[{position}]")
    assert len(problems) == 4
    chat = written(folder / "chat.jsonl", {"messages": [{"role": "user", "content": "Hi"}]})
    assert "few_shot needs a `prompt`" in refused(chat, few_shot=[{"prompt": "a", "answer": "b"}])[0]


def test_messages_are_sent_as_they_are(folder: Path) -> None:
    turns = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": "x"},
    ]
    path = written(folder / "rows.jsonl", {"messages": turns})
    assert list(load(path).samples[0].messages) == turns
    assert list(load(path, system="T").samples[0].messages) == [{"role": "system", "content": "T"}, *turns]


def test_templates_write_plain_text_and_plain_json(folder: Path) -> None:
    path = written(folder / "rows.jsonl", {"prompt": "<a> & 'b'", "schema": {"k": "<é'>"}})
    assert texts(load(path, prompt="{{ prompt }} {{ schema | tojson }}")) == ['<a> & \'b\' {"k": "<é\'>"}']


def test_tools_and_response_format_of_a_row_reach_the_sample(folder: Path) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    path = written(folder / "rows.jsonl", {"prompt": "a", "tools": [tool], "response_format": {"type": "json_object"}})
    (sample,) = load(path).samples
    assert sample.tools == (tool,)
    assert sample.response_format == {"type": "json_object"}


def test_relative_paths_count_from_the_given_root(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(folder / "rows.jsonl", {"prompt": "a"})
    assert texts(load_samples(JsonLines(path="rows.jsonl"), root=folder)) == ["a"]
    monkeypatch.chdir(folder)
    assert texts(load("rows.jsonl")) == ["a"]


# Order and identity


def test_shuffle_is_seeded_and_limit_comes_after_it(folder: Path) -> None:
    path = written(folder / "rows.jsonl", *({"id": str(n), "prompt": f"p{n}"} for n in range(10)))
    order = [s.sample_id for s in load(path, shuffle=True, sample_seed=5).samples]
    # Known answer: this order must never change, or old runs cannot be repeated.
    assert order == ["3", "2", "1", "0", "5", "4", "7", "8", "9", "6"]
    cut = load(path, shuffle=True, sample_seed=5, limit=3)
    assert [s.sample_id for s in cut.samples] == order[:3]
    assert cut.rows_total == 10
    assert [s.sample_id for s in load(path, limit=3).samples] == ["0", "1", "2"]
    assert len(load(path, limit=99).samples) == 10


def test_shuffling_takes_every_row_once_and_every_place_alike(folder: Path) -> None:
    path = written(folder / "rows.jsonl", *({"id": str(n), "prompt": f"p{n}"} for n in range(5)))
    firsts = []
    for seed in range(200):
        order = [s.sample_id for s in load(path, shuffle=True, sample_seed=seed).samples]
        assert sorted(order) == list("01234")
        firsts.append(order[0])
    assert all(20 <= firsts.count(name) <= 60 for name in "01234")


def test_a_row_without_id_is_known_by_its_content(folder: Path) -> None:
    one = load(written(folder / "a.jsonl", {"prompt": "x", "target": 1}, {"prompt": "y"}))
    two = load(written(folder / "b.jsonl", {"prompt": "y"}, {"target": 1, "prompt": "x"}))
    assert [s.sample_id for s in one.samples] == [s.sample_id for s in reversed(two.samples)]


def test_the_content_hash_follows_everything_that_shapes_questions_and_targets(folder: Path) -> None:
    path = written(folder / "a.jsonl", {"id": "1", "prompt": "x", "target": 1}, {"id": "2", "prompt": "y", "target": 2})
    base: Dataset = build("dataset", {"kind": "jsonl", "path": path})
    same = written(
        folder / "elsewhere.jsonl", {"target": 1, "prompt": "x", "id": "1"}, {"id": "2", "prompt": "y", "target": 2}
    )
    assert load_samples(replace(base, path=same, name="other")).content_hash == load_samples(base).content_hash
    other_target = written(
        folder / "b.jsonl", {"id": "1", "prompt": "x", "target": 1}, {"id": "2", "prompt": "y", "target": 3}
    )
    changed = [
        replace(base, prompt="Q {{ prompt }}"),
        replace(base, system="S"),
        replace(base, few_shot=[{"prompt": "a", "answer": "b"}]),
        replace(base, limit=1),
        replace(base, path=other_target),
    ]
    hashes = {load_samples(one).content_hash for one in [base, *changed]}
    assert len(hashes) == len(changed) + 1


@given(rows=st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=4), min_size=1, max_size=6))
def test_any_rows_either_load_or_are_refused_in_words(
    rows: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    try:
        found = load(path)
    except ConfigError:
        assert any(not row.get("prompt") for row in rows) or len(
            {json.dumps(row, sort_keys=True) for row in rows}
        ) < len(rows)
    else:
        assert texts(found) == [row["prompt"] for row in rows] or any("messages" in row for row in rows)
