"""Where rows come from (lists, globs, archives, variants, files beside files) and what becomes of them."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.domain import ConfigError
from bench.registry import build, discover
from bench.samples import SampleSet, load_samples

discover()


def load(path: Any, kind: str = "jsonl", **options: Any) -> SampleSet:
    given_path = [str(one) for one in path] if isinstance(path, list) else str(path)
    return load_samples(build("dataset", {"kind": kind, "path": given_path, **options}))


def refused(path: Any, kind: str = "jsonl", **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, kind, **options)
    return "\n".join(caught.value.problems)


def prompts(found: SampleSet) -> list[str]:
    return [str(sample.messages[-1]["content"]) for sample in found.samples]


def written(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def archived(path: Path, members: dict[str, str]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as made:
            for name, text in members.items():
                made.writestr(name, text)
        return path
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


# Places


def test_lists_and_globs_of_files_are_read_in_order(tmp_path: Path) -> None:
    for name in "cab":
        written(tmp_path / f"{name}.jsonl", {"prompt": name})
    assert prompts(load(tmp_path / "*.jsonl")) == ["a", "b", "c"]
    assert prompts(load([tmp_path / "c.jsonl", tmp_path / "[ab].jsonl"])) == ["c", "a", "b"]
    assert "no file has such a name" in refused(tmp_path / "*.csv")
    assert "no such file" in refused([tmp_path / "a.jsonl", tmp_path / "d.jsonl"])


def test_a_file_whose_name_looks_like_a_glob_is_itself(tmp_path: Path) -> None:
    written(tmp_path / "a[1].jsonl", {"prompt": "itself"})
    assert prompts(load(tmp_path / "a[1].jsonl")) == ["itself"]


@pytest.mark.parametrize("name", ["all.tar", "all.tar.gz", "all.tgz", "all.zip"])
def test_members_of_archives_are_chosen_by_glob(tmp_path: Path, name: str) -> None:
    members = {
        "data/test/law_test.csv": "Q1,x,A\n",
        "data/test/._law_test.csv": "junk",
        "data/dev/law_dev.csv": "Q2,x,B\n",
        "data/test/art_test.csv": "Q3,x,C\n",
    }
    path = archived(tmp_path / name, members)
    options = {
        "columns": ["prompt", "x", "target"],
        "path_fields": r"^(?P<subject>\w+)_(?:test|dev)",
        "tags": ["subject"],
    }
    found = load(path, "csv", member="*{variant}/*.csv", variants=["test", "dev"], variant="test", **options)
    assert [(one.fields["prompt"], one.tags) for one in found.samples] == [
        ("Q1", ("subject=law",)),
        ("Q3", ("subject=art",)),
    ]
    assert found.samples[0].place == f"{path}:data/test/law_test.csv:1"
    both = load(path, "csv", member="*{variant}/*.csv", variants=["test", "dev"], variant="all", **options)
    assert len(both.samples) == 3
    assert "no member *.parquet" in refused(path, "csv", member="*.parquet", **options)


@pytest.mark.parametrize("name", ["all.tar", "all.tar.gz", "all.zip"])
def test_damaged_archives_are_told(tmp_path: Path, name: str) -> None:
    path = archived(tmp_path / name, {"a.jsonl": '{"prompt": "a"}\n' * 3000, "b.jsonl": '{"prompt": "b"}\n' * 3000})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert str(path) in refused(path)
    path.write_bytes(b"neither tar nor zip")
    assert str(path) in refused(path)


@settings(max_examples=40)
@given(data=st.binary(max_size=400), name=st.sampled_from(["any.tar", "any.tar.gz", "any.zip", "any.json"]))
def test_any_archive_is_read_or_refused(data: bytes, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    for kind in ("json", "csv"):
        with contextlib.suppress(ConfigError):
            assert load(path, kind).samples


def test_variants_are_one_several_or_all(tmp_path: Path) -> None:
    for name in ("en", "fr"):
        written(tmp_path / f"set_{name}.jsonl", {"prompt": name})
    options: dict[str, Any] = {"variants": ["en", "fr"]}
    path = tmp_path / "set_{variant}.jsonl"
    assert prompts(load(path, variant="fr", **options)) == ["fr"]
    assert prompts(load(path, variant=["fr", "en"], **options)) == ["fr", "en"]
    assert prompts(load(path, variant="all", **options)) == ["en", "fr"]
    assert "did you mean fr" in refused(path, variant="fra", **options)


def test_rows_are_joined_with_the_file_beside_theirs(tmp_path: Path) -> None:
    written(tmp_path / "one.jsonl", {"key": 1, "prompt": "a"}, {"key": 2, "prompt": "b"})
    written(tmp_path / "answers" / "one.jsonl", {"key": 2, "target": "B"}, {"key": 1, "target": "A"})
    join = {"path": "{folder}/answers/{file}", "by": "key"}
    assert [one.target for one in load(tmp_path / "one.jsonl", join=join).samples] == ["A", "B"]
    written(tmp_path / "answers" / "one.jsonl", {"key": 2, "target": "B"}, {"target": "A"})
    said = refused(tmp_path / "one.jsonl", join=join)
    assert "lacks the field `key`" in said
    written(tmp_path / "answers" / "one.jsonl", {"key": 2, "target": "B"})
    assert "no row with `key` 1" in refused(tmp_path / "one.jsonl", join=join)
    assert [one.target for one in load(tmp_path / "one.jsonl", join={**join, "skip": "o*"}).samples] == [None, None]
    assert "there is no key 'pth'" in refused(tmp_path / "one.jsonl", join={"pth": "x"})


def test_a_text_beside_a_file_becomes_a_field(tmp_path: Path) -> None:
    written(tmp_path / "sums.jsonl", {"q": "1 + 1"})
    (tmp_path / "sums.txt").write_text("Add up.", encoding="utf-8")
    options: dict[str, Any] = {"path_fields": r"^(?P<task>\w+)\.", "prompt": "{{ preamble }} {{ q }}"}
    found = load(tmp_path / "sums.jsonl", preamble={"path": "{folder}/{task}.txt"}, **options)
    assert prompts(found) == ["Add up. 1 + 1"]
    (tmp_path / "sums.txt").write_bytes(b"\xff")
    assert "not UTF-8" in refused(tmp_path / "sums.jsonl", preamble={"path": "{folder}/{task}.txt"}, **options)


# Formats


def test_json_rows_are_found_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[{"prompt": "a"}, {"prompt": "b"}]', encoding="utf-8")
    assert prompts(load(path, "json")) == ["a", "b"]
    path.write_text('{"v": 1, "examples": [{"prompt": "a"}]}', encoding="utf-8")
    assert load(path, "json", rows_at="examples").samples[0].fields["v"] == 1
    nested = {
        "p1": {"passage": "P", "qa": [{"prompt": "a"}, {"prompt": "b"}]},
        "p2": {"passage": "R", "qa": [{"prompt": "c"}]},
    }
    path.write_text(json.dumps(nested), encoding="utf-8")
    found = load(path, "json", rows_at="*.qa")
    assert [(one.fields["passage"], one.fields["prompt"]) for one in found.samples] == [
        ("P", "a"),
        ("P", "b"),
        ("R", "c"),
    ]
    assert found.samples[2].place == f"{path}:3"
    assert "an object, not a list" in refused(path, "json")
    assert "null, not a list" in refused(path, "json", rows_at="*.none")
    path.write_text("[1]", encoding="utf-8")
    assert f"{path}:1: a row must be an object" in refused(path, "json")


def test_columns_name_what_a_file_without_header_holds(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text('He said "5\t6\nThe "rest"\t7\n', encoding="utf-8")
    found = load(path, "csv", delimiter="\t", columns=["prompt", "target"], quoted=False)
    assert [(one.fields["prompt"], one.target) for one in found.samples] == [('He said "5', "6"), ('The "rest"', "7")]
    assert "names 3 columns" in refused(path, "csv", delimiter="\t", columns=["a", "b", "c"], quoted=False)


# Fields


def test_fields_reach_into_nested_values(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", {"q": {"text": ["x", "y"]}, "a.b": 1}, {"q": {"text": ["z"]}, "a.b": 2})
    found = load(path, fields={"prompt": "q.text.0", "second": "q.text.1", "dotted": "a.b"})
    assert prompts(found) == ["x", "z"]
    assert [one.fields.get("second") for one in found.samples] == ["y", None]
    assert [one.fields["dotted"] for one in found.samples] == [1, 2]
    assert "no row has this field" in refused(path, fields={"prompt": "q.words"})


def test_derived_fields_are_values_of_any_type(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", {"prompt": "p", "a": 1, "b": [3, 4]})
    derive = {"sum": "a + b[0]", "twice": "[sum, sum]", "target": "b | map('string') | list"}
    (sample,) = load(path, derive=derive).samples
    assert (sample.fields["sum"], sample.fields["twice"], sample.target) == (4, [4, 4], ["3", "4"])
    assert "'c' is undefined" in refused(path, derive={"target": "[a, c]"})
    assert "syntax error" in refused(path, derive={"target": "a +"})
    assert f"{path}:1: the `derive.target` template fails" in refused(path, derive={"target": "a.__class__.mro()"})
    assert "TypeError" in refused(path, derive={"target": "range"})


def test_rows_are_kept_by_an_expression(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", *({"prompt": str(n), "n": n} for n in range(10)))
    assert prompts(load(path, where="2 <= n < 5")) == ["2", "3", "4"]
    assert "true for none of 10 rows" in refused(path, where="n > 10")
    assert "undefined" in refused(path, where="m > 10")
    assert "syntax error" in refused(path, where="n >")


def test_a_limit_is_spread_over_a_field(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", *({"prompt": str(n), "kind": "ab"[n >= 9]} for n in range(12)))
    found = load(path, stratify="kind", limit=6, tags=["kind"])
    assert Counter(tag for one in found.samples for tag in one.tags) == {"kind=a": 3, "kind=b": 3}
    assert prompts(found) == ["0", "9", "1", "10", "2", "11"]
    shuffled = load(path, stratify="kind", limit=6, shuffle=True, sample_seed=1)
    assert Counter(one.fields["kind"] for one in shuffled.samples) == {"a": 3, "b": 3}
    assert "lacks the field `sort`" in refused(path, stratify="sort")


@settings(max_examples=40)
@given(
    texts=st.lists(st.text(min_size=1, max_size=5), min_size=2, max_size=8, unique=True),
    right=st.integers(0, 7),
    seed=st.integers(0, 3),
    form=st.sampled_from(["letter", "number", "text"]),
)
def test_shuffled_options_keep_the_right_one(
    texts: list[str], right: int, seed: int, form: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    right %= len(texts)
    target = {"letter": "ABCDEFGH"[right], "number": right, "text": texts[right]}[form]
    if form == "letter" and target in texts:
        return  # a text that is a letter means itself
    path = written(
        tmp_path_factory.getbasetemp() / "options.jsonl", {"prompt": "p", "options": texts, "target": target}
    )
    (sample,) = load(path, shuffle_options=True, sample_seed=seed).samples
    assert sorted(sample.fields["options"]) == sorted(texts)
    assert sample.fields["options"]["ABCDEFGH".index(str(sample.target))] == texts[right]


def test_options_that_cannot_be_shuffled_are_told(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", {"prompt": "p", "options": ["a", "b"], "target": "z"})
    assert "no letter, number or text" in refused(path, shuffle_options=True)
    path = written(tmp_path / "rows.jsonl", {"prompt": "p", "options": "ab", "target": "A"})
    assert "list of 2 to 26" in refused(path, shuffle_options=True)


# Few-shot


def pool(folder: Path) -> Path:
    rows = ({"question": f"q{n}", "answer": f"a{n}", "kind": "xy"[n % 2]} for n in range(8))
    return written(folder / "pool.jsonl", *rows)


def test_examples_come_from_a_file_by_group_and_seed(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", {"question": "q2", "kind": "x"}, {"question": "new", "kind": "y"})
    few = {"path": str(pool(tmp_path)), "count": 2, "per": "kind", "answer": "= {{ answer }}"}
    first, second = load(path, prompt="{{ question }}", few_shot=few).samples
    assert [turn["content"] for turn in first.messages] == ["q0", "= a0", "q4", "= a4", "q2"]
    assert [turn["content"] for turn in second.messages] == ["q1", "= a1", "q3", "= a3", "new"]
    written_out = load(
        path, prompt="{% for s in shots %}{{ s.question }}{{ s.answer }} {% endfor %}{{ question }}", few_shot=few
    )
    assert prompts(written_out) == ["q0= a0 q4= a4 q2", "q1= a1 q3= a3 new"]
    drawn = {
        json.dumps(load(path, prompt="{{ question }}", few_shot={**few, "seed": n}).samples[1].messages)
        for n in range(8)
    }
    assert len(drawn) > 1
    assert "has 4 examples with kind=x, not 5" in refused(path, prompt="{{ question }}", few_shot={**few, "count": 5})
    assert "no key 'cuont'" in refused(path, prompt="{{ question }}", few_shot={**few, "cuont": 5})
    assert "few_shot=null" in refused(
        path, prompt="{{ question }}", few_shot={**few, "path": str(tmp_path / "no.jsonl")}
    )
    assert "at least 1" in refused(path, prompt="{{ question }}", few_shot={**few, "count": 0})


def test_a_made_dataset_draws_no_examples() -> None:
    with pytest.raises(ConfigError, match="reads no file of examples"):
        load_samples(build("dataset", {"kind": "needle", "few_shot": {"count": 2}}))
