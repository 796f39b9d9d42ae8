"""`ByteStream`: an answer as an async iterator of bytes, which owns the request to the model."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Mapping
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Self

from mellea_rx.core.runtime.engine import engine
from mellea_rx.core.types.validation import require_seconds
from mellea_rx.operators.iterators import AsyncItems, to_async_iterator
from mellea_rx.web.answer_items import Cancel, Source, answer_items, cancel_of
from mellea_rx.web.encoder import Encoder, encoded

_UNBUFFERED = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class ByteStream(AsyncIterator[bytes]):
    """The bytes of a response: an async iterator, and an async context manager.

    It owns its thunk: the request to the model ends as soon as the stream is left, whether it was
    read to its end, closed, or dropped, or the task that reads it was cancelled or failed. It is
    read once. Users get it from `sse`, `ndjson`, `ui_message_stream` and `ag_ui`.

    Args:
        source: A thunk, or an Observable of chunks or texts.
        encoder: Writes the protocol.
        content_type: The response's content type.
        headers: Further headers of the response.
        keep_alive: Seconds of silence after which `idle` is sent; None for never.
        idle: Bytes that mean nothing in the protocol.

    Attributes:
        content_type: As given.
        headers: The headers that the response has to have, without the content type: the given
            ones, and those that keep proxies from holding text back.
    """

    __slots__ = (
        "__weakref__",
        "_cancel",
        "_idle",
        "_items",
        "_keep_alive",
        "_reading",
        "content_type",
        "headers",
    )

    def __init__(
        self,
        source: Source,
        encoder: Encoder,
        *,
        content_type: str,
        headers: Mapping[str, str] = MappingProxyType({}),
        keep_alive: float | None = None,
        idle: bytes = b"",
    ) -> None:
        self._cancel: Cancel | None = None  # for `__del__`, where a line below raises
        self._keep_alive = None if keep_alive is None else require_seconds("keep_alive", keep_alive)
        items = answer_items(source)
        self._cancel = cancel_of(source)
        # Texts that a slow client has not taken are joined: they need the memory of the answer.
        self._items: AsyncItems[str] | None = to_async_iterator(encoded(items, encoder))
        self._idle = idle
        self._reading: asyncio.Task[Any] | None = None
        self.content_type = content_type
        self.headers: Mapping[str, str] = MappingProxyType({**_UNBUFFERED, **headers})

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        items = self._items
        if items is None:
            raise StopAsyncIteration
        self._watch_task()
        silence = asyncio.timeout(self._keep_alive)
        try:
            async with silence:
                text = await anext(items)
            if self._items is None:  # closed meanwhile: the error of that end is not for the client
                raise StopAsyncIteration
            return text.encode()
        except TimeoutError:
            if not silence.expired():
                self.close()
                raise
            return self._idle
        except BaseException:  # the end, or the reader's task was cancelled
            self.close()
            raise

    def _watch_task(self) -> None:
        """Close the stream when the task that reads it is cancelled or fails elsewhere.

        A web server cancels the task that sends, which may just wait for its client. The frames of
        that task then keep this stream, until Python's garbage collector runs.
        """
        task = asyncio.current_task()
        if task is self._reading or task is None:
            return
        self._reading = task
        task.add_done_callback(partial(_close_after, weakref.ref(self)))

    def close(self) -> None:
        """End it, and the request to the model with it. Idempotent; from any thread."""
        items, self._items, self._reading = self._items, None, None
        cancel, self._cancel = self._cancel, None
        if items is not None:
            items.close()
        if cancel is not None:
            cancel()

    async def aclose(self) -> None:
        """Do as `close`."""
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        cancel, self._cancel = self._cancel, None
        if cancel is None:
            return
        try:
            # Not here: a finalizer may run in a thread that holds a lock which `cancel` takes.
            engine().loop.call_soon_threadsafe(cancel)
        except RuntimeError:
            pass  # the interpreter goes down, and all calls end


def _close_after(stream: weakref.ref[ByteStream], task: asyncio.Task[Any]) -> None:
    reader = stream()
    if reader is None or reader._reading is not task:
        return
    # A task that has returned may have read one item for another task, as `asyncio.wait_for` does.
    # The stack of a task that has ended is that of its error; asking for the error itself would
    # keep asyncio from logging it.
    if task.cancelled() or task.get_stack(limit=1):
        reader.close()
