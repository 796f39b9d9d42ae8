"""`respond`: an answer as the response of an aiohttp server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal

from mellea_rx.core.types.validation import require_choice
from mellea_rx.web.ag_ui import ag_ui
from mellea_rx.web.answer_items import Source
from mellea_rx.web.byte_stream import ByteStream
from mellea_rx.web.plain import ndjson, sse
from mellea_rx.web.ui_message import ui_message_stream

if TYPE_CHECKING:
    from aiohttp import web

Protocol = Literal["sse", "ndjson", "ui", "ag-ui"]

_STREAMS = {"sse": sse, "ndjson": ndjson, "ui": ui_message_stream, "ag-ui": ag_ui}

_LOOK = 0.05
"""Seconds between two checks whether the client is there: aiohttp tells a handler only when it
writes."""


async def respond(
    request: web.Request, source: Source | ByteStream, *, protocol: Protocol = "sse"
) -> web.StreamResponse:
    """Send an answer as the response of an aiohttp handler, and end it when the client leaves.

    A client that disconnects is seen within 50 ms, also while the model says nothing; the request
    to the model is ended then.

    Example:
        >>> async def handle(request):
        ...     thunk = await m.ainstruct("Hello.", stream=True)
        ...     return await respond(request, thunk)

    Args:
        request: The handler's request.
        source: A thunk, an Observable of chunks or texts, or a `ByteStream` with settings of its
            own.
        protocol: "sse", "ndjson", "ui" (Vercel's AI SDK) or "ag-ui"; a `ByteStream` has its own.

    Returns:
        The response, sent; the handler returns it.

    Raises:
        InvalidInputError: `source` or `protocol` is something else.
    """
    require_choice("protocol", protocol, Protocol)
    stream = source if isinstance(source, ByteStream) else _STREAMS[protocol](source)
    from aiohttp import web

    async with stream:
        headers = {**stream.headers, "Content-Type": stream.content_type}
        response = web.StreamResponse(headers=headers)
        with suppress(ConnectionError), _closed_with_client(request, stream):
            await response.prepare(request)
            async for data in stream:
                await response.write(data)
            await response.write_eof()
        return response


@contextmanager
def _closed_with_client(request: web.Request, stream: ByteStream) -> Iterator[None]:
    """Close the stream when the client has left."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal timer
        transport = request.transport
        if transport is None or transport.is_closing():
            stream.close()
        else:
            timer = loop.call_later(_LOOK, look)

    timer = loop.call_later(_LOOK, look)
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
