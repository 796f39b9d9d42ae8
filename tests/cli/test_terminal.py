"""`mellea-rx run` on a terminal: live panels side by side, and a clean terminal at the end."""

from __future__ import annotations

import re
import signal

import pytest

from tests.cli.program import on_terminal, to_its_end
from tests.support.server_process import ServerProcess

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def plain(screen: str) -> str:
    """The text of the output, without escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)", "", screen)


def ollama(server: ServerProcess) -> list[str]:
    return ["--backend", "ollama", "--base-url", server.url, "--model", "m"]


def test_three_prompts_stand_side_by_side_and_the_cursor_comes_back(server: ServerProcess) -> None:
    server.script(
        "m",
        by_prompt={
            name: {"chunks": [f"{name} {n}\n" for n in range(6)], "delay": 0.05}
            for name in ("hills", "rivers", "woods")
        },
    )
    program = on_terminal("run", *ollama(server), "On hills.", "On rivers.", "On woods.")
    screen, code = to_its_end(program)
    assert code == 0
    assert screen.rindex(SHOW) > screen.rindex(HIDE)
    text = plain(screen)
    titles = [line for line in text.splitlines() if "1 On hills." in line and "3 On woods." in line]
    assert titles, "the three panels share a row"
    # The panels are live: texts stood side by side before the last one was complete.
    assert any("hills 2" in line and "woods 2" in line for line in text.splitlines())
    assert "first text" in text.splitlines()[-8:][0] or "first text" in text
    assert "all 3 in" in text


def test_a_narrow_terminal_stacks_them(server: ServerProcess) -> None:
    server.script("m", chunks=["text"])
    program = on_terminal("run", *ollama(server), "One.", "Two.", columns=40)
    screen, code = to_its_end(program)
    assert code == 0
    assert not any("1 One." in line and "2 Two." in line for line in plain(screen).splitlines())


def test_what_a_model_says_cannot_drive_the_terminal(server: ServerProcess) -> None:
    server.script("m", chunks=["before\x1b[2J\x1b]0;owned\x07after\u202e\u2066"])
    program = on_terminal("run", *ollama(server), "Go.")
    screen, code = to_its_end(program)
    assert code == 0
    assert "\x1b[2J" not in screen
    assert "\x1b]0;owned" not in screen
    assert "before␛[2J" in plain(screen)
    assert "\u202e" not in screen
    assert "\u2066" not in screen
    assert r"\u202e\u2066" in plain(screen)


def test_ctrl_c_ends_the_generations_and_leaves_the_terminal_clean(server: ServerProcess) -> None:
    server.script("m", chunks=["some text "] + ["more "] * 200, delay=0.05)
    program = on_terminal("run", *ollama(server), "One.", "Two.")
    program.expect("some text")
    program.sendintr()
    screen, code = to_its_end(program)
    assert code == 130
    assert screen.rindex(SHOW) > screen.rfind(HIDE)
    assert "some text" in plain(screen)
    assert "(cancelled)" in plain(screen)
    assert "Traceback" not in screen
    server.wait_for(lambda: all(each["client_closed"] for each in server.log("m")))


def test_sigterm_does_the_same(server: ServerProcess) -> None:
    server.script("m", chunks=["some text "] + ["more "] * 200, delay=0.05)
    program = on_terminal("run", *ollama(server), "One.")
    program.expect("some text")
    program.kill(signal.SIGTERM)
    screen, code = to_its_end(program)
    assert code == 143
    assert "Traceback" not in screen
    server.wait_for(lambda: all(each["client_closed"] for each in server.log("m")))


def test_more_runs_than_panels_fit_are_a_line_each_and_the_rest_is_counted(
    server: ServerProcess,
) -> None:
    server.script("m", chunks=["one ", "two ", "three"], delay=0.1)
    prompts = [f"Prompt {n}." for n in range(1, 25)]
    program = on_terminal("run", *ollama(server), *prompts, columns=60, rows=10)
    screen, code = to_its_end(program)
    assert code == 0
    lines = plain(screen).splitlines()
    assert any(re.search(r"1 Prompt 1\. .*one", line) for line in lines)
    assert any("… and 17 more" in line for line in lines)
    assert all(len(line) <= 60 for line in lines if "Prompt" in line)


def test_the_backend_and_the_model_are_named(server: ServerProcess) -> None:
    server.script("m", chunks=["text"])
    screen, code = to_its_end(on_terminal("run", *ollama(server), "One."))
    assert code == 0
    assert f"m on ollama at {server.url}" in plain(screen)


def test_a_model_that_auto_took_is_named_once(server: ServerProcess) -> None:
    server.script("/api/tags", body={"models": [{"name": "m:latest"}]})
    server.script("m:latest", chunks=["text"])
    screen, code = to_its_end(on_terminal("run", "One.", OLLAMA_HOST=server.url))
    assert code == 0
    assert f"m:latest on ollama at {server.url}" in plain(screen)
    assert plain(screen).count(server.url) == 1


@pytest.mark.parametrize("columns", [30, 40, 80, 120])
def test_nothing_is_wider_than_the_terminal(columns: int, server: ServerProcess) -> None:
    server.script("m", chunks=["some words "] * 12)
    prompts = ["A rather long prompt about hills.", "Rivers."]
    screen, code = to_its_end(on_terminal("run", *ollama(server), *prompts, columns=columns))
    assert code == 0
    lines = [line.rstrip() for line in plain(screen).splitlines()]
    table = lines[next(n for n, line in enumerate(lines) if line.startswith("#")) :]
    assert {"prompt", "time"} <= set(table[0].split())
    assert max(map(len, table)) <= columns
    assert [line.split()[0] for line in table[2:4]] == ["1", "2"]


def test_quiet_prints_the_answer_and_draws_nothing(server: ServerProcess) -> None:
    server.script("m", chunks=["one ", "two"])
    screen, code = to_its_end(on_terminal("run", "-q", *ollama(server), "Go."))
    assert (code, screen) == (0, "one two\r\n")


def script_a_rejection(server: ServerProcess) -> None:
    """Two attempts, of which the judge rejects the first."""
    server.script(
        "m",
        [
            {"chunks": ["The sea ", "ROARS!"], "delay": 0.2},
            {"chunks": ['{"verdict": "no", "reason": "it shouts"}'], "delay": 0.3},
            {"chunks": ["The sea ", "is quiet."], "delay": 0.2},
            {"chunks": ['{"verdict": "yes", "reason": "calm"}']},
        ],
    )


@pytest.mark.parametrize("release", ["validated", "live"])
def test_text_that_is_rejected_is_struck_through(server: ServerProcess, release: str) -> None:
    script_a_rejection(server)
    checks = ["--requirement", "It does not shout.", "--release", release]
    screen, code = to_its_end(on_terminal("run", *ollama(server), *checks, "Praise the sea."))
    assert code == 0
    assert "The sea ROARS!" in plain(screen)
    struck = r"\x1b\[(\d+;)*9(;\d+)*mThe sea ROARS!"
    assert re.search(struck, screen), "it was shown struck through"
    assert "The sea is quiet." in plain(screen)


def test_without_a_release_policy_rejected_text_is_not_shown(server: ServerProcess) -> None:
    script_a_rejection(server)
    checks = ["--requirement", "It does not shout."]
    screen, code = to_its_end(on_terminal("run", *ollama(server), *checks, "Praise the sea."))
    assert code == 0
    assert "ROARS" not in plain(screen)
    assert "The sea is quiet." in plain(screen)
