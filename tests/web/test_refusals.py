"""Arguments of `respond` and `websocket` that cannot be used are refused by name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import reactivex as rx
from starlette.websockets import WebSocketDisconnect

from mellea_rx import InvalidInputError
from mellea_rx.web import respond, websocket
from tests.core.hand import started
from tests.core.python import runs_cleanly
from tests.core.test_leaving import is_left


@pytest.mark.parametrize("protocol", ["SSE", "", None, 7])
def test_a_protocol_that_there_is_not(protocol: Any) -> None:
    with pytest.raises(InvalidInputError, match="protocol must be one of 'sse', 'ndjson', 'ui'"):
        asyncio.run(respond(None, rx.of("a"), protocol=protocol))  # type: ignore[arg-type]


def test_an_answer_that_is_none() -> None:
    with pytest.raises(InvalidInputError, match="not str"):
        asyncio.run(respond(None, "a"))  # type: ignore[arg-type]


@pytest.mark.parametrize("socket", [None, 7, object()])
def test_a_socket_that_is_none(socket: Any) -> None:
    with pytest.raises(InvalidInputError, match="socket must be a WebSocket of aiohttp, Starlette"):
        asyncio.run(websocket(socket, rx.of("a")))


class Vanished:
    """Starlette's socket of a client that has left, which only sending tells."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def send_text(self, text: str) -> None:
        raise self._error

    async def receive(self) -> Any:
        await asyncio.sleep(60)


@pytest.mark.parametrize("error", [WebSocketDisconnect(1006), RuntimeError("closed")])
def test_a_client_that_has_left_ends_the_answer(error: Exception) -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("a")
        assert await websocket(Vanished(error), thunk) == "disconnected"
        await is_left(answer)

    asyncio.run(main())


def test_the_package_imports_no_web_framework() -> None:
    code = """
    import sys
    import mellea_rx.web
    print(sorted({"aiohttp", "starlette", "fastapi", "django"} & set(sys.modules)))
    """
    assert runs_cleanly(code).strip() == "[]"
