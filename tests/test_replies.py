"""Replies that exist already: a file of them becomes a run like any other."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.domain import ConfigError
from bench.measure.servers import Servers
from bench.record import find_run, read_header, read_table
from bench.registry import build

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def scored(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> tuple[Path, list[dict[str, Any]], str]:
    """The run that ``bench score`` made, its verdicts by request, and what it said."""
    results = folder / "results"
    quiet = ("report.plots=false", "report.markdown=false")
    code = main(["score", *arguments, *quiet, "--results-dir", str(results)])
    said = capsys.readouterr()
    assert code == 0, said.err
    run = find_run("latest", results)
    return run, read_table(run, "scores").to_pylist(), said.out + said.err


def maths(folder: Path, count: int = 4) -> str:
    rows = [
        {"question": f"What is {n} + {n}?", "answer": f"{n}+{n}=<<{n}+{n}={2 * n}>>{2 * n}\n#### {2 * n}"}
        for n in range(count)
    ]
    return f"dataset.path={lines(folder / 'questions.jsonl', rows)}"


def test_solutions_of_another_model_are_matched_by_question_and_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"question": f"What is {n} + {n}?", "small": {"solution": f"{n} twice\nA: {2 * n + (n == 3)}"}}
        for n in (3, 1, 0, 2)
    ]
    file = lines(tmp_path / "published.jsonl", rows)
    run, verdicts, said = scored(
        capsys, tmp_path, str(file), "--text", "small.solution", "dataset=gsm8k", maths(tmp_path), "model.name=small"
    )
    assert "4 replies to 4 of 4 questions, matched by question" in said
    assert "came from the cache" not in said
    assert sorted(one["extracted"] for one in verdicts if one["label"] == "correct") == ["0", "2", "4"]
    header = read_header(run)
    cell = header["cells"][0]["config"]
    assert (cell["model"]["name"], cell["provider"]["kind"], cell["provider"]["path"]) == (
        "small",
        "recorded",
        str(file),
    )
    assert (header["name"], header["state"], header["planned"]) == ("published", "finished", 4)
    requests = read_table(run, "requests").to_pylist()
    assert {(one["outcome"], one["cached"], one["sent_ns"]) for one in requests} == {("ok", True, None)}
    assert main(["score", str(run), "scorer=numeric"]) == 0, "such a run is scored again like any other"


def test_a_question_without_a_reply_is_not_sent_and_strays_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"question": "What is 1 + 1?", "output": "#### 2"},
        {"question": "What is 1 + 1?", "output": "#### 3"},
        {"question": "Who?", "output": "x"},
    ]
    run, verdicts, said = scored(
        capsys, tmp_path, str(lines(tmp_path / "some.jsonl", rows)), "dataset=gsm8k", maths(tmp_path)
    )
    assert [one["label"] for one in verdicts] == ["correct", "wrong"]
    assert "1 row answers no question" in said
    assert "3 questions have no reply; they count as not sent" in said
    assert "The file has replies to 1 of 4 questions; the others stand under `failed`" in " ".join(said.split())
    assert "interrupted" not in said
    assert "random sample" not in said
    assert read_header(run)["counts"] == {"ok": 2, "not_sent": 3}


def test_models_of_one_file_are_cells_and_questions_that_repeat_take_turns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = lines(tmp_path / "twice.jsonl", [{"prompt": "Same?", "target": target} for target in ("yes", "no")])
    rows = [{"prompt": "Same?", "text": text, "model": model} for model in ("a", "b") for text in ("yes", "no")]
    run, verdicts, _ = scored(
        capsys,
        tmp_path,
        str(lines(tmp_path / "two.jsonl", rows)),
        "dataset=jsonl",
        f"dataset.path={twice}",
        "scorer=exact",
    )
    assert [one["label"] for one in verdicts] == ["correct"] * 4
    assert [cell["config"]["model"]["name"] for cell in read_header(run)["cells"]] == ["a", "b"]


def test_replies_without_a_name_follow_the_order_of_the_questions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = {"canary": "x", "outputs": [{"input": f"shots ... {n}", "prediction": f"#### {2 * n}"} for n in range(4)]}
    (tmp_path / "out.json").write_text(json.dumps(outputs))
    _, verdicts, said = scored(
        capsys, tmp_path, str(tmp_path / "out.json"), "--rows-at", "outputs", "dataset=gsm8k", maths(tmp_path)
    )
    assert "matched by their order" in said
    assert [one["label"] for one in verdicts] == ["correct"] * 4


def test_samples_of_the_harness_count_once_whatever_filters_read_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"doc_id": n, "doc": {"question": f"What is {n} + {n}?"}, "resps": [[f"#### {2 * n}"]], "filter": name}
        for name in ("strict-match", "flexible-extract")
        for n in range(4)
    ]
    _, verdicts, said = scored(
        capsys, tmp_path, str(lines(tmp_path / "samples_gsm8k.jsonl", rows)), "dataset=gsm8k", maths(tmp_path)
    )
    assert "4 replies to 4 of 4 questions, matched by doc.question" in said
    assert [one["label"] for one in verdicts] == ["correct"] * 4


def test_texts_in_a_list_are_repeats_and_calls_are_read_in_both_shapes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    function = {
        "name": "f",
        "description": "",
        "parameters": {"type": "dict", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    }
    questions = [
        {
            "id": f"q{n}",
            "question": [[{"role": "user", "content": f"{n}?"}]],
            "function": [function],
            "ground_truth": [{"f": {"a": [n]}}],
        }
        for n in range(3)
    ]
    api = {"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    rows = [
        {"id": "q0", "result": [{"f": '{"a": 0}'}, {"f": '{"a": 0}'}]},
        {"id": "q0", "result": []},
        {"id": "q0", "result": [{"f": '{"a": 0}'}]},
        {"id": "q1", "result": "", "tool_calls": [api]},
        {"id": "q2", "result": ["[f(a=2)]", "[f(a=3)]", ""]},
    ]
    _, verdicts, _ = scored(
        capsys,
        tmp_path,
        str(lines(tmp_path / "BFCL_result.json", rows)),
        "dataset=bfcl",
        "dataset.join=null",
        f"dataset.path={lines(tmp_path / 'BFCL_v4_own.json', questions)}",
    )
    assert [one["label"] for one in verdicts] == [
        "wrong",
        "unparsed",
        "correct",
        "correct",
        "correct",
        "wrong",
        "unparsed",
    ]


@pytest.mark.parametrize(
    ("rows", "arguments", "said"),
    [
        ([{"question": "What is 1 + 1?", "text": "2"}], [], "dataset=gsm8k"),
        ([{"question": "What is 1 + 1?", "said": "2"}], ["dataset=gsm8k"], "--text (question, said)"),
        ([{"question": "Who?", "text": "2"}], ["dataset=gsm8k"], "--by (a row has question, text)"),
        ([{"question": "Who?", "text": "2"}], ["dataset=gsm8k", "--by", "q"], "no value of 'q'"),
        (
            [{"question": "Who?", "text": "2"}],
            ["dataset=gsm8k", "provider=openai", "sampling.n=2"],
            "sampling: replies",
        ),
        ([{"question": "Who?", "text": "2"}], ["dataset=gsm8k", "+stop.looks=2"], "stop: replies"),
        ([{"question": "Who?", "text": "2"}], ["dataset=gsm8k", "scorer=judge"], "scorer.judge.provider=auto"),
        ([], ["dataset=gsm8k"], "no rows"),
    ],
)
def test_what_cannot_be_matched_is_refused_and_leaves_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rows: Sequence[Mapping[str, Any]],
    arguments: list[str],
    said: str,
) -> None:
    file = lines(tmp_path / "replies.jsonl", rows)
    path = [maths(tmp_path)] if "dataset=gsm8k" in arguments else []
    assert main(["score", str(file), *arguments, *path, "--results-dir", str(tmp_path / "results")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_a_field_that_no_row_has_is_refused_and_a_row_without_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"question": f"What is {n} + {n}?", "said": {"end": f"#### {2 * n}"}} for n in range(4)]
    file = str(lines(tmp_path / "replies.jsonl", rows))
    out = ["--results-dir", str(tmp_path / "results")]
    assert main(["score", file, "dataset=gsm8k", maths(tmp_path), "--text", "said.and", *out]) == 2
    assert "--text said.and: no row has it (a row has question, said)" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
    lines(tmp_path / "replies.jsonl", [*rows[:3], {"question": rows[3]["question"]}])
    _, verdicts, said = scored(capsys, tmp_path, file, "dataset=gsm8k", maths(tmp_path), "--text", "said.end")
    assert Counter(one["label"] for one in verdicts) == {"correct": 3, "unparsed": 1}
    assert "1 row has no said.end and counts as an empty reply" in said


def test_a_file_of_another_kind_and_options_of_files_for_runs_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "replies.txt").write_text("x")
    assert main(["score", str(tmp_path / "replies.txt"), "dataset=gsm8k", maths(tmp_path)]) == 2
    assert main(["score", "latest", "--by", "id"]) == 2
    said = capsys.readouterr().err
    assert "another ending" in said
    assert "it is no file" in said


def test_nothing_can_be_sent_to_recorded_replies() -> None:
    with pytest.raises(ConfigError, match="bench score FILE"):
        build("provider", {"kind": "recorded"}).server_command()
    assert Servers  # what starts a provider's server asks for its command first


@pytest.mark.slow
def test_the_published_samples_come_out_at_their_published_pass_at_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not SHARED.is_dir():
        pytest.skip("the reference data is not beside this checkout")
    folder = SHARED / "humaneval"
    _, verdicts, said = scored(
        capsys,
        tmp_path,
        str(folder / "example_samples.jsonl"),
        "dataset=humaneval",
        f"dataset.path={folder / 'example_problem.jsonl'}",
        "scorer=humaneval",
        "scorer.allow_code=true",
        "scorer.cpu_s=0.5",
    )
    assert "6 replies to 1 of 1 questions, matched by task_id" in said
    assert [one["label"] for one in verdicts] == ["wrong"] * 3 + ["correct"] * 3
