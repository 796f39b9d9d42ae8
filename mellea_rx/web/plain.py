"""The library's own protocol for web clients: JSON objects, as events or on lines."""

from __future__ import annotations

from typing import Any

import msgspec

from mellea_rx.core.types.chunk import Chunk, Retracted, Usage
from mellea_rx.core.types.events import Event, Rejected, ToolCalled, ToolReturned
from mellea_rx.web.answer_items import Source
from mellea_rx.web.byte_stream import ByteStream
from mellea_rx.web.encoder import error_words, to_json

KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment keeps proxies from closing an event stream."""


class PlainEncoder:
    """Writes JSON objects with a `type`.

    Args:
        before: The text before each object.
        after: The text after it.
    """

    def __init__(self, before: str, after: str) -> None:
        self._before = before
        self._after = after
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._model: str | None = None

    def start(self) -> str:
        return ""

    def item(self, item: Chunk | Event, /) -> str:
        match item:
            case Retracted():
                return self._one("retracted", characters=item.characters, reason=item.reason)
            case Chunk():
                return self._chunk(item)
            case ToolCalled():
                return self._tool_call(item.call)
            case ToolReturned():
                return self._one(
                    "tool_result", id=item.call_id, name=item.name, content=item.content
                )
            case Rejected():
                return self._one("rejected", attempt=item.attempt, reasons=item.reasons)
        return ""

    def _chunk(self, chunk: Chunk) -> str:
        self._usage = chunk.usage or self._usage
        self._finish_reason = chunk.finish_reason or self._finish_reason
        self._model = chunk.model or self._model
        parts = [self._one("thinking", text=chunk.thinking) if chunk.thinking else ""]
        parts.append(self._one("text", text=chunk.text) if chunk.text else "")
        parts += map(self._tool_call, chunk.tool_calls)
        return "".join(parts)

    def _tool_call(self, call: Any) -> str:
        return self._one("tool_call", id=call.id, name=call.name, arguments=call.arguments)

    def completed(self) -> str:
        usage = None if self._usage is None else msgspec.to_builtins(self._usage)
        ended: dict[str, Any] = {"finish_reason": self._finish_reason, "usage": usage}
        return self._one("done", **ended, model=self._model)

    def failed(self, error: Exception, /) -> str:
        name, message = error_words(error)
        return self._one("error", error=name, message=message)

    def _one(self, kind: str, **fields: Any) -> str:
        return f"{self._before}{to_json({'type': kind, **fields})}{self._after}"


def sse(source: Source, *, keep_alive: float | None = KEEP_ALIVE) -> ByteStream:
    r"""An answer as Server-Sent Events, for `EventSource` and `fetch` in browsers.

    The data of each event is a JSON object with a `type`: "text", "thinking", "tool_call",
    "tool_result", "rejected", "retracted", and at the end "done" or "error"; see docs/web.md.

    Example:
        >>> import asyncio, reactivex as rx
        >>> async def main():
        ...     async for data in sse(rx.of("Hi")):
        ...         print(data)
        >>> asyncio.run(main())
        b'data: {"type":"text","text":"Hi"}\n\ndata: {"type":"done","finish_reason":null,"usage":null,"model":null}\n\n'

    Args:
        source: A thunk, or an Observable of chunks or texts.
        keep_alive: Seconds of silence after which a comment is sent; None for never.

    Returns:
        The bytes, as an async iterator that ends the thunk's request when it is left.

    Raises:
        InvalidInputError: `source` is something else, or `keep_alive` is no number above 0.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """  # noqa: E501
    return ByteStream(
        source,
        PlainEncoder("data: ", "\n\n"),
        content_type="text/event-stream",
        keep_alive=keep_alive,
        idle=b": keep-alive\n\n",
    )


def ndjson(source: Source) -> ByteStream:
    r"""An answer as JSON objects, one a line: the same objects as those of `sse`.

    Example:
        >>> import asyncio, reactivex as rx
        >>> async def main():
        ...     async for data in ndjson(rx.of("Hi")):
        ...         print(data.splitlines()[0])
        >>> asyncio.run(main())
        b'{"type":"text","text":"Hi"}'

    Args:
        source: A thunk, or an Observable of chunks or texts.

    Returns:
        As that of `sse`.

    Raises:
        InvalidInputError: `source` is something else.

    Source: https://github.com/ndjson/ndjson-spec
    """
    return ByteStream(source, PlainEncoder("", "\n"), content_type="application/x-ndjson")
