"""The presets of published sets, read from the published files where those are at hand."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.datasets import Dataset
from bench.datasets.published import Published
from bench.domain import Choice, Label, Sample
from bench.places import shipped
from bench.registry import build, discover
from bench.samples import SampleSet, load_samples
from bench.scorers.several import named_scorer
from bench.show.datasets import dataset_settings

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PRESETS = sorted(path.stem for path in (shipped("conf") / "dataset").glob("*.yaml"))

discover()


@cache
def _settings(name: str) -> dict[str, Any]:
    return dataset_settings(name)


def preset(name: str, **changes: Any) -> Dataset:
    made: Dataset = build("dataset", {**_settings(name), **changes})
    return made


def loaded(name: str, file: str, **changes: Any) -> SampleSet:
    path = DATA / file
    if not path.exists():
        pytest.skip(f"the published file {file} is not at hand")
    return load_samples(preset(name, path=str(path), **changes))


def last(found: SampleSet, index: int = 0) -> str:
    return str(found.samples[index].messages[-1]["content"])


@pytest.mark.parametrize(
    ("name", "file", "rows"),
    [
        ("gsm8k", "gsm8k/test.jsonl", 1319),
        ("math500", "math500/test.jsonl", 500),
        ("arc", "arc/arc_challenge_test.jsonl", 1172),
        ("truthfulqa", "truthfulqa/TruthfulQA.csv", 790),
        ("truthfulqa_mc1", "truthfulqa/mc_task.json", 790),
        ("bbh", "bbh/boolean_expressions.json", 250),
        ("bbh", "bbh/causal_judgement.json", 187),
        ("bbh", "bbh/date_understanding.json", 250),
        ("bbh", "bbh/movie_recommendation.json", 250),
        ("bbh", "bbh/multistep_arithmetic_two.json", 250),
        ("bbh", "bbh/object_counting.json", 250),
        ("bbh", "bbh/sports_understanding.json", 250),
        ("bbh", "bbh/web_of_lies.json", 250),
        ("bbh", "bbh/word_sorting.json", 250),
        ("mgsm", "mgsm/mgsm_en.tsv", 250),
        ("mgsm", "mgsm/mgsm_es.tsv", 250),
        ("mgsm", "mgsm/mgsm_fr.tsv", 250),
        ("mgsm", "mgsm/mgsm_ja.tsv", 250),
        ("mgsm", "mgsm/mgsm_zh.tsv", 250),
        ("simpleqa", "simpleqa/simple_qa_rows0-1999.csv.gz", 2000),
        ("humaneval", "humaneval/HumanEval.jsonl.gz", 164),
        ("humaneval", "humaneval/example_problem.jsonl", 1),
        ("mbpp", "mbpp/mbpp.jsonl", 974),
        ("mbpp_test", "mbpp/mbpp.jsonl", 500),
        ("ifeval", "ifeval/input_data.jsonl", 541),
        ("cruxeval_output", "cruxeval/cruxeval.jsonl", 800),
        ("cruxeval_input", "cruxeval/cruxeval.jsonl", 800),
        ("bfcl", "bfcl/BFCL_v4_simple_python.json", 400),
        ("bfcl", "bfcl/BFCL_v4_multiple.json", 200),
        ("bfcl", "bfcl/BFCL_v4_irrelevance.json", 240),
        ("agieval", "agieval/gaokao-history.jsonl", 235),
        ("agieval", "agieval/aqua-rat.jsonl", 254),
        ("drop", "drop/drop_fixture.json", 19),
        ("kv_retrieval", "needle/kv-retrieval-75_keys_rows0-99.jsonl.gz", 100),
    ],
)
def test_every_row_has_a_prompt_and_a_target(name: str, file: str, rows: int) -> None:
    found = loaded(name, file)
    assert len(found.samples) == rows
    assert all(sample.target is not None for sample in found.samples)
    assert all(sample.messages[-1]["role"] == "user" and sample.messages[-1]["content"] for sample in found.samples)


@pytest.mark.parametrize(
    ("name", "file", "rows"),
    [("mt_bench", "mtbench/question.jsonl", 80), ("arena_hard", "arena_hard/question_v0.1.jsonl", 500)],
)
def test_rows_for_judges_have_prompts_and_no_target(name: str, file: str, rows: int) -> None:
    found = loaded(name, file)
    assert len(found.samples) == rows
    assert all(sample.target is None and sample.messages[0]["content"] for sample in found.samples)


def test_mmlu_asks_after_five_examples_of_the_subject() -> None:
    found = loaded("mmlu", "mmlu/mmlu_dev_val.tar.gz", variant="val")
    assert len(found.samples) == 1816 - 57 * 5
    assert Counter(sample.target for sample in found.samples).keys() == set("ABCD")
    subjects = {tag for sample in found.samples for tag in sample.tags}
    assert len(subjects) == 57
    for sample in found.samples[::100]:
        text = str(sample.messages[-1]["content"])
        assert len(sample.messages) == 1
        assert text.count("The answer is (") == 6  # once in the instruction
        assert text.endswith(f"(D) {sample.fields['D']}")
    # a question of the validation split is one of the examples, too: it gets the other four
    counts = Counter(str(sample.messages[-1]["content"]).count("The answer is (") for sample in found.samples)
    assert counts == {6: len(found.samples) - 1, 5: 1}
    first = found.samples[0]
    assert first.tags == ("subject=abstract_algebra",)
    assert first.fields["question"] not in last(found).rsplit("\n\n", 1)[0]


def test_an_example_never_asks_the_row_itself() -> None:
    found = loaded("gsm8k", "gsm8k/test.jsonl", limit=30, few_shot={"count": 4, "answer": "{{ target }}"})
    for sample in found.samples:
        texts = [turn["content"] for turn in sample.messages if turn["role"] == "user"]
        assert len(texts) == len(set(texts)) == 5
        assert [turn["role"] for turn in sample.messages[:2]] == ["user", "assistant"]
    seeded = {"count": 4, "seed": 3, "answer": "{{ target }}"}
    one, other = (
        loaded("gsm8k", "gsm8k/test.jsonl", limit=3, few_shot={**seeded, "seed": seed}).content_hash for seed in (3, 4)
    )
    assert one != other
    assert one == loaded("gsm8k", "gsm8k/test.jsonl", limit=3, few_shot=seeded).content_hash


def test_truthfulqa_options_are_spread_over_the_letters() -> None:
    found = loaded("truthfulqa_mc1", "truthfulqa/mc_task.json")
    letters = Counter(sample.target for sample in found.samples)
    assert letters["A"] < 300
    for sample in found.samples:
        right = sample.fields["options"]["ABCDEFGHIJKLMNOPQRSTUVWXYZ".index(str(sample.target))]
        assert sample.fields["mc1_targets"][right] == 1
        assert sorted(sample.fields["options"]) == sorted(sample.fields["mc1_targets"])


def test_arc_reads_the_authors_own_rows_too(tmp_path: Path) -> None:
    choices = [{"text": "ice", "label": "1"}, {"text": "steam", "label": "2"}]
    row = {"id": "x", "question": {"stem": "What is frozen?", "choices": choices}, "answerKey": "1"}
    (tmp_path / "arc.jsonl").write_text(json.dumps(row), encoding="utf-8")
    (sample,) = load_samples(preset("arc", path=str(tmp_path / "arc.jsonl"))).samples
    assert (sample.target, sample.fields["options"]) == ("A", ["ice", "steam"])
    assert "A. ice\nB. steam" in str(sample.messages[0]["content"])


def test_mmlu_pro_takes_worked_examples_of_the_category(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def row(number: int, category: str) -> dict[str, Any]:
        work = f"A: Let's think step by step. The answer is ({'AB'[number % 2]})."
        return {
            "question_id": number,
            "question": f"Q{number}?",
            "options": [f"o{number}", f"p{number}"],
            "answer": "AB"[number % 2],
            "cot_content": work,
            "category": category,
        }

    rows = [row(number, "law" if number < 6 else "math") for number in range(12)]
    pq.write_table(pa.Table.from_pylist(rows[1:6] + rows[7:]), tmp_path / "validation.parquet")
    pq.write_table(pa.Table.from_pylist([rows[0], rows[6]]), tmp_path / "test.parquet")
    shots = {**_settings("mmlu_pro")["few_shot"], "path": str(tmp_path / "validation.parquet")}
    found = load_samples(preset("mmlu_pro", path=str(tmp_path / "test.parquet"), few_shot=shots))
    law = last(found)
    assert [f"Question: Q{number}?" in law for number in range(7)] == [True] * 6 + [False]
    assert law.endswith("Question: Q0?\nA. o0\nB. p0")
    assert "Answer: Let's think" in law


def test_bfcl_tools_are_json_schema_and_answers_are_joined() -> None:
    found = loaded("bfcl", "bfcl/BFCL_v4_multiple.json")
    sample = found.samples[0]
    assert sample.tools is not None
    function = sample.tools[0]["function"]
    assert function["name"] == "triangle_properties_get"
    assert function["parameters"]["type"] == "object"
    assert list(sample.target[0]) == ["triangle_properties.get"]
    assert sample.fields["function"][0]["name"] == "triangle_properties.get"
    types = {kind for one in found.samples for kind in _types(one.tools)}
    assert types <= {"object", "array", "string", "number", "integer", "boolean", "function"}
    none = loaded("bfcl", "bfcl/BFCL_v4_irrelevance.json")
    assert {json.dumps(one.target) for one in none.samples} == {"[]"}


def _types(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["type"]] if isinstance(value.get("type"), str) else []
        return own + [kind for item in value.values() for kind in _types(item)]
    return [kind for item in value for kind in _types(item)] if isinstance(value, list | tuple) else []


def test_bbh_with_the_authors_examples_and_without_their_canary() -> None:
    found = loaded(
        "bbh_cot",
        "bbh/word_sorting.json",
        preamble={"path": str(DATA / "bbh" / "cot-prompts.tar.gz"), "member": "{task}.txt"},
    )
    assert len(found.samples) == 250
    assert "canary" not in last(found)
    assert last(found).count("\nQ: ") == 4
    assert last(found).endswith("A: Let's think step by step.")
    assert found.samples[0].tags == ("task=word_sorting",)


def test_the_second_turn_of_mt_bench_follows_the_reference_answer(tmp_path: Path) -> None:
    found = loaded(
        "mt_bench_turn2",
        "mtbench/reference_answer_gpt-4.jsonl",
        join={"path": str(DATA / "mtbench" / "question.jsonl"), "by": "question_id"},
    )
    assert len(found.samples) == 30
    assert all([turn["role"] for turn in one.messages] == ["user", "assistant", "user"] for one in found.samples)
    assert all(one.fields["reference_answer"] for one in found.samples)


def test_drop_rows_know_their_passage_and_every_accepted_answer() -> None:
    found = loaded("drop", "drop/drop_fixture.json")
    sample = found.samples[0]
    assert last(found).startswith(str(sample.fields["passage"])[:40])
    assert sample.target[0]["spans"] == ["sixth terminal"]
    assert all(isinstance(one.target, list) for one in found.samples)


def test_a_key_to_find_is_in_its_context_once() -> None:
    found = loaded("kv_retrieval", "needle/kv-retrieval-75_keys_rows0-99.jsonl.gz")
    for sample in found.samples:
        shown, _, question = str(sample.messages[0]["content"]).rpartition("\n\n")
        assert json.loads(shown)[sample.fields["key"]] == sample.target
        assert sample.fields["key"] in question


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_whose_it_is_and_where_from(name: str) -> None:
    settings = _settings(name)
    dataset = preset(name)
    assert dataset.licence
    assert dataset.description
    assert len(dataset.description) <= 125
    if not isinstance(dataset, Published) or dataset.url is None:
        return
    assert dataset.citation
    assert settings["name"] == name
    assert yaml.safe_load((shipped("conf") / "dataset" / f"{name}.yaml").read_bytes())["name"] == name
    addresses = dataset.addresses()
    assert addresses
    for url, sha256 in addresses:
        assert url.startswith("https://")
        assert "{" not in url
        assert sha256 is None or len(bytes.fromhex(sha256)) == hashlib.sha256().digest_size


def gold(sample: Sample, name: str) -> str:
    """A right reply in the form that the prompt asks for."""
    target = sample.target
    words = {"mgsm": f"{sample.fields.get('last_line')}: {target}", "bbh": f"So the answer is {target}."}
    if name in ("mmlu", "mmlu_pro"):
        return f"Let us see. The answer is ({target})."
    if name in ("arc", "agieval", "truthfulqa_mc1"):
        return f"Let us see.\nAnswer: {target}"
    if name == "drop":
        answer = target[0]
        date = " ".join(answer["date"].get(part, "") for part in ("day", "month", "year")).strip()
        return f"Answer: {json.dumps(answer['spans']) if answer['spans'] else answer['number'] or date}"
    return {**words, "math500": f"So it is $\\boxed{{{target}}}$."}.get(name, str(target))


@pytest.mark.parametrize(
    ("name", "file", "changes"),
    [
        ("gsm8k", "gsm8k/test.jsonl", {}),
        ("math500", "math500/test.jsonl", {"limit": 40, "shuffle": True}),
        ("mmlu", "mmlu/mmlu_dev_val.tar.gz", {"variant": "val", "few_shot": None}),
        ("arc", "arc/arc_challenge_test.jsonl", {}),
        ("truthfulqa_mc1", "truthfulqa/mc_task.json", {}),
        ("bbh", "bbh/word_sorting.json", {}),
        ("bbh", "bbh/date_understanding.json", {}),
        ("bbh", "bbh/sports_understanding.json", {}),
        ("mgsm", "mgsm/mgsm_fr.tsv", {}),
        ("mgsm", "mgsm/mgsm_ja.tsv", {}),
        ("agieval", "agieval/gaokao-history.jsonl", {}),
        ("agieval", "agieval/aqua-rat.jsonl", {}),
        ("drop", "drop/drop_fixture.json", {}),
        ("kv_retrieval", "needle/kv-retrieval-75_keys_rows0-99.jsonl.gz", {}),
    ],
)
def test_the_form_asked_for_is_the_form_that_the_scorer_reads(name: str, file: str, changes: dict[str, Any]) -> None:
    found = loaded(name, file, **changes)
    scorer = named_scorer(preset(name).scorer)
    wrong = [
        (sample.sample_id, score.label, score.extracted)
        for sample in found.samples
        if (score := scorer.score(sample, Choice(0, gold(sample, name), finish_reason="stop"))).label != Label.CORRECT
    ]
    assert wrong == []
