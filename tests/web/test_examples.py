"""The servers in examples/web: real clients read their answers, and leave in the middle."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.core.hand import PATIENCE
from tests.support.server_process import ServerProcess
from tests.support.timing import assert_in_time

pytestmark = [pytest.mark.slow, pytest.mark.alone]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "web"
QUESTION = {"question": "Hello?"}
CHAT = {"messages": [{"role": "user", "parts": [{"type": "text", "text": "Hello?"}]}]}
AT_ONCE = 0.2
"""Seconds from the client's leaving to the end of the request to the model."""

ASKED: dict[str, Callable[[aiohttp.ClientSession, str], Any]] = {
    "fastapi_sse": lambda client, url: client.get(f"{url}/ask", params=QUESTION),
    "django_sse": lambda client, url: client.get(f"{url}/ask", params=QUESTION),
    "aiohttp_lines": lambda client, url: client.get(f"{url}/ask", params=QUESTION),
    "starlette_ai_sdk": lambda client, url: client.post(f"{url}/api/chat", json=CHAT),
}
TALKING: dict[str, Any] = {"chunks": ["Once "] * 10_000, "delay": 0.01}
SILENT: dict[str, Any] = {"chunks": ["Once ", "upon"], "stall_after": 1}
every_server = pytest.mark.parametrize("name", ASKED)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port: int = bound.getsockname()[1]
        return port


@contextmanager
def serving(name: str, model: ServerProcess) -> Iterator[str]:
    """An example that runs; its address."""
    port = free_port()
    environment = os.environ | {
        "MELLEA_RX_BACKEND": "ollama",
        "MELLEA_RX_MODEL": "poet",
        "OLLAMA_HOST": model.url,
    }
    command = [sys.executable, "-W", "error::ResourceWarning", str(EXAMPLES / f"{name}.py")]
    process = subprocess.Popen([*command, str(port)], env=environment, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        _, told = process.communicate(timeout=PATIENCE)
    assert b"Traceback" not in told, told.decode()


def left_after(model: ServerProcess, left: float) -> float:
    """Seconds from a client's leaving to the end of the request to the model."""
    entry = model.wait_for(lambda: next((e for e in model.log("poet") if e["client_closed"]), None))
    model.clear_log()
    closed_at: float = entry["client_closed_at"]
    return closed_at - left


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(ASKED)


async def read(name: str, url: str) -> str:
    async with aiohttp.ClientSession() as client, ASKED[name](client, url) as response:
        assert response.status == 200
        text: str = await response.text()
        return text


async def leave(name: str, url: str) -> float:
    """Read the beginning of an answer, and leave; the time of that."""
    async with aiohttp.ClientSession() as client:
        response = await ASKED[name](client, url)
        await response.content.readuntil(b"Once ")
        left = time.monotonic()
        response.close()
        return left


@every_server
def test_clients_read_whole_answers_and_leave_others(name: str, server: ServerProcess) -> None:
    server.script("poet", chunks=["Once ", "upon ", "a time"], delay=0.01)
    with serving(name, server) as url:
        whole = asyncio.run(read(name, url))
        server.clear_log()
        assert whole.index("Once ") < whole.index("upon ") < whole.index("a time")
        for script in (TALKING, SILENT):
            server.script("poet", **script)
            assert_in_time(AT_ONCE, lambda: left_after(server, asyncio.run(leave(name, url))))
        server.script("poet", chunks=["still ", "there"])
        assert "still " in asyncio.run(read(name, url))


@pytest.mark.parametrize("name", ["aiohttp_lines", "starlette_ai_sdk"])
def test_over_a_websocket_a_client_asks_cancels_and_asks_again(
    name: str, server: ServerProcess
) -> None:
    async def main(url: str) -> None:
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(f"{url}/talk") as connection,
        ):
            await connection.send_str("Hello?")
            told = [json.loads(await connection.receive_str(timeout=PATIENCE)) for _ in range(4)]
            assert [each.get("text") for each in told] == ["Once ", "upon ", "a time", None]
            assert told[-1]["type"] == "done"

            server.clear_log()
            server.script("poet", chunks=["Once ", "upon"], stall_after=1)
            await connection.send_str("Again?")
            assert (await connection.receive_json(timeout=PATIENCE))["text"] == "Once "
            for noise in ("no JSON", "7", '{"type": "other"}'):
                await connection.send_str(noise)
            left = time.monotonic()
            await connection.send_json({"type": "cancel"})
            assert await connection.receive_json(timeout=PATIENCE) == {"type": "cancelled"}
            await asyncio.to_thread(left_after, server, left)

            server.clear_log()
            await connection.send_str("Once more?")
            assert (await connection.receive_json(timeout=PATIENCE))["text"] == "Once "
            left = time.monotonic()
        await asyncio.to_thread(left_after, server, left)

    server.script("poet", chunks=["Once ", "upon ", "a time"], delay=0.01)
    with serving(name, server) as url:
        asyncio.run(main(url))


@pytest.mark.parametrize("name", ["aiohttp_lines", "starlette_ai_sdk"])
def test_over_a_websocket_a_client_that_vanishes_ends_its_answer(
    name: str, server: ServerProcess
) -> None:
    """Without the end that a WebSocket has; the server says nothing of an error."""

    async def main(url: str) -> None:
        async with aiohttp.ClientSession() as client:
            connection = await client.ws_connect(f"{url}/talk")
            await connection.send_str("Hello?")
            await connection.receive_str(timeout=PATIENCE)
            transport = connection.get_extra_info("socket")
            transport.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection._response.connection.transport.abort()  # type: ignore[union-attr]
            await asyncio.to_thread(left_after, server, 0.0)

    with serving(name, server) as url:
        for script in (TALKING, SILENT):
            server.clear_log()
            server.script("poet", **script)
            asyncio.run(main(url))
