"""`mellea-rx chat`: a conversation, on a terminal and in a pipe."""

from __future__ import annotations

import pexpect

from tests.cli.program import on_terminal, run, to_its_end
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
    for line, told in (("/help", "/reset"), ("/rest", "no command /rest"), ("Hi.", "Yes.")):
        chat.expect("you> ")
        chat.sendline(line)
        chat.expect_exact(told)
    chat.expect("you> ")
    chat.sendline("/reset")
    chat.expect("forgotten")
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
