"""The provider presets, what they refuse, and what ``bench models`` makes of a server's list of models."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from bench.catalogue import load_provider, preset_files
from bench.domain import ConfigError
from bench.places import shipped
from bench.providers import Provider
from bench.providers.compatible import Compatible
from bench.providers.siliconflow import SiliconFlow
from bench.show.models import main
from bench.show.offered import offered_models

#: provider -> host, the variable with the key, the name of the token cap
WANTED = {
    "siliconflow": ("https://api.siliconflow.cn/v1", "SILICONFLOW_API_KEY", "max_tokens"),
    "siliconflow_com": ("https://api.siliconflow.com/v1", "SILICONFLOW_COM_API_KEY", "max_tokens"),
    "openai": ("https://api.openai.com/v1", "OPENAI_API_KEY", "max_completion_tokens"),
    "deepseek": ("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", "max_tokens"),
    "openrouter": ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", "max_tokens"),
    "vllm": ("http://127.0.0.1:8000/v1", None, "max_tokens"),
    "sglang": ("http://127.0.0.1:30000/v1", None, "max_tokens"),
    "llamacpp": ("http://127.0.0.1:8080/v1", None, "max_tokens"),
    "ollama": ("http://127.0.0.1:11434/v1", None, "max_tokens"),
}


@pytest.mark.parametrize("name", WANTED)
def test_each_preset_addresses_its_server(name: str) -> None:
    provider = load_provider(name)
    assert (provider.base_url, provider.api_key_env, provider.max_tokens_field) == WANTED[name]
    assert provider.name == name
    assert provider.verify_tls
    assert provider.server_command() is None
    assert provider.enforces_page_rules == name.startswith("siliconflow")


def test_every_preset_file_is_known_here() -> None:
    assert set(preset_files("provider")) - set(WANTED) == {"auto"}
    assert yaml.safe_load((shipped("conf") / "provider" / "auto.yaml").read_text()) == {"kind": "auto"}


def test_llama_cpp_is_kept_from_reusing_prompts() -> None:
    assert load_provider("llamacpp").extra_body == {"cache_prompt": False}
    assert SiliconFlow().extra_body == {}


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "https://example.org",
        "http://[::1]:8000/v1/",
        "https://example.org/a/b",
    ],
)
def test_plain_addresses_are_taken(url: str) -> None:
    assert Compatible(base_url=url).base_url == url


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (None, "is missing; say where the server is"),
        ("", "is missing"),
        ("127.0.0.1:8000/v1", "must be a plain http or https address"),
        ("ftp://example.org/v1", "must be a plain http or https address"),
        ("file:///etc/passwd", "must be a plain http or https address"),
        ("http://", "must be a plain http or https address"),
        ("http://host:99999/v1", "is no http or https address"),
        ("http://[::1/v1", "is no http or https address"),
        ("http://host/v1?key=1", "provider.base_url: must end before '?'"),
        ("http://host/v 1", "must be a plain http or https address"),
        ("http://host/v1/chat/completions", "must end before /chat/completions"),
    ],
)
def test_other_addresses_are_refused(url: str | None, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Compatible(base_url=url)
    assert says in str(caught.value)
    assert "provider.base_url" in str(caught.value)


def test_secrets_are_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        Compatible(base_url="http://h", headers={"Authorization": "Bearer hunter2"}, api_key_env="sk-hunter2")
    assert len(caught.value.problems) == 2
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        Compatible(base_url="http://me:hunter2@host/v1")
    assert "hunter2" not in str(caught.value)


def test_the_token_cap_has_two_names() -> None:
    with pytest.raises(ConfigError, match="must be max_tokens or max_completion_tokens"):
        Compatible(base_url="http://h", max_tokens_field="max_new_tokens")


# --- a server's list of models -----------------------------------------------------------------------------------


@dataclass
class Stage:
    """What the test server answers, and what it was asked."""

    status: int = 200
    body: bytes = b'{"object": "list", "data": []}'
    location: str | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def stage() -> Iterator[Stage]:
    here = Stage()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here.asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(here.status)
            if here.location is not None:
                self.send_header("Location", here.location)
            self.send_header("Content-Length", str(len(here.body)))
            self.end_headers()
            self.wfile.write(here.body)

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        here.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield here
        server.shutdown()
        thread.join()


def models(*names: str) -> bytes:
    return json.dumps({"object": "list", "data": [{"id": name, "object": "model"} for name in names]}).encode()


def test_the_list_is_asked_for_with_the_key_and_only_the_service_gets_filters(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "  hunter2 ")
    stage.body = models("b", "a", "b")
    assert offered_models(Compatible(base_url=stage.url + "/", api_key_env="SOME_KEY")) == ["a", "b"]
    assert offered_models(SiliconFlow(base_url=stage.url, api_key_env=None)) == ["a", "b"]
    assert stage.asked == [("/v1/models", "Bearer hunter2"), ("/v1/models?type=text&sub_type=chat", None)]


def test_a_missing_key_is_named_and_nothing_is_sent(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(ConfigError, match="the environment variable SOME_KEY is not set"):
        offered_models(Compatible(base_url=stage.url, api_key_env="SOME_KEY"))
    monkeypatch.setenv("SOME_KEY", "hun\nter2")
    with pytest.raises(ConfigError) as caught:
        offered_models(Compatible(base_url=stage.url, api_key_env="SOME_KEY"))
    assert "ter2" not in str(caught.value)
    assert stage.asked == []


def test_a_redirect_is_not_followed_with_the_key(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "hunter2")
    stage.status, stage.location = 302, stage.url + "/elsewhere"
    with pytest.raises(ConfigError, match="HTTP 302"):
        offered_models(Compatible(base_url=stage.url, api_key_env="SOME_KEY"))
    assert [path for path, _ in stage.asked] == ["/v1/models"]


def test_a_bad_key_is_explained_and_the_servers_words_are_escaped(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "hunter2")
    stage.status, stage.body = 401, b'{"code":30014,"message":"\x1b[2JToken is invalid."}' + b"x" * 100_000
    with pytest.raises(ConfigError) as caught:
        offered_models(Compatible(base_url=stage.url, api_key_env="SOME_KEY"))
    text = str(caught.value)
    assert "Token is invalid" in text
    assert "is the key in SOME_KEY one of this host?" in text
    assert "\x1b" not in text
    assert "hunter2" not in text
    assert len(text) < 500


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"data": 3}', b'{"data": [{"name": "x"}]}', b"\xff", b"3"])
def test_an_answer_that_is_no_list_of_models_is_refused(stage: Stage, body: bytes) -> None:
    stage.body = body
    with pytest.raises(ConfigError, match="the answer is no list of models"):
        offered_models(Compatible(base_url=stage.url))


def test_an_unreachable_server_is_named() -> None:
    with pytest.raises(ConfigError, match=r"http://127.0.0.1:9/v1/models: cannot be reached"):
        offered_models(Compatible(base_url="http://127.0.0.1:9/v1"))


def test_a_server_that_keeps_its_own_process_is_started_and_stopped(stage: Stage, tmp_path: Path) -> None:
    done = tmp_path / "done"
    program = f"""
