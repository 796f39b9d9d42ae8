"""`mellea-rx chat`: a conversation, on a terminal and in a pipe."""

from __future__ import annotations

import pexpect

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
