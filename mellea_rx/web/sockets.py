"""`websocket`: an answer over a WebSocket, which the client can cancel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from mellea_rx.core.types.validation import kind_of
from mellea_rx.errors import InvalidInputError
from mellea_rx.web.answer_items import Source
from mellea_rx.web.byte_stream import ByteStream
from mellea_rx.web.encoder import to_json
from mellea_rx.web.plain import PlainEncoder

Outcome = Literal["sent", "cancelled", "disconnected"]
"""The end of an answer: it was sent, the client cancelled it, or the client left."""


class _Socket(NamedTuple):
    """The two functions that are needed of a WebSocket.

    Attributes:
        send: Sends a text.
        receive: Returns the next text; None where the client has left.
    """

    send: Callable[[str], Awaitable[object]]
    receive: Callable[[], Awaitable[str | None]]


async def websocket(socket: Any, source: Source) -> Outcome:
    """Send an answer over a WebSocket: the objects of `ndjson`, one a message.

    The client may send `{"type": "cancel"}`: then the request to the model ends, and the last
    object is `{"type": "cancelled"}`. It ends as well when the client leaves. The socket stays
    open, for the next question; it must not be read by other code meanwhile.

    Example:
        >>> async def handle(socket):                      # of Starlette or FastAPI
        ...     await socket.accept()
        ...     async for question in socket.iter_text():
        ...         thunk = await m.ainstruct(question, stream=True)
        ...         if await websocket(socket, thunk) == "disconnected":
        ...             break

    Args:
        socket: A WebSocket of aiohttp's server, or of Starlette or FastAPI, that is open.
        source: A thunk, or an Observable of chunks or texts.

    Returns:
        "sent", "cancelled" by the client, or "disconnected": then Starlette's socket must not be
        read again.

    Raises:
        InvalidInputError: `socket` or `source` is something else.
    """
    connection = _connection(socket)
    encoder = PlainEncoder("", "\n")
    async with ByteStream(source, encoder, content_type="application/x-ndjson") as stream:
        sending = asyncio.ensure_future(_send(connection, stream))
        listening = asyncio.ensure_future(_wait_for_cancel(connection))
        try:
            await asyncio.wait({sending, listening}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and sending.result():
                return "sent"
            stream.close()
            await asyncio.wait({sending})
            if not (listening.done() and listening.result()):
                return "disconnected"
            await connection.send(to_json({"type": "cancelled"}))
            return "cancelled"
        finally:
            for task in (sending, listening):
                task.cancel()
            await asyncio.gather(sending, listening, return_exceptions=True)


async def _send(connection: _Socket, stream: ByteStream) -> bool:
    try:
        async for data in stream:
            for line in data.decode().splitlines():
                await connection.send(line)
    except ConnectionError:  # the client has left
        return False
    return True


async def _wait_for_cancel(connection: _Socket) -> bool:
    """Whether the client has cancelled; False where it has left."""
    while (text := await connection.receive()) is not None:
        try:
            said = json.loads(text)
        except ValueError:
            continue
        if isinstance(said, dict) and said.get("type") == "cancel":
            return True
    return False


def _connection(socket: Any) -> _Socket:
    if hasattr(socket, "send_str") and hasattr(socket, "receive"):
        return _Socket(socket.send_str, lambda: _received_by_aiohttp(socket))
    if hasattr(socket, "send_text") and hasattr(socket, "receive"):
        return _Socket(partial(_sent_by_starlette, socket), lambda: _received_by_starlette(socket))
    raise InvalidInputError(
        f"socket must be a WebSocket of aiohttp, Starlette or FastAPI, not {kind_of(socket)}"
    )


async def _received_by_aiohttp(socket: Any) -> str | None:
    message = await socket.receive()
    if message.type.name in ("TEXT", "BINARY"):
        return str(message.data) if message.type.name == "TEXT" else ""
    return "" if message.type.name in ("PING", "PONG") else None


async def _sent_by_starlette(socket: Any, text: str) -> None:
    """Send a text.

    Raises:
        ConnectionError: The client has left.
    """
    from starlette.websockets import WebSocketDisconnect

    try:
        await socket.send_text(text)
    except (WebSocketDisconnect, RuntimeError) as error:  # RuntimeError after the disconnect
        raise ConnectionResetError("the client of the WebSocket has left") from error


async def _received_by_starlette(socket: Any) -> str | None:
    message = await socket.receive()
    return None if message["type"] == "websocket.disconnect" else message.get("text") or ""
