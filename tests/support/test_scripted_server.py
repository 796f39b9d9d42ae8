"""The scripted server does what its scripts say."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any

import pytest

from tests.support.server_process import ServerProcess


def ask(
    server: ServerProcess, path: str, body: Any = None, method: str = "POST"
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def chat(model: str, text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def lines(payload: bytes) -> list[Any]:
    return [json.loads(line) for line in payload.splitlines()]


def events(payload: bytes) -> list[str]:
    return [event.removeprefix("data: ") for event in payload.decode().split("\n\n") if event]


def test_ollama_speaks_ndjson(server: ServerProcess) -> None:
    server.script("m", chunks=["Hé", "llo"], usage={"prompt": 3, "completion": 2})
    status, payload = ask(server, "/api/chat", chat("m"))
    first, second, done = lines(payload)
    assert status == 200
    assert first["message"]["content"] + second["message"]["content"] == "Hé" + "llo"
    assert (done["done"], done["done_reason"]) == (True, "stop")
    assert (done["prompt_eval_count"], done["eval_count"]) == (3, 2)


def test_openai_speaks_sse(server: ServerProcess) -> None:
    server.script("m", chunks=["a", "b"], thinking=["hm"])
    body = chat("m", stream=True, stream_options={"include_usage": True})
    _, payload = ask(server, "/v1/chat/completions", body)
    *frames, last = events(payload)
    deltas = [json.loads(frame) for frame in frames]
    assert last == "[DONE]"
    assert deltas[0]["choices"][0]["delta"] == {"reasoning_content": "hm", "role": "assistant"}
    assert [d["choices"][0]["delta"].get("content") for d in deltas[1:3]] == ["a", "b"]
    assert deltas[3]["choices"][0]["finish_reason"] == "stop"
    assert deltas[4]["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def test_tool_calls_take_each_dialects_form(server: ServerProcess) -> None:
    server.script("m", chunks=[], tool_calls=[{"name": "add", "arguments": {"x": 1}}])
    call, _ = lines(ask(server, "/api/chat", chat("m"))[1])
    function = {"name": "add", "arguments": {"x": 1}}
    assert call["message"]["tool_calls"] == [{"function": function}]
    *frames, _, _ = events(ask(server, "/v1/chat/completions", chat("m", stream=True))[1])
    deltas = [json.loads(f)["choices"][0]["delta"]["tool_calls"][0]["function"] for f in frames]
    assert "".join(delta["arguments"] for delta in deltas) == '{"x": 1}'


def test_scripts_play_in_turn_and_the_last_repeats(server: ServerProcess) -> None:
    server.script("m", [{"status": 503, "headers": {"Retry-After": "1"}}, {"chunks": ["up"]}])
    assert [ask(server, "/api/chat", chat("m"))[0] for _ in range(3)] == [503, 200, 200]


def test_by_prompt_gives_each_prompt_its_text(server: ServerProcess) -> None:
    server.script("m", by_prompt={"cat": {"chunks": ["meow"]}}, chunks=["?"])
    texts = [
        lines(ask(server, "/api/chat", chat("m", word))[1])[0]["message"]["content"]
        for word in ("a cat", "a stone")
    ]
    assert texts == ["meow", "?"]


def test_echo_and_log_show_the_request(server: ServerProcess) -> None:
    server.script("m", echo=True, delay=0.01)
    body = chat("m", options={"seed": 1}, stream=False)
    answer = json.loads(ask(server, "/api/chat", body)[1])
    (entry,) = server.log("m")
    assert json.loads(answer["message"]["content"]) == entry["body"] == body
    assert (entry["path"], entry["headers"]["host"]) == ("/api/chat", f"127.0.0.1:{server.port}")
    assert entry["started"] <= entry["ended"] <= time.monotonic()


def test_times_of_chunks_are_recorded(server: ServerProcess) -> None:
    server.script("m", chunks=["a", "b", "c"], delay=0.02, first_delay=0.05)
    ask(server, "/api/chat", chat("m"))
    (entry,) = server.log()
    first, _, last = entry["chunks"]
    assert first - entry["started"] >= 0.06
    assert last - first >= 0.03


@pytest.mark.parametrize(
    ("script", "ends_well", "count"),
    [
        ({"break_after": 1}, False, 1),
        ({"error_after": 1}, True, 2),
        ({"omit_done": True}, True, 2),
        ({"raw_lines": [b"\xff\n", "x\n"]}, True, 2),
        ({"split": 3, "split_delay": 0}, True, 3),
        ({"bursts": True}, True, 3),
        ({"framing": "close"}, True, 3),
        ({"repeat": 4}, True, 9),
    ],
)
def test_ends_as_scripted(
    server: ServerProcess, script: dict[str, Any], ends_well: bool, count: int
) -> None:
    server.script("m", chunks=["a", "b"], **script)
    try:
        payload = ask(server, "/api/chat", chat("m"))[1]
    except http.client.IncompleteRead as error:
        assert not ends_well
        payload = error.partial
    else:
        assert ends_well
    assert payload.count(b"\n") == count


@pytest.mark.parametrize("script", [{"reset_after": 0}, {"hang_up": True}])
def test_connections_are_lost_as_scripted(server: ServerProcess, script: dict[str, Any]) -> None:
    server.script("m", **script)
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        ask(server, "/api/chat", chat("m"))


def test_a_closed_client_is_noticed(server: ServerProcess) -> None:
    server.script("m", stall_after=1)
    body = json.dumps(chat("m")).encode()
    head = b"POST /api/chat HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head + body)
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
        assert server.connections() == 1
        assert not server.log()[0]["client_closed"]
    server.wait_for(lambda: server.log()[0]["client_closed"] and not server.connections())
    assert server.log()[0]["ended"] is None


def test_connections_are_kept_alive(server: ServerProcess) -> None:
    server.script("m")
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for _ in range(2):
        client.request("POST", "/api/chat", json.dumps(chat("m")))
        client.getresponse().read()
    client.close()
    first, second = server.log()
    assert first["connection"] == second["connection"]


def test_models_and_paths(server: ServerProcess) -> None:
    server.script("org/a:1")
    server.script("/api/version", status=500, body={"error": "no"})
    assert json.loads(ask(server, "/api/tags", method="GET")[1])["models"][0]["name"] == "org/a:1"
    assert json.loads(ask(server, "/v1/models", method="GET")[1])["data"][0]["id"] == "org/a:1"
    assert ask(server, "/api/show", {"model": "org/a:1"})[0] == 200
    assert ask(server, "/api/version", method="GET") == (500, b'{"error": "no"}')
    missing = (404, b'{"error": "model \'b\' not found"}')
    assert ask(server, "/api/chat", chat("b")) == missing


def test_an_unknown_field_is_refused(server: ServerProcess) -> None:
    with pytest.raises(ValueError, match="chunk"):
        server.script("m", chunk=["typo"])


def heard(server: ServerProcess, model: str) -> tuple[bytes, str]:
    """All bytes that come after a request, and how they end."""
    body = json.dumps(chat(model)).encode()
    head = f"POST /api/chat HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
        connection.settimeout(1.5)
        connection.sendall(head + body)
        came = b""
        try:
            while data := connection.recv(1000):
                came += data
        except TimeoutError:
            return came, "silence"
        except ConnectionResetError:
            return came, "reset"
        return came, "end"


@pytest.mark.parametrize(
    ("how", "came", "end"),
    [
        ({}, b"HTTP/1.1 200 OK\r\n\r\n\xff", "end"),
        ({"stall_after": 1}, b"HTTP/1.1 200 OK\r\n", "silence"),
        ({"reset_after": 1}, b"HTTP/1.1 200 OK\r\n", "reset"),
    ],
)
def test_wire_replaces_the_whole_response(
    server: ServerProcess, how: dict[str, int], came: bytes, end: str
) -> None:
    server.script("m", wire=["HTTP/1.1 200 OK\r\n", b"\r\n\xff"], **how)
    assert heard(server, "m") == (came, end)
