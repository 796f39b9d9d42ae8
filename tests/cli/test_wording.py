"""Messages name options of the command line, never Python arguments."""

from __future__ import annotations

import re

import pytest

from mellea_rx import ModelOption
from mellea_rx.cli.log_output import OPTIONS, in_options
from tests.cli.program import run
from tests.support.server_process import ServerProcess

PYTHON = re.compile(
    r"ModelOption|start_session|Backend\(|Limits\(|RetryPolicy|base_url|model_id|api_key"
    r"|strategy=|\b[A-Z]+_[A-Z_]+=|(?<![-\w])(int|str|bool|dict|None|True|False)\b"
)

WRONG = {
    ModelOption.TEMPERATURE: "-1",
    ModelOption.SEED: "x",
    ModelOption.MAX_NEW_TOKENS: "0",
    ModelOption.SYSTEM_PROMPT: "5",
    ModelOption.STOP_SEQUENCES: "[1]",
    ModelOption.CONTEXT_WINDOW: "true",
    ModelOption.THINKING: "[]",
    ModelOption.STREAM: "true",
    ModelOption.STREAM_TIMEOUT: "0",
    ModelOption.FIRST_TOKEN_TIMEOUT: "-1",
    ModelOption.TOTAL_TIMEOUT: "false",
    ModelOption.RETRIES: "-1",
    ModelOption.ON_INTERRUPT: "maybe",
    ModelOption.TOOLS: "x",
    ModelOption.TOOL_CHOICE: "1",
}


@pytest.mark.parametrize("option", ModelOption)
def test_a_wrong_value_is_refused_by_the_options_own_name(option: ModelOption) -> None:
    name = option.value.removeprefix("@")
    ran = run("run", "-b", "scripted", "-o", f"{name}={WRONG[option]}", "Go.")
    assert ran.returncode == 2, ran.stderr
    assert OPTIONS.get(option, name) in ran.stderr
    assert not PYTHON.search(ran.stderr), ran.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--backend", "ollama", "--base-url", "ftp://x"],
        ["--backend", "ollama", "-o", "tool_choice=required"],
        ["--backend", "openai", "-o", "context_window=5"],
        ["--backend", "local", "-o", "thinking=high"],
        ["--backend", "local", "-o", "n=2"],
        ["--backend", "local", "--base-url", "http://localhost:1"],
        ["--backend", "scripted", "-o", "@stem=1"],
        ["--backend", "scripted", "-o", "messages=1"],
        ["--backend", "ollama", "--base-url", "http://127.0.0.1:9"],
        ["--backend", "local", "--model", "/nowhere.gguf"],
    ],
)
def test_no_error_names_an_argument_of_pythons(arguments: list[str]) -> None:
    ran = run("run", *arguments, "Go.", env={"OPENAI_API_KEY": "sk-1"})
    assert ran.returncode in (2, 3), ran.stderr
    assert not PYTHON.search(ran.stderr), ran.stderr


def test_a_missing_key_is_one_of_the_environments() -> None:
    ran = run("run", "--backend", "openai", "Go.")
    assert ran.returncode == 3
    assert "set OPENAI_API_KEY (for another server" in ran.stderr
    assert "--base-url" in ran.stderr


@pytest.mark.parametrize("given", ["tempertaure=3", "Temprature=3", "temperatur=3"])
def test_a_misspelt_option_is_refused_with_the_right_name(given: str) -> None:
    ran = run("run", "--backend", "scripted", "-o", given, "Go.")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "did you mean temperature" in ran.stderr


@pytest.mark.parametrize("backend", ["openai", "local"])
def test_several_answers_are_refused_in_the_command_lines_words(backend: str) -> None:
    ran = run("run", "--backend", backend, "-o", "n=2", "Go.", env={"OPENAI_API_KEY": "sk-1"})
    assert ran.returncode == 2, ran.stderr
    assert not PYTHON.search(ran.stderr), ran.stderr


@pytest.mark.parametrize("how", [[], ["--json"]])
def test_an_error_of_a_call_names_the_option_that_helps(
    how: list[str], server: ServerProcess
) -> None:
    server.script("m", chunks=["a", "b"], stall_after=1)
    where = ["--backend", "ollama", "--base-url", server.url, "--model", "m"]
    ran = run("run", *how, *where, "--timeout", "0.3", "Go.")
    assert ran.returncode == 4
    assert "--timeout" in ran.stdout + ran.stderr
    assert "STREAM_TIMEOUT" not in ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("did you mean ModelOption.TEMPERATURE?", "did you mean --temperature?"),
        ("write MAX_NEW_TOKENS=5", "write --max-tokens 5"),
        ("give it MAX_NEW_TOKENS=", "give it --max-tokens"),
        ("ModelOption.RETRIES=2", "-o retries=2"),
        ("'@total_timeout' it is", "-o total_timeout it is"),
        ("the SEED of it all", "the SEED of it all"),
        ("or base_url=), or", "or --base-url), or"),
        ("the model said: a base_url_of_mine", "the model said: a base_url_of_mine"),
    ],
)
def test_names_are_exchanged_and_nothing_else(message: str, said: str) -> None:
    assert in_options(message).rstrip() == said
