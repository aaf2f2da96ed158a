"""The shipped model presets: complete, consistent with each other, and what the reference data says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.catalogue import load_models, load_presets, load_provider, preset_files, preset_of
from bench.config import Model, Price, Thinking
from bench.domain import ConfigError
from bench.places import shipped
from bench.registry import typed
from bench.rules import PARAMETER_RULES, violations

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "spec" / "siliconflow_models.json"
TOGGLES = {
    "Qwen/Qwen3-8B",
    "Qwen/Qwen3-14B",
    "Qwen/Qwen3-32B",
    "Qwen/Qwen3-30B-A3B",
    "Qwen/Qwen3-235B-A22B",
    "tencent/Hunyuan-A13B-Instruct",
    "zai-org/GLM-4.5V",
    "deepseek-ai/DeepSeek-V3.1",
    "Pro/deepseek-ai/DeepSeek-V3.1",
}


def test_there_is_one_preset_for_each_listed_model_and_two_more() -> None:
    files = preset_files("model")
    presets = load_presets()
    assert set(files) - set(presets) == {"custom"}, "only custom leaves the name open"
    listed = {preset: model for preset, model in presets.items() if model.provider == "siliconflow"}
    assert len(listed) == 56, "55 listed models and GLM-4.5V"
    assert len({model.name for model in listed.values()}) == 56
    assert presets["smollm2"].provider == "local"


def test_each_preset_is_named_after_its_model() -> None:
    for preset, model in load_presets().items():
        if preset != "smollm2":
            assert preset == preset_of(model.name)
    assert preset_of("Qwen/Qwen3-8B") == "qwen3-8b"
    assert preset_of("Pro/deepseek-ai/DeepSeek-V3.1") == "pro-deepseek-v3.1"
    assert preset_of("SmolLM2") == "smollm2"


def test_the_facts_of_the_presets_fit_together() -> None:
    models = load_models()
    assert {name for name, model in models.items() if model.thinking is Thinking.toggle} == TOGGLES
    assert {name for name, m in models.items() if m.min_p} == {n for n in models if n.startswith("Qwen/Qwen3")}
    for name, model in models.items():
        assert model.name == name
        price = model.price
        assert (price.input_per_mtok is None) == (price.output_per_mtok is None) == (price.as_of is None)
        if name.startswith("Pro/"):
            twin = models[name.removeprefix("Pro/")]
            assert (model.context_tokens, model.thinking, model.tools) == (
                twin.context_tokens,
                twin.thinking,
                twin.tools,
            )
            assert (price.output_per_mtok or 0) >= (twin.price.output_per_mtok or 0)


def test_the_presets_say_what_the_reference_says() -> None:
    if not REFERENCE.is_file():
        pytest.skip("the reference list of models is not on this machine")
    reference: dict[str, dict[str, Any]] = json.loads(REFERENCE.read_text())["models"]
    models = load_models()
    assert set(reference) <= set(models)
    for name, facts in reference.items():
        thinking = "toggle" if facts["enable_thinking"] else "always" if facts["reasoning"] else "none"
        price = Price("CNY", facts["cny_in"], facts["cny_out"], models[name].price.as_of)
        assert models[name] == Model(
            name=name,
            provider="siliconflow",
            context_tokens=facts["context"],
            thinking=Thinking(thinking),
            tools=facts["tools"],
            vision=facts["vision"],
            min_p=name.startswith("Qwen/Qwen3"),
            price=price,
        )


def test_the_quick_reading_is_the_typed_reading() -> None:
    presets = load_presets()
    for preset in ("qwen3-8b", "internlm2_5-7b-chat", "glm-4.5v", "smollm2"):
        settings = yaml.safe_load((shipped("conf") / "model" / f"{preset}.yaml").read_text())
        assert presets[preset] == typed(Model, settings, where=preset)


def test_the_shown_values_of_the_page_are_good_for_a_thinking_qwen() -> None:
    shown = {"max_tokens": 4096, "thinking_budget": 4096, "min_p": 0.05, "temperature": 0.7, "top_p": 0.7, "top_k": 50}
    body = {**shown, "model": "Qwen/Qwen3-8B", "enable_thinking": True, "frequency_penalty": 0.5, "n": 1, "stop": None}
    assert violations(body, load_models()["Qwen/Qwen3-8B"], rules=PARAMETER_RULES) == []


def folder(tmp_path: Path, **files: str) -> Path:
    (tmp_path / "model").mkdir()
    for name, text in files.items():
        (tmp_path / "model" / f"{name.replace('_', '-')}.yaml").write_text(text)
    return tmp_path


def test_a_users_folder_extends_and_replaces_presets(tmp_path: Path) -> None:
    mine = folder(
        tmp_path,
        mine="name: me/Mine\nprovider: vllm\ncontext_tokens: 4096\n",
        qwen3_8b="defaults: [qwen3-14b]\nname: Qwen/Qwen3-8B\nprice: {input_per_mtok: 9}\n",
        dear_8b="name: Qwen/Qwen3-8B\nprice: {input_per_mtok: 100.0, output_per_mtok: 100.0}\n",
    )
    models = load_models(mine)
    assert models["me/Mine"] == Model(name="me/Mine", provider="vllm", context_tokens=4096)
    ours = load_models()["Qwen/Qwen3-14B"]
    price = Price("CNY", 9.0, ours.price.output_per_mtok, ours.price.as_of)
    assert models["Qwen/Qwen3-8B"].price == price, "what the file leaves open comes from the preset it starts from"
    assert models["Qwen/Qwen3-8B"].thinking is Thinking.toggle
    assert load_presets(mine)["dear-8b"].price.input_per_mtok == 100.0
    assert len(models) == len(load_models()) + 1


def test_the_first_of_several_folders_wins(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = folder(tmp_path / "a", mine="name: first\n")
    second = folder(tmp_path / "b", mine="name: second\n", other="name: other\n")
    models = load_models(first, second)
    assert "first" in models
    assert "second" not in models
    assert "other" in models


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: x\ncontext: 3\n", "there is no key 'context'; did you mean context_tokens?"),
        ("name: x\nprice: {currncy: CNY}\n", "currncy"),
        ("name: x\ncontext_tokens: many\n", "context_tokens"),
        ("name: x\nthinking: maybe\n", "thinking"),
        ("- a\n", "must hold a mapping"),
        ("name: [x\n", "cannot be read as YAML"),
        ("name: \xff\n", "cannot be read as YAML"),
        ("name: x\ndefaults: qwen3-8b\n", "defaults must be a list"),
        ("name: x\ndefaults: [bad, _self_]\n", "'bad', which is no other preset"),
        ("name: x\ndefaults: [nowhere]\n", "'nowhere', which is no other preset"),
    ],
)
def test_a_wrong_preset_is_named_with_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    mine = folder(tmp_path)
    (mine / "model" / "bad.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        load_models(mine)
    assert says in str(caught.value)
    assert "bad.yaml" in str(caught.value)


def test_presets_that_name_each_other_are_refused(tmp_path: Path) -> None:
    mine = folder(tmp_path, a="name: a\ndefaults: [b]\n", b="name: b\ndefaults: [a]\n")
    with pytest.raises(ConfigError, match="no other preset"):
        load_models(mine)


def test_an_unknown_provider_says_what_exists() -> None:
    with pytest.raises(ConfigError, match=r"no provider 'silicon'; did you mean siliconflow"):
        load_provider("silicon")
