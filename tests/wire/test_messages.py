"""Tool calls and their results in a conversation, in the exact format of each server."""

from __future__ import annotations

from typing import Any

import pytest

from mellea_rx import ChatContext, MelleaSession, OllamaBackend, OpenAIBackend, ToolCall
from mellea_rx.backends import Request, RequestMessage
from mellea_rx.stdlib.components import ToolMessage
from tests.core.hand import Recorder
from tests.support.server_process import ServerProcess

CALL = ToolCall("add", {"a": 1, "b": [2.5, "é"]}, "call-1")
MESSAGES = (
    RequestMessage("user", "What is 1 + 2?"),
    RequestMessage("assistant", "", tool_calls=(CALL, ToolCall("now", {}, "call-2"))),
    RequestMessage("tool", "3", tool_name="add", tool_call_id="call-1"),
    RequestMessage("tool", "noon", tool_name="now", tool_call_id="call-2"),
    RequestMessage("assistant", "Three.", tool_calls=(CALL,)),
    RequestMessage("user", "Thanks."),
)


def sent(backend: Any, server: ServerProcess, messages: tuple[RequestMessage, ...]) -> Any:
    """The messages in the body of a request."""
    server.script("m", chunks=["ok"])
    recorder = Recorder()
    recorder.to(backend.stream(Request(messages)))
    assert recorder.ended.wait(30)
    assert recorder.error is None
    backend.close()
    return server.log("m")[-1]["body"]["messages"]


def test_ollama_has_names_and_objects(server: ServerProcess) -> None:
    add = {"function": {"name": "add", "arguments": {"a": 1, "b": [2.5, "é"]}}}
    assert sent(OllamaBackend("m", base_url=server.url), server, MESSAGES) == [
        {"role": "user", "content": "What is 1 + 2?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [add, {"function": {"name": "now", "arguments": {}}}],
        },
        {"role": "tool", "content": "3", "tool_name": "add"},
        {"role": "tool", "content": "noon", "tool_name": "now"},
        {"role": "assistant", "content": "Three.", "tool_calls": [add]},
        {"role": "user", "content": "Thanks."},
    ]


def test_openai_has_ids_and_json_texts(server: ServerProcess) -> None:
    add = {
        "id": "call-1",
        "type": "function",
        "function": {"name": "add", "arguments": '{"a":1,"b":[2.5,"é"]}'},
    }
    now = {"id": "call-2", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    assert sent(OpenAIBackend("m", base_url=server.url), server, MESSAGES) == [
        {"role": "user", "content": "What is 1 + 2?"},
        {"role": "assistant", "content": None, "tool_calls": [add, now]},
        {"role": "tool", "content": "3", "tool_call_id": "call-1"},
        {"role": "tool", "content": "noon", "tool_call_id": "call-2"},
        {"role": "assistant", "content": "Three.", "tool_calls": [add]},
        {"role": "user", "content": "Thanks."},
    ]


@pytest.mark.parametrize("kind", [OllamaBackend, OpenAIBackend])
def test_a_turn_with_a_tool_call_is_told_again_with_it(kind: Any, server: ServerProcess) -> None:
    calls = [{"name": "add", "arguments": {"a": 1}}]
    server.script("m", [{"chunks": [], "tool_calls": calls}, {"chunks": ["Done."]}])
    with MelleaSession(kind("m", base_url=server.url), ChatContext()) as m:
        asked = m.instruct("Add.")
        (call,) = asked.tool_calls
        assert m.act(ToolMessage("add", "2", call.id)).value == "Done."
    _, said, result = server.log("m")[1]["body"]["messages"]
    (again,) = said["tool_calls"]
    assert again["function"]["name"] == "add"
    assert result["content"] == "2"
    if kind is OpenAIBackend:
        assert result["tool_call_id"] == again["id"] == "call_0"
    else:
        assert result["tool_name"] == "add"
