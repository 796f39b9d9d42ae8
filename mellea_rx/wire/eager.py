"""A response body that is handed on as it comes, without a reader that waits for it.

aiohttp's own reader wakes a task for every read, resumes the parser after each, and forgets what
came but was not yet read when the connection breaks. Here the parser's bytes go straight to their
consumer, once for each block that is read: nothing is lost, and a chunk costs a third
(docs/decisions.md).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import _EXC_SENTINEL

from mellea_rx.errors import ResponseTooLargeError
from mellea_rx.wire.turns import turns_of

__all__ = ["Connector", "EagerBody", "Feed"]

Feed = Callable[[bytes], bool]
"""Takes a block of the body; returns whether the answer is complete."""


class _Handler(ResponseHandler):
    """A connection whose bodies always end, and keep what came.

    aiohttp's own loses what stands before a fault in the block that brought the head, and does not
    tell a body that its bytes cannot be parsed any further: it would wait for ever.
    """

    def data_received(self, data: bytes) -> None:
        body = self._payload
        if body is None or body.is_eof():
            end = data.find(b"\r\n\r\n") + 4
            if 4 <= end < len(data):
                super().data_received(data[:end])
                data = data[end:]
        super().data_received(data)
        # Now, not when all other connections were read: its parts are in the processor's cache.
        if isinstance(body, _EagerReader):
            body.flush()

    def set_exception(self, exc: BaseException, exc_cause: BaseException = _EXC_SENTINEL) -> None:
        super().set_exception(exc, exc_cause)
        body = self._payload
        if body is not None and not body.is_eof():
            body.set_exception(exc)


class Connector(aiohttp.TCPConnector):
    """Makes connections whose bodies always end."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self._factory = partial(_handler, loop=self._loop)


def _handler(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return _Handler(loop)


_NOTHING: deque[bytes] = deque()


class _EagerReader(aiohttp.StreamReader):
    """What a response's reader becomes: the parser calls it, and it calls its body.

    The body stands in the slot of the future that a waiting `read` would have left there.
    """

    __slots__ = ()

    def feed_data(self, data: bytes, size: int = 0) -> bool:
        body: Any = self._waiter
        if body is not None and data:
            body.add(data)
        return False

    def flush(self) -> None:
        """A block was parsed."""
        body: Any = self._waiter
        if body is not None:
            body.flush()

    def begin_http_chunk_receiving(self) -> None:
        pass

    def end_http_chunk_receiving(self) -> None:
        pass


class EagerBody:
    """Feeds a consumer with a response's body.

    Args:
        content: The response's reader.
        feed: Takes blocks, until it says that the answer is complete.
        limit: How many bytes it may take, before it does.
        loop: The loop that the response belongs to.

    Attributes:
        finished: Resolves at the end: of the answer, or of the body; fails with what `feed`
            raised, or with aiohttp's error when the connection broke, after all that came was fed.
    """

    __slots__ = ("_data", "_feed", "_limit", "_more", "_taken", "_turns", "finished")

    def __init__(
        self,
        content: aiohttp.StreamReader,
        feed: Feed,
        limit: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        # One piece as it came; only a block that has several needs a list.
        self._data = b""
        self._more: list[bytes] | None = None
        self._feed = feed
        self._limit = limit
        self._taken = 0
        self._turns = turns_of(loop)
        self.finished: asyncio.Future[None] = loop.create_future()
        early = _taken(content) if content.total_bytes else b""
        if early:
            self.add(early)
        failure = content.exception()
        if failure is not None:
            self.set_exception(failure)
        elif content.is_eof():
            self.set_result(None)
        else:
            content.__class__ = _EagerReader
            content._waiter = self  # type: ignore[assignment]
            # Nothing comes into its own buffers any more, which weigh 760 bytes each.
            content._buffer = _NOTHING
            content._http_chunk_splits = None
            # What the parser holds back goes to this body, so not before.
            if content._protocol._reading_paused:
                content._protocol.resume_reading()
            self.flush()

    def add(self, data: bytes) -> None:
        """Called by the reader, for every piece that the parser finds."""
        if not self._data:
            self._data = data
        elif self._more is None:
            self._more = [data]
        else:
            self._more.append(data)

    def flush(self) -> None:
        """Called at the end of a block: feeds what it brought."""
        data, more = self._data, self._more
        if not data:
            return
        if more is not None:
            data = b"".join((data, *more))
            self._more = None
        self._data = b""
        self._turns.took()
        finished = self.finished
        if finished.done():
            return
        try:
            # What is within the cap is fed, however it comes: an answer may be complete with it.
            left = self._limit - self._taken
            self._taken += len(data)
            if self._feed(data[:left]):
                finished.set_result(None)
            elif self._taken > self._limit:
                raise ResponseTooLargeError(
                    f"the server sent more than {self._limit:,} bytes (Limits(total=...))"
                )
        except BaseException as error:
            finished.set_exception(error)

    # What aiohttp calls on the future of a waiting `read`.

    def done(self) -> bool:
        """Whether there is nothing more to tell."""
        return False

    def set_result(self, _: None) -> None:
        """The body ended."""
        self.flush()
        if not self.finished.done():
            self.finished.set_result(None)

    def set_exception(self, error: BaseException) -> None:
        """The connection broke."""
        self.flush()
        if not self.finished.done():
            self.finished.set_exception(error)


def _taken(content: aiohttp.StreamReader) -> bytes:
    """What came before anybody read: all of it at once, whatever has become of the body since.

    `read_nowait` tells only of the break where the body is broken already, and resumes the parser
    for each HTTP chunk (in a burst that was half of what a chunk cost).
    """
    data = b"".join(content._buffer)
    content._buffer.clear()
    return data
