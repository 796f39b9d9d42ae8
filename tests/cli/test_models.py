"""`mellea-rx models`: the models of each backend that answers."""

from __future__ import annotations

import json

from tests.cli.program import on_terminal, run, to_its_end
from tests.cli.test_terminal import plain
from tests.support.server_process import ServerProcess

MODELS = [{"name": "glm-4.6:cloud"}, {"name": "qwen3:4b"}, {"name": "aya:8b"}]


def test_in_a_pipe_a_line_is_a_backend_and_a_model(server: ServerProcess) -> None:
    server.script("/api/tags", body={"models": MODELS})
    ran = run("models", env={"OLLAMA_HOST": server.url})
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [
        "ollama\taya:8b",
        "ollama\tqwen3:4b",
        "ollama\tglm-4.6:cloud",
        "local\tSmolLM2-135M-Instruct",
    ]


def test_json_says_which_of_them_run_elsewhere(server: ServerProcess) -> None:
    server.script("/api/tags", body={"models": MODELS})
    ran = run("models", "--json", "--backend", "ollama", "--base-url", server.url)
    records = [json.loads(line) for line in ran.stdout.splitlines()]
    assert {each["model"]: each["local"] for each in records} == {
        "aya:8b": True,
        "qwen3:4b": True,
        "glm-4.6:cloud": False,
    }
    assert {each["where"] for each in records} == {server.url}


def test_on_a_terminal_it_is_a_table_that_fits_30_columns(server: ServerProcess) -> None:
    server.script(
        "/api/tags", body={"models": [*MODELS, {"name": "a-long/name-that-wraps:70b-q4"}]}
    )
    program = on_terminal("models", "-b", "ollama", "--base-url", server.url, columns=30)
    screen, code = to_its_end(program)
    lines = plain(screen).splitlines()
    assert code == 0
    assert lines[0].split() == ["backend", "model"]
    assert any("(cloud)" in line for line in lines)
    assert max(map(len, lines)) <= 30


def test_a_server_that_does_not_answer_is_told_of_where_it_was_asked_for() -> None:
    ran = run("models", "--backend", "ollama")
    assert (ran.returncode, ran.stdout) == (3, "")
    assert "ollama serve" in ran.stderr


def test_each_model_can_be_given_back_to_run(server: ServerProcess) -> None:
    server.script("/api/tags", body={"models": [{"name": "one:1b"}]})
    server.script("one:1b", chunks=["ok"])
    environment = {"OLLAMA_HOST": server.url}
    backend, model = run("models", env=environment).stdout.splitlines()[0].split("\t")
    ran = run("run", "-b", backend, "-m", model, "Go.", env=environment)
    assert (ran.returncode, ran.stdout) == (0, "ok\n")
