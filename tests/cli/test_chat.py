"""`mellea-rx chat`: a conversation, on a terminal and in a pipe."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pexpect
import pytest

from mellea_rx import ChatContext
from tests.cli.program import on_terminal, run, to_its_end
from tests.cli.test_terminal import plain
from tests.support.server_process import ServerProcess


def ollama(server: ServerProcess) -> list[str]:
    return ["--backend", "ollama", "--base-url", server.url, "--model", "m"]


def test_in_a_pipe_each_line_is_a_turn_that_knows_the_ones_before(server: ServerProcess) -> None:
    server.script("m", by_prompt={"Ada": {"chunks": ["Hello, Ada."]}, "Who": {"chunks": ["Ada."]}})
    ran = run("chat", *ollama(server), stdin="I am Ada.\n\nWho am I?\n")
    assert (ran.returncode, ran.stdout) == (0, "Hello, Ada.\nAda.\n")
    said = [each["content"] for each in server.log("m")[1]["body"]["messages"]]
    assert said == ["I am Ada.", "Hello, Ada.", "Who am I?"]


def test_in_a_pipe_an_error_ends_it_with_its_code(server: ServerProcess) -> None:
    ran = run("chat", *ollama(server), stdin="Hello.\n")
    assert ran.returncode == 3
    assert "ollama pull m" in ran.stderr


def test_ctrl_c_ends_an_answer_and_keeps_the_chat(server: ServerProcess) -> None:
    endless = {"chunks": ["word "] * 400, "delay": 0.03}
    server.script("m", by_prompt={"endless": endless, "Again": {"chunks": ["Fine."]}})
    chat = on_terminal("chat", *ollama(server))
    chat.expect("you> ")
    chat.sendline("An endless one.")
    chat.expect("word word")
    chat.sendintr()
    chat.expect("not part of the conversation")
    chat.expect("you> ")
    server.wait_for(lambda: server.log("m")[0]["client_closed"])
    chat.sendline("Again.")
    chat.expect("Fine.")
    chat.expect("you> ")
    chat.sendeof()
    _, code = to_its_end(chat)
    assert code == 0
    said = [each["content"] for each in server.log("m")[1]["body"]["messages"]]
    assert said == ["Again."]


def test_commands_and_their_mistypings(server: ServerProcess) -> None:
    server.script("m", chunks=["Yes."])
    chat = on_terminal("chat", *ollama(server))
    for line, told in (("/help", "/reset"), ("/rest", "unknown command /rest"), ("Hi.", "Yes.")):
        chat.expect("you> ")
        chat.sendline(line)
        chat.expect_exact(told)
    chat.expect("you> ")
    chat.sendline("/reset")
    chat.expect("conversation cleared")
    chat.expect("you> ")
    chat.sendline("/exit")
    _, code = to_its_end(chat)
    assert code == 0


def test_ctrl_c_at_the_prompt_ends_the_chat(server: ServerProcess) -> None:
    chat = on_terminal("chat", *ollama(server))
    chat.expect("you> ")
    chat.sendintr()
    assert chat.expect(["chat ended", pexpect.EOF]) == 0
    _, code = to_its_end(chat)
    assert code == 130


def test_lines_are_broken_between_words(server: ServerProcess) -> None:
    words = [f"word{n} " for n in range(20)]
    server.script("m", chunks=words, delay=0.01)
    chat = on_terminal("chat", *ollama(server), columns=30)
    chat.expect("you> ")
    chat.sendline("Go.")
    chat.expect("word19")
    lines = plain(chat.before or "").splitlines()
    told = [line for line in lines if line.startswith("word")]
    assert len(told) > 3
    assert all(len(line) <= 30 for line in told)
    assert " ".join(told).split() == "".join(words[:19]).split()
    chat.expect("you> ")
    chat.sendeof()
    to_its_end(chat)


def test_the_model_that_answers_is_named_first(server: ServerProcess) -> None:
    server.script("m", chunks=["Yes."])
    chat = on_terminal("chat", *ollama(server))
    chat.expect("you> ")
    assert f"m on ollama at {server.url}" in plain(chat.before or "")
    chat.sendeof()
    to_its_end(chat)


def test_quiet_shows_the_answers_only(server: ServerProcess) -> None:
    server.script("m", chunks=["Yes."])
    chat = on_terminal("chat", "-q", *ollama(server))
    chat.expect("you> ")
    chat.sendline("Hello.")
    chat.expect("you> ")
    chat.sendeof()
    screen = plain(chat.before or "")
    assert [line for line in screen.splitlines() if line.strip()] == ["Hello.", "Yes."]
    _, code = to_its_end(chat)
    assert code == 0


# Conversations in files.


def test_a_chat_is_saved_after_each_turn_and_goes_on_later(
    server: ServerProcess, tmp_path: Path
) -> None:
    file = tmp_path / "talk.json"
    server.script("m", by_prompt={"Ada": {"chunks": ["Hello, Ada."]}, "Who": {"chunks": ["Ada."]}})
    ran = run("chat", *ollama(server), "--save", str(file), stdin="I am Ada.\n")
    assert (ran.returncode, ran.stdout) == (0, "Hello, Ada.\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    ran = run("chat", *ollama(server), "--continue", str(file), stdin="Who am I?\n")
    assert (ran.returncode, ran.stdout) == (0, "Ada.\n")
    said = [each["content"] for each in server.log("m")[1]["body"]["messages"]]
    assert said == ["I am Ada.", "Hello, Ada.", "Who am I?"]
    assert len(ChatContext.from_json(file.read_text())) == 4
    assert os.listdir(tmp_path) == ["talk.json"]


def test_on_a_terminal_it_says_how_long_the_conversation_is(
    server: ServerProcess, tmp_path: Path
) -> None:
    file = tmp_path / "talk.json"
    server.script("m", chunks=["Yes."])
    run("chat", *ollama(server), "--save", str(file), stdin="One.\nTwo.\n")
    chat = on_terminal("chat", *ollama(server), "--continue", str(file))
    chat.expect_exact("the conversation so far has 2 turns")
    chat.expect("you> ")
    chat.sendline("Three.")
    chat.expect("Yes.")
    chat.expect("you> ")
    assert len(ChatContext.from_json(file.read_text()).turns) == 3
    chat.sendline("/reset")
    chat.expect("conversation cleared")
    chat.expect("you> ")
    chat.sendeof()
    assert to_its_end(chat)[1] == 0
    assert len(ChatContext.from_json(file.read_text())) == 0


@pytest.mark.parametrize(
    ("given", "content", "words"),
    [
        (["--save"], "{}", "exists: continue it with --continue"),
        (["--continue"], None, "cannot be read (No such file or directory); --save begins a new"),
        (["--continue"], "{", "the conversation is no JSON"),
        (["--continue"], '[{"role": "user", "content": 7}]', "messages[0] must have a str"),
        (["--continue"], b"\xff", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_taken(
    given: list[str], content: str | bytes | None, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "talk.json"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    ran = run("chat", "--backend", "scripted", *given, str(file), stdin="Hi.\n")
    assert ran.returncode == 2
    assert words in ran.stderr.replace("\n", " ")
    assert "Traceback" not in ran.stderr


def test_both_files_or_no_folder_are_refused(tmp_path: Path) -> None:
    ran = run("chat", "--backend", "scripted", "--save", "a", "--continue", "b", stdin="Hi.\n")
    assert (ran.returncode, "leave --save out" in ran.stderr) == (2, True)
    ran = run("chat", "--backend", "scripted", "--save", str(tmp_path / "no" / "a"), stdin="Hi.\n")
    assert (ran.returncode, "there is no folder" in ran.stderr) == (2, True)


def test_a_conversation_that_cannot_be_written_is_told(
    server: ServerProcess, tmp_path: Path
) -> None:
    """The file is a folder by the time that it is written."""
    file = tmp_path / "talk.json"
    server.script("m", chunks=["Yes."], delay=0.5)
    chat = on_terminal("chat", *ollama(server), "--save", str(file))
    chat.expect("you> ")
    file.mkdir()
    chat.sendline("One.")
    chat.expect("the conversation is not saved")
    chat.expect("you> ")
    chat.sendeof()
    assert to_its_end(chat)[1] == 0
    assert os.listdir(tmp_path) == ["talk.json"]
