"""`mellea-rx doctor`: installed packages, usable backends, and hints for the others."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.program import run
from tests.support.server_process import ServerProcess


def test_it_finds_a_server_and_its_models(server: ServerProcess) -> None:
    server.script("/api/tags", body={"models": [{"name": "qwen3:4b"}, {"name": "llama3.2:latest"}]})
    ran = run("doctor", env={"OLLAMA_HOST": server.url})
    assert ran.returncode == 0, ran.stderr
    assert "ollama    usable" in ran.stdout
    assert "llama3.2:latest, qwen3:4b" in ran.stdout
    assert "model llama3.2" in ran.stdout.splitlines()[-1]


def test_it_says_what_to_do_where_none_answers() -> None:
    ran = run("doctor")
    assert "ollama serve" in ran.stdout
    assert "not usable" in ran.stdout


def test_it_brings_no_model(tmp_path: Path) -> None:
    ran = run("doctor", env={"MELLEA_RX_CACHE": str(tmp_path)})
    assert "is downloaded on first use" in ran.stdout
    assert list(tmp_path.iterdir()) == []


def test_json_has_it_all_and_no_key(server: ServerProcess) -> None:
    env = {"OPENAI_API_KEY": "sk-secret-1", "OPENAI_BASE_URL": server.url}
    ran = run("doctor", "--json", env=env)
    found = json.loads(ran.stdout)
    assert "sk-secret" not in ran.stdout + ran.stderr
    assert found["openai_key"] is True
    assert found["loop"] in ("uvloop", "asyncio")
    assert {each["name"] for each in found["backends"]} == {"ollama", "openai", "local"}
    assert found["extras"]["cli"]["typer"]