import json, pathlib, sys
print(json.dumps({{"base_url": "{stage.url}"}}), flush=True)
sys.stdin.read()
pathlib.Path({str(done)!r}).write_text("stopped")
"""

    @dataclass(frozen=True)
    class Own(Provider):
        name: str = "own"

        def server_command(self) -> list[str]:
            return [sys.executable, "-S", "-c", program]

    stage.body = models("a")
    assert offered_models(Own()) == ["a"]
    assert done.read_text() == "stopped"


def test_a_server_that_does_not_start_is_reported() -> None:
    @dataclass(frozen=True)
    class Silent(Provider):
        name: str = "silent"

        def server_command(self) -> list[str]:
            return [sys.executable, "-S", "-c", "print('no')"]

    with pytest.raises(ConfigError, match="provider silent: its server did not start"):
        offered_models(Silent())


# --- bench models ------------------------------------------------------------------------------------------------


@pytest.fixture
def mine(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's conf folder with a provider that is the test server, and one model of it."""
    monkeypatch.chdir(tmp_path)
    for group in ("provider", "model"):
        (tmp_path / "own" / group).mkdir(parents=True)
    preset = f"defaults: [compatible, _self_]\nname: mine\nbase_url: {stage.url}\n"
    (tmp_path / "own" / "provider" / "mine.yaml").write_text(preset)
    (tmp_path / "own" / "model" / "here.yaml").write_text("name: x/Here\nprovider: mine\n")
    (tmp_path / "own" / "model" / "gone.yaml").write_text("name: x/Gone\nprovider: mine\n")
    return str(tmp_path / "own")


def test_the_table_lists_every_preset_with_its_dated_price(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if line.startswith("deepseek-v3.1 "))
    assert row.split() == [
        *("deepseek-v3.1", "deepseek-ai/DeepSeek-V3.1", "siliconflow", "163840", "toggle", "yes", "-", "-"),
        *("4/12", "CNY", "2025-09"),
    ]
    assert "57 models" in shown


def test_json_is_json_and_the_provider_narrows_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "--provider", "siliconflow"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 56
    assert rows[0]["thinking"] in ("none", "toggle", "always")
    assert main(["--provider", "openai", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_check_sorts_models_into_three_lists(stage: Stage, mine: str, capsys: pytest.CaptureFixture[str]) -> None:
    stage.body = models("x/Here", "x/New", "it's\x1b[2J\nnew")
    assert main(["--check", "--provider", "mine", "--config-dir", mine]) == 0
    shown = capsys.readouterr().out
    assert "1 configured models are offered, 1 are not; 2 others" in shown
    assert "  gone  (x/Gone)" in shown
    assert "bench run model=custom model.name=x/New provider=mine" in shown
    assert "\x1b" not in shown
    assert main(["--check", "--json", "--provider", "mine", "--config-dir", mine]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "provider": "mine",
        "offered": ["x/Here"],
        "not_offered": ["x/Gone"],
        "not_configured": ["it's\x1b[2J\nnew", "x/New"],
    }


def test_trouble_is_a_sentence_and_exit_code_2(stage: Stage, mine: str, capsys: pytest.CaptureFixture[str]) -> None:
    stage.status = 503
    assert main(["--check", "--provider", "mine", "--config-dir", mine]) == 2
    assert "answered HTTP 503" in capsys.readouterr().err
    assert main(["--provider", "nowhere"]) == 2
    assert "there is no provider 'nowhere'" in capsys.readouterr().err
    assert main(["--config-dir", "/nonexistent"]) == 2
    assert "/nonexistent" in capsys.readouterr().err


@pytest.mark.slow
def test_the_simulator_is_started_for_the_check_and_offers_every_listed_model(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--check", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["provider"] == "sim"
    assert found["not_offered"] == []
    assert len(found["offered"]) >= 56
