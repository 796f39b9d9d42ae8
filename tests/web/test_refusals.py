"""Arguments of `respond` and `websocket` that cannot be used are refused by name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import reactivex as rx

from mellea_rx import InvalidInputError
from mellea_rx.web import respond, websocket
from tests.core.python import runs_cleanly


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


def test_the_package_imports_no_web_framework() -> None:
    code = """
    import sys
    import mellea_rx.web
    print(sorted({"aiohttp", "starlette", "fastapi", "django"} & set(sys.modules)))
    """
    assert runs_cleanly(code).strip() == "[]"
