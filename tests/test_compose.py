"""Composition: presets, a user's own folder, messages for what does not fit, and configs that survive JSON."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from hydra.types import RunMode
from run_probe import Probe, probe, refused

from bench.cli import main
from bench.compose import PRIMARY, experiment_of
from bench.config import Experiment, Thinking, parse, plain
from bench.domain import ConfigError
from bench.help import EXAMPLES
from bench.launch import refuse_secrets
from bench.loader import Loader
from bench.places import shipped
from bench.sweep import Parser

__all__ = ["probe"]  # a fixture

GROUPS = ("sampling", "load", "limits", "timeout", "budget", "engine", "report", "experiment")


@pytest.fixture(scope="module")
def loader() -> Loader:
    """One loader of the shipped presets for all tests that only compose."""
    return Loader()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    messages = refused(capsys, *arguments)
    assert len(messages) == 1, messages
    return messages[0]


# -- presets


def test_defaults(probe: Probe) -> None:
    (cell,) = probe.run("seed=1")
    assert (cell.model.name, cell.provider.kind, cell.dataset.name) == ("Qwen/Qwen3-8B", "sim", "arithmetic")
    assert (cell.load.kind, cell.sampling.stream, cell.sampling.temperature) == ("closed", True, None)
    assert (cell.seed, cell.name, cell.results_dir, cell.dry_run) == (1, "run", "results", False)


def test_no_argument_is_the_demo(probe: Probe) -> None:
    cells = probe.run()
    assert len({cell.model.name for cell in cells}) >= 2
    assert {cell.sampling.temperature for cell in cells} == {0.2, 1.0}
    assert {(cell.sampling.n, cell.sampling.stream, cell.name) for cell in cells} == {(3, True, "demo")}
    assert cells == probe.run("experiment=demo")


def test_the_siliconflow_preset_holds_the_values_its_page_shows(probe: Probe) -> None:
    (cell,) = probe.run("sampling=siliconflow")
    sent = {key: value for key, value in plain(cell)["sampling"].items() if value not in (None, {})}
    assert sent == {
        "stream": True,
        "max_tokens": 4096,
        "enable_thinking": False,
        "thinking_budget": 4096,
        "min_p": 0.05,
        "temperature": 0.7,
        "top_p": 0.7,
        "top_k": 50,
        "frequency_penalty": 0.5,
        "n": 1,
    }


@pytest.mark.parametrize("group", GROUPS)
def test_every_shipped_preset_composes(group: str, loader: Loader) -> None:
    names = [path.stem for path in sorted((shipped("conf") / group).glob("*.yaml"))]
    assert set(names) <= set(loader.options(group))
    for name in names:
        assert isinstance(parse(loader.compose([f"{group}={name}"])), Experiment)


@pytest.mark.slow
def test_every_model_composes_but_custom(loader: Loader) -> None:
    parser = Parser()
    names = loader.options("model")
    assert len(names) >= 57
    for name in names:
        assert loader.lacks("model", name) == (["model.name"] if name == "custom" else []), name
        if name != "custom":
            assert parser.parse(loader.compose([f"model={name}"])).model.name


def test_enums_and_dotted_names(probe: Probe) -> None:
    (cell,) = probe.run("model=pro-deepseek-v3.1", "unsupported=drop")
    assert cell.model.name == "Pro/deepseek-ai/DeepSeek-V3.1"
    assert (cell.model.thinking, cell.unsupported.name) == (Thinking.toggle, "drop")


def test_provider_auto_takes_each_models_own(probe: Probe) -> None:
    (cell,) = probe.run("provider=auto")
    assert cell.provider.kind == "siliconflow"
    cells = probe.run("provider=auto", "model=qwen3-8b,smollm2", "-m")
    assert [cell.provider.name for cell in cells] == ["siliconflow", "local"]
    (cell,) = probe.run("provider=auto", "model.provider=vllm", "provider.headers.X-Team=a")
    assert (cell.provider.name, cell.provider.headers) == ("vllm", {"X-Team": "a"})


def test_mappings_take_new_keys(probe: Probe) -> None:
    (cell,) = probe.run("sampling.extra.top_a=0.1", "provider.extra_body={a: {b: 1}}", "dataset.fields.target=solution")
    assert cell.sampling.extra == {"top_a": 0.1}
    assert cell.provider.extra_body == {"a": {"b": 1}}
    assert cell.dataset.fields == {"target": "solution"}


# -- a user's own folder


def test_a_users_preset_wins_and_extends(probe: Probe, tmp_path: Path) -> None:
    write(tmp_path / "conf/sampling/greedy.yaml", "temperature: 0.01\n")
    write(tmp_path / "conf/provider/lab.yaml", "kind: compatible\nname: lab\nbase_url: http://127.0.0.1:9/v1\n")
    write(tmp_path / "conf/provider/lab2.yaml", "defaults: [lab, _self_]\nheaders: {X-Rack: two}\n")
    write(tmp_path / "conf/config.yaml", "a stray file: of another program\n")
    (cell,) = probe.run("sampling=greedy", "provider=lab2", "provider.verify_tls=false")
    assert cell.sampling.temperature == 0.01
    assert (cell.provider.name, cell.provider.headers, cell.provider.verify_tls) == ("lab", {"X-Rack": "two"}, False)


def test_config_dir_comes_before_conf(probe: Probe, tmp_path: Path) -> None:
    write(tmp_path / "conf/sampling/mine.yaml", "temperature: 0.1\n")
    write(tmp_path / "conf/sampling/other.yaml", "temperature: 0.2\n")
    write(tmp_path / "elsewhere/sampling/mine.yaml", "temperature: 0.3\n")
    assert probe.run("--config-dir", "elsewhere", "sampling=mine")[0].sampling.temperature == 0.3
    assert probe.run("--config-dir", "elsewhere", "sampling=other")[0].sampling.temperature == 0.2


def test_config_dir_must_exist(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    assert error(capsys, "--config-dir", "nowhere") == "--config-dir nowhere: there is no such folder"


def test_a_users_plugin(probe: Probe, tmp_path: Path) -> None:
    write(
        tmp_path / "conf/plugins/thrice_compose_test.py",
        "from dataclasses import dataclass\n"
        "from bench.registry import plugin\n"
        "from bench.scorers import Scorer\n"
        "@plugin('scorer', 'thrice')\n"
        "@dataclass(frozen=True)\n"
        "class Thrice(Scorer):\n"
        "    kind: str = 'thrice'\n"
        "    strict: bool = False\n",
    )
    (cell,) = probe.run("scorer=thrice", "scorer.strict=true")
    assert (cell.scorer.kind, plain(cell)["scorer"]["strict"]) == ("thrice", True)


def test_a_broken_plugin_names_its_file(probe: Probe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "conf/plugins/broken_compose_test.py", "import nothing_of_that_name\n")
    assert "conf/plugins/broken_compose_test.py: the plug-in does not import" in error(capsys, "seed=1")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("sampling/mine.yaml", "temprature: 1\n", "In 'sampling/mine': there is no sampling key 'temprature'"),
        (
            "sampling/mine.yaml",
            "temperature: warm\n",
            "In 'sampling/mine': sampling.temperature='warm': must be a number",
        ),
        ("sampling/mine.yaml", "temperature: [1\n", "a YAML file cannot be read: while parsing a flow sequence"),
        ("load/mine.yaml", "kind: closed\nconcurency: 3\n", "load/mine.yaml: there is no key 'concurency'"),
        ("load/mine.yaml", "kind: clsed\n", "load/mine.yaml: there is no load kind 'clsed'; did you mean closed?"),
        ("load/mine.yaml", "concurrency: 3\n", "load: its preset names no kind; there are: closed"),
        (
            "experiment/mine.yaml",
            "# @package _global_\nsmpling: {n: 2}\n",
            "experiment/mine.yaml: there is no key 'smpling'",
        ),
        (
            "experiment/mine.yaml",
            "# @package _global_\ndefaults:\n  - override /model: qwen3-9b\n",
            "model=qwen3-9b: there is no model 'qwen3-9b'; did you mean qwen3-8b",
        ),
    ],
)
def test_a_preset_that_does_not_fit_is_named(
    file: str, text: str, said: str, probe: Probe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "conf" / file, text)
    group = file.split("/")[0]
    assert said in error(capsys, f"{group}=mine")
    assert probe.calls == []


# -- messages


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("smpling.n=3", "smpling.n=3: there is no key 'smpling'; did you mean sampling?"),
        ("modle=qwen3-8b", "modle=qwen3-8b: there is no key 'modle'; did you mean model?"),
        ("zzz=1", "zzz=1: there is no key 'zzz'; there are: also, budget, cache, dataset, dry_run"),
        ("sampling.temprature=1", "there is no sampling key 'temprature'; did you mean temperature?"),
        ("load.concurency=1", "there is no load key 'concurency'; did you mean concurrency or max_concurrency?"),
        ("model.price.currncy=EUR", "there is no model.price key 'currncy'; did you mean currency?"),
        ("model=qwen3-9b", "model=qwen3-9b: there is no model 'qwen3-9b'; did you mean qwen3-8b"),
        ("dataset=zzz", "dataset=zzz: there is no dataset 'zzz'; there are: agieval"),
        ("experiment=deom", "experiment=deom: there is no experiment 'deom'; did you mean demo?"),
        ("sampling.temperature=warm", "sampling.temperature='warm': must be a number"),
        ("repeats=x", "repeats='x': must be a whole number"),
        ("repeats=null", "repeats=null: must have a value"),
        ("model.price=null", "model.price=null: must have a value"),
        ("limits=[1,2]", "limits=[1,2]: a preset must be chosen; there are: default, fixed, gentle"),
        ("limits.rpm={a: 1}", "limits.rpm"),
        ("sampling.extra=3", "sampling.extra"),
        ("timeout.total_s=[1]", "timeout.total_s"),
        ("sampling.n=1.5", "sampling.n=1.5: must be a whole number"),
        ("sampling.stream=maybe", "sampling.stream='maybe': must be true or false"),
        ("unsupported=dorp", "unsupported='dorp': must be one of error, drop"),
        ("repeats=0", "repeats=0: must be greater than 0"),
        ("model=custom", "model.name is not set: give model.name=VALUE"),
        ("load.kind=poisson", "load.kind=poisson: choose another kind with load=poisson"),
        ("provider={kind: siliconflow}", "choose another kind with provider=siliconflow"),
        ("just words", "just words: this is not KEY=VALUE as Hydra reads it"),
        ("dataset.path=${nope}", "dataset.path: Interpolation key 'nope' not found"),
        ("sampling=null", "sampling=null: a preset must be chosen; there are: creative, default, greedy"),
    ],
)
def test_messages(override: str, said: str, loader: Loader) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse(loader.compose([override]))
    assert len(refusal.value.problems) == 1
    assert said in refusal.value.problems[0]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["sampling.temprature=1"], "there is no sampling key 'temprature'; did you mean temperature?"),
        (["model=custom"], "model.name is not set: give model.name=VALUE"),
        (["provider=auto", "model.provider=zzz"], "provider=auto: there is no provider 'zzz'"),
        (["hydra/launcher=nope"], "there is no hydra/launcher 'nope'; there are: basic, joblib, pooled"),
        (["sampling.temperature=1,2"], "sampling.temperature=1,2: add -m to sweep over these values"),
        (["sampling.temperature=range(1,3)"], "sampling.temperature=range(1,3): add -m to sweep over these values"),
        (["--config-name=zzz"], "there is no configuration 'zzz' in the conf folders"),
        (["--experimental-rerun=x"], "a run is finished with `bench resume RUN`"),
        (["--run", "--multirun"], "--run and --multirun exclude each other"),
        (["hydra.mode=SOMETIMES"], "hydra.mode='SOMETIMES': must be one of RUN, MULTIRUN"),
    ],
)
def test_refusals(overrides: list[str], said: str, probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in error(capsys, *overrides)
    assert probe.calls == []


def test_all_problems_at_once(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(refused(capsys, "sampling.temprature=1", "load.concurency=2", "repeats=x", "smpling.n=1")) == 4
    assert len(refused(capsys, "limits.rpm=-1", "repeats=0", "tolerance.failure_rate=2")) == 3


def test_a_problem_found_while_executing_is_a_refusal(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    probe.error = ConfigError("datasets/x.jsonl:3: no prompt.", "sampling.n=0: at least 1.")
    assert refused(capsys, "seed=1") == ["datasets/x.jsonl:3: no prompt.", "sampling.n=0: at least 1."]
    assert refused(capsys, "seed=1,2", "-m") == ["datasets/x.jsonl:3: no prompt.", "sampling.n=0: at least 1."]


@pytest.mark.parametrize("arguments", [("seed=1",), ("seed=1,2", "-m")])
def test_other_exits(arguments: tuple[str, ...], probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    bug = ValueError("In a bug, words that Hydra uses too")
    bug.__cause__ = ConfigError("caught and lost")
    for error in (ZeroDivisionError("a bug"), bug):
        probe.error = error
        assert main(["run", *arguments]) == 1
        assert f"{type(error).__name__}: {error}" in capsys.readouterr().err
    probe.error = KeyboardInterrupt()
    assert main(["run", *arguments]) == 130
    probe.error, probe.exit_code = None, 3
    probe.run(*arguments)


def test_hydra_flags(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--cfg", "job", "sampling.top_k=7", "-p", "sampling"]) == 0
    assert "top_k: 7" in capsys.readouterr().out
    assert main(["run", "--info", "defaults"]) == 0
    assert main(["run", "--hydra-help"]) == 0
    assert main(["run", "--no-such-flag"]) == 2
    assert main(["run", "--config-path", "/tmp"]) == 2
    assert probe.calls == []


def test_run_help(probe: Probe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "conf/sampling/mine_alone.yaml", "temperature: 0.1\n")
    assert main(["run", "--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 120
    words = set(text.replace(",", " ").split())
    assert {"experiment:", "qwen3-8b", "closed", "siliconflow", "greedy", "mine_alone", "demo"} <= words
    loader = Loader()
    for group in ("model", "provider", "dataset", "load", "scorer"):
        assert set(loader.options(group)) <= words, group


@pytest.mark.slow
def test_help_examples_compose(probe: Probe, capsys: pytest.CaptureFixture[str]) -> None:
    for command, _ in EXAMPLES:
        words = shlex.split(command)
        probe.run(*words[words.index("run") + 1 :])


# -- secrets


@pytest.mark.parametrize(
    "override",
    [
        "provider.api_key=my-own-words",
        "+provider.api_key=my-own-words",
        "provider.token=my-own-words",
        "provider.headers.Authorization=my-own-words",
        "provider.headers={Authorization: Bearer my-own-words}",
        "provider.api_key_env=sk-my-own-words-are-long",
        "provider.api_key_env=my-own-words",
        "name=sk-my-own-words-are-long",
        "sk-my-own-words-are-long",
        "+provider.headers.X-Api-Key=my-own-words",
        "provider.headers.Ocp-Apim-Subscription-Key=my-own-words",
        "provider.headers={Accept: a, 'X-Goog-Api-Key': my-own-words}",
        "sampling.extra={a: {api_key: my-own-words}}",
        "provider.extra_body.auth={password:'my-own-words'}",
        "provider.headers.Cookie=session=my-own-words",
        "provider.base_url=http://127.0.0.1:9/v1?api_key=my-own-words",
        "provider.base_url=http://me:my-own-words@127.0.0.1:9/v1",
        "name=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0own-words.x",
        "+anything=it-is-my-own-words-of-the-environment",
    ],
)
def test_secrets_are_refused_and_never_shown(
    override: str, probe: Probe, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOMEBODYS_API_KEY", "my-own-words-of-the-environment")
    assert main(["run", override]) == 2
    said = capsys.readouterr()
    assert "secret" in said.err
    assert "own-words" not in said.err + said.out
    assert probe.calls == []


@pytest.mark.parametrize(
    "override",
    [
        "sampling.max_tokens=300",
        "budget.tokens=1000",
        "provider.max_tokens_field=max_tokens",
        "provider.api_key_env=SILICONFLOW_API_KEY",
        "provider.api_key_env=null",
        "dataset.path=/data/sk-1.jsonl",
        "timeout.between_tokens_s=3",
        "name=task-skim-reading-and-more",
        "sampling.extra.add_bos_token=true",
        "sampling.response_format={type: json_schema, properties: {password: {type: string}}}",
        "dataset.path='https://host/rows.jsonl?page=3'",
    ],
)
def test_ordinary_overrides_are_no_secrets(override: str) -> None:
    refuse_secrets([override])


# -- plain values


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["experiment=demo_local"],
        ["sampling=siliconflow", "sampling.stop=[a,b]", "sampling.response_format={type: json_object}"],
        ["provider=siliconflow", "dataset.fields={prompt: question}", "sampling.extra={a: [1, {b: null}]}"],
        ["load=poisson", "load.rate=2.5", "scorer=numeric", "unsupported=drop"],
    ],
)
def test_plain_survives_json(overrides: list[str], loader: Loader) -> None:
    experiment = parse(loader.compose(overrides))
    assert parse(json.loads(json.dumps(plain(experiment), allow_nan=False))) == experiment


def test_the_fast_path_composes_what_hydra_composes(loader: Loader) -> None:
    overrides = ["model=qwen3-32b", "sampling.temperature=0.5", "dataset.limit=3", "sampling=greedy"]
    for chosen in (overrides, [*overrides, "name=${model.provider}"]):
        whole = loader.load_configuration(PRIMARY, list(chosen), run_mode=RunMode.RUN)
        assert experiment_of(whole) == parse(loader.compose(chosen))
    assert parse(loader.compose(chosen)).name == "siliconflow"


@pytest.mark.parametrize(
    "key", ["limits.rpm", "timeout.total_s", "budget.cost", "sampling.temperature", "load.duration_s"]
)
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_numbers_that_are_none_or_endless_are_refused(
    probe: Probe, capsys: pytest.CaptureFixture[str], key: str, value: str
) -> None:
    (said,) = refused(capsys, f"{key}={value}")
    assert said.startswith(f"{key}={value}: must be a finite number")
    assert probe.calls == []


def test_a_number_inside_a_free_form_value_is_named_by_its_place(
    probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, "sampling.extra={bias:[1,nan]}") == ["sampling.extra.bias[1]=nan: must be a finite number"]
