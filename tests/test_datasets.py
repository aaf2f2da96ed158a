"""The shipped prompt sets are sound, and every scorer agrees with their reference and flawed replies."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.datasets import Dataset
from bench.datasets.needle import Needle
from bench.domain import Choice, ConfigError, JsonObject, Label, Sample
from bench.places import shipped
from bench.registry import build, discover
from bench.samples import load_samples
from bench.scorers.several import named_scorer
from bench.show.datasets import main

discover()

SETS = ("arithmetic", "choice", "instructions", "extraction", "tools", "chinese")
MADE = ("arithmetic", "extraction", "tools")


def preset(name: str) -> Dataset:
    config = yaml.safe_load((shipped("conf") / "dataset" / f"{name}.yaml").read_text(encoding="utf-8"))
    kind = config.pop("defaults")[0]
    dataset: Dataset = build("dataset", {"kind": kind, **config})
    return dataset


def raw_rows(name: str) -> list[JsonObject]:
    text = (shipped("datasets") / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def choice_of(reply: Any) -> Choice:
    """A reply as a server would return it: text, or OpenAI-shaped tool calls."""
    if isinstance(reply, str):
        return Choice(index=0, text=reply, finish_reason="stop")
    calls = tuple(
        {
            "id": f"call_{n}",
            "type": "function",
            "function": {"name": c["name"], "arguments": json.dumps(c["arguments"])},
        }
        for n, c in enumerate(reply)
    )
    return Choice(index=0, tool_calls=calls, finish_reason="tool_calls")


def samples_of(name: str) -> tuple[Dataset, tuple[Sample, ...]]:
    dataset = Needle(rows_wanted=15) if name == "needle" else preset(name)
    return dataset, load_samples(dataset).samples


@pytest.mark.parametrize("name", [*SETS, "needle"])
def test_every_reference_is_correct_and_no_flawed_reply_is(name: str) -> None:
    dataset, samples = samples_of(name)
    scorer = named_scorer(dataset.scorer or "none")
    for sample in samples:
        right = scorer.score(sample, choice_of(sample.fields["reference"]))
        wrong = scorer.score(sample, choice_of(sample.fields["flawed"]))
        assert (right.label, right.value) == (Label.CORRECT, 1.0), (sample.place, right)
        assert wrong.label in (Label.WRONG, Label.PARTIAL, Label.UNPARSED), (sample.place, wrong)
        assert wrong.value is not None
        assert wrong.value < 1.0


@pytest.mark.parametrize("name", SETS)
def test_sets_are_large_enough_and_licensed(name: str) -> None:
    dataset = preset(name)
    assert dataset.name == name
    assert dataset.licence == "Apache-2.0"
    assert dataset.description
    rows = raw_rows(name)
    assert len(rows) >= 60
    for row in rows:
        assert {"id", "prompt", "target", "tags", "reference", "flawed"} <= set(row), row["id"]


def test_ids_and_prompts_are_unique_and_no_prompt_contains_another() -> None:
    rows = [row for name in SETS for row in raw_rows(name)]
    ids = Counter(row["id"] for row in rows)
    assert max(ids.values()) == 1
    prompts = [row["prompt"] for row in rows]
    assert len(set(prompts)) == len(prompts)
    inside = [(a, b) for a in prompts for b in prompts if a is not b and a in b]
    assert inside == []


@pytest.mark.parametrize("name", SETS)
def test_rendered_messages_hold_the_prompt_and_hide_the_answer_fields(name: str) -> None:
    _, samples = samples_of(name)
    for sample in samples:
        text = sample.messages[-1]["content"]
        assert sample.fields["prompt"] in text
        reference = sample.fields["reference"]
        assert not (isinstance(reference, str) and len(reference) > 12 and reference in text), sample.place


def test_right_letters_are_balanced() -> None:
    letters = Counter(row["target"] for row in raw_rows("choice"))
    assert set(letters) == set("ABCD")
    assert len(set(letters.values())) == 1
    for row in [*raw_rows("choice"), *(row for row in raw_rows("chinese") if "options" in row)]:
        assert len(set(row["options"])) == 4
        assert row["target"] in "ABCD"


def test_extraction_schemas_are_valid_and_fit_their_targets() -> None:
    from jsonschema import Draft202012Validator

    for row in raw_rows("extraction"):
        Draft202012Validator.check_schema(row["schema"])
        Draft202012Validator(row["schema"]).validate(row["target"])
        assert json.loads(row["reference"]) == row["target"]
        assert row["response_format"] == {"type": "json_object"}


def test_tool_rows_offer_what_they_expect() -> None:
    from jsonschema import Draft202012Validator

    rows = raw_rows("tools")
    assert sum(row["target"] == [] for row in rows) >= 10
    assert sum(len(row["target"]) > 1 for row in rows) >= 10
    for row in rows:
        offered = {tool["function"]["name"]: tool["function"]["parameters"] for tool in row["tools"]}
        assert 1 <= len(row["tools"]) <= 4
        for call in [*row["target"], *(row["flawed"] if isinstance(row["flawed"], list) else [])]:
            Draft202012Validator(offered[call["name"]]).validate(call["arguments"])


@pytest.mark.parametrize("name", MADE)
def test_generated_files_are_what_their_scripts_write(name: str, tmp_path: Path) -> None:
    for script in shipped("datasets").glob("*.py"):
        (tmp_path / script.name).write_text(script.read_text(encoding="utf-8"), encoding="utf-8")
    subprocess.run([sys.executable, str(tmp_path / f"make_{name}.py")], check=True, timeout=60)
    assert (tmp_path / f"{name}.jsonl").read_bytes() == (shipped("datasets") / f"{name}.jsonl").read_bytes()


def test_needle_stands_at_its_depth_in_a_context_of_its_length() -> None:
    for sample in load_samples(Needle(rows_wanted=15, context_tokens=[200, 1000], depths=[0.0, 0.5, 1.0])).samples:
        text = sample.messages[0]["content"]
        context, question = text.rsplit("\n\n", 1)
        needle = context.index("The magic number of ")
        assert context.count("The magic number of ") == 1
        assert str(sample.target) in context
        assert question.endswith("Answer with the number only.")
        assert sample.fields["context_tokens"] * 4 <= len(context) <= sample.fields["context_tokens"] * 4 + 250
        end = context.index(".", needle) + 1
        assert abs(needle / (len(context) - (end - needle)) - sample.fields["depth"]) < 0.15


def test_needle_rows_depend_on_their_parameters_alone() -> None:
    once, again = load_samples(Needle(rows_wanted=6)), load_samples(Needle(rows_wanted=6))
    assert once == again
    assert load_samples(Needle(rows_wanted=6, seed=1)).content_hash != once.content_hash


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rows_wanted": 0}, "rows_wanted=0"),
        ({"context_tokens": []}, "context_tokens"),
        ({"depths": [1.5]}, "depths"),
        ({"path": __file__}, "leave it null"),
    ],
)
def test_needle_refuses_senseless_parameters(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_samples(build("dataset", {"kind": "needle", **wrong}))


# bench datasets


def test_the_table_lists_every_set_with_rows_licence_and_hash(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    listed = {row["dataset"]: row for row in json.loads(capsys.readouterr().out)}
    assert {*SETS, "needle"} <= set(listed)
    for name in SETS:
        assert listed[name]["rows"] == len(raw_rows(name))
        assert listed[name]["licence"] == "Apache-2.0"
        assert load_samples(preset(name)).content_hash.startswith(listed[name]["hash"])
    assert main([]) == 0
    table = capsys.readouterr().out
    assert all(listed[name]["hash"] in table for name in SETS)


def test_sample_rows_are_shown_as_sent(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choice", "--rows", "2"]) == 0
    shown = capsys.readouterr().out
    assert "A. Carbon dioxide" in shown
    assert shown.count("target: ") == 2
    assert main(["needle", "--rows", "1"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) < 250


def test_an_unknown_dataset_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(ConfigError, match="choice"):
        main(["choise"])


def test_own_presets_extend_the_list_and_a_broken_one_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "conf" / "dataset"
    own.mkdir(parents=True)
    (tmp_path / "mine.jsonl").write_text('{"prompt": "Hi \\u001b[31m\\nthere", "target": "x"}\n', encoding="utf-8")
    (own / "mine.yaml").write_text("defaults: [jsonl, _self_]\nname: mine\npath: mine.jsonl\nscorer: exact\n")
    (own / "short.yaml").write_text("defaults: [choice, _self_]\nlimit: 5\n")
    (own / "gone.yaml").write_text("kind: jsonl\npath: gone.jsonl\n")
    (own / "odd.yaml").write_text("defaults: [odd]\n")
    (own / "typo.yaml").write_text("kind: jsonl\npaht: mine.jsonl\n")
    monkeypatch.chdir(tmp_path)
    assert main(["--json"]) == 0
    listed = {row["dataset"]: row for row in json.loads(capsys.readouterr().out)}
    assert (listed["mine"]["rows"], listed["mine"]["scorer"]) == (1, "exact")
    assert listed["short"]["rows"] == len(raw_rows("choice"))
    for name, said in (("gone", "gone.jsonl"), ("odd", "no other dataset"), ("typo", "did you mean path")):
        assert said in listed[name]["description"]
    assert main(["mine"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "Hi \\x1b[31m" in shown
    with pytest.raises(ConfigError, match=r"gone\.jsonl"):
        main(["gone"])
