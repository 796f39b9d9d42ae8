"""HTTP/1.1 over a pool of reused connections: the default transport (see `wire.transport`).

An `Http1Transport` has a `Pool` of `Connection`s, each an `asyncio.Protocol` with an llhttp parser
(httptools). The bytes of one read are parsed at once; the pieces of the body are joined and passed
to the caller's `feed` in the same turn of the event loop. So no byte that was read is lost if the
connection breaks, and no task is woken for a block (docs/decisions.md). Runs on one event loop,
hence without locks.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import httptools
from multidict import CIMultiDict
from yarl import URL

from mellea_rx.errors import BackendError, ConnectionFailedError
from mellea_rx.wire.connector import Connector, Slots, default_connections, tls_context
from mellea_rx.wire.request_head import WrittenHead, readability_test, written_head
from mellea_rx.wire.status_errors import content_encoding
from mellea_rx.wire.transport import Faults, Feed, Limits, Queued, RequestHead, Response

__all__ = ["Http1Transport"]

MAX_HEAD = 64 * 1024
"""Bytes of a response's head, of its trailers, and of chunk framing between two pieces of body."""
MAX_INFORMATIONAL = 10
"""Informational responses (1xx) before a final response."""
_SHOWN = 200
"""Bytes of an answer that is not HTTP, which the message shows."""
IDLE = 15.0
"""Seconds after which an unused connection is closed."""

_LENGTH, _TRANSFER = b"content-length", b"transfer-encoding"
_ENCODINGS = frozenset({b"content-encoding", _TRANSFER})
_FRAMING = frozenset(map(len, {_LENGTH, *_ENCODINGS}))

# The states of a connection.
_FREE = 0  # in the pool, or new: no response is expected
_BUSY = 1  # a response is expected
_LINGERING = 2  # the caller has the complete answer; the end of the HTTP message is missing
_CLOSED = 3  # aborted, or closed by the server


class _Refused(Exception):
    """Raised in a callback of the parser, to stop it. The message is the reason."""


class Connection(asyncio.Protocol):
    """One connection to the pool's origin. It carries one request and its response at a time.

    Attributes:
        transport: The asyncio transport.
        is_silent: Whether no byte has arrived since the request was written.
        kept_since: The time when it was returned to the pool, in seconds of the loop's clock.
    """

    __slots__ = (
        "_can_be_kept",
        "_done",
        "_ends_with_connection",
        "_error_body",
        "_feed",
        "_has_head",
        "_has_unread",
        "_head_size",
        "_headers",
        "_informational",
        "_is_complete",
        "_left",
        "_parser",
        "_pieces",
        "_pool",
        "_said",
        "_state",
        "_status",
        "_timer",
        "_wants_error_body",
        "_why",
        "_without_body",
        "is_silent",
        "kept_since",
        "on_body",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._parser: httptools.HttpResponseParser | None = None
        self._state = _FREE
        self._done: asyncio.Future[Response | None] | None = None
        self._feed: Feed | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        # The pieces of the body in one read. The parser appends each by the list's own method: a
        # Python function here would be called for every token.
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        self._has_unread: Callable[[], bool] | None = None
        self._why: BackendError | None = None
        self._has_head = False
        self._said = b""  # the beginning of a head that is not complete, for a message
        self.kept_since = 0.0

    # Called by the pool and the transport.

    @property
    def is_usable(self) -> bool:
        """Whether a request can be sent: the connection is open, and no byte waits to be read."""
        if self._state != _FREE or self.transport.is_closing():
            return False
        if self._has_unread is None:
            self._has_unread = readability_test(self.transport.get_extra_info("socket").fileno())
        # The server may have closed the idle connection, or sent bytes that answer no request. The
        # loop reports that only in its next turn, when the request would already be written.
        return not self._has_unread()

    def begin(self, head: bytes, body: bytes | None, feed: Feed) -> asyncio.Future[Response | None]:
        """Write a request; returns a future with the result of `Transport.send`."""
        pool = self._pool
        done: asyncio.Future[Response | None] = pool.loop.create_future()
        if self._state != _FREE or self.transport.is_closing():
            # Lost between the end of `Pool.connect` and this turn of the loop.
            done.set_exception(self.take_reason())
            return done
        self._done = done
        self._state = _BUSY
        self._feed = feed
        self._left = pool.limits.total
        self._status = self._head_size = self._informational = self._without_body = 0
        self._error_body: bytearray | None = None
        self._has_head = self._is_complete = False
        self.is_silent = True
        if body is None:
            self.transport.write(head + b"\r\n\r\n")
        else:
            self.transport.writelines((head, b"\r\nContent-Length: %d\r\n\r\n" % len(body), body))
        if self._parser is None:
            # Created after the write: the server works meanwhile.
            self._parser = _parser(self)
        return done

    def give_up(self, request: asyncio.Future[Response | None]) -> None:
        """Close the connection, if it still serves this request.

        A response that ended in this turn of the loop has returned the connection to the pool, and
        another request may be using it already.
        """
        if self._done is request:
            self.discard()

    def discard(self) -> None:
        """Close the connection at once, and drop what is unsent. Idempotent."""
        self._state = _CLOSED
        self._done = self._feed = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # `close` would first flush the write buffer, to a server that may never read it.
        self.transport.abort()

    def fail(self, error: BaseException) -> None:
        """End the request with an error, and close the connection."""
        done = self._done  # `discard` forgets it
        self.discard()
        if done is not None and not done.done():
            done.set_exception(error)

    def close(self, error: BackendError) -> None:
        """Close it with an error for its request, or for the one that it was established for."""
        if self._done is None:
            self._why = error
        self.fail(error)

    def take_reason(self) -> BackendError:
        """The reason why no request can be sent. It is forgotten here: a stored error that is
        raised would be in a reference cycle with the frames of its traceback."""
        why, self._why = self._why, None
        return why or self._pool.faults.unanswered()

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        with suppress(OSError, AttributeError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._pool.joined(self)

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        if parser is None or self._state == _FREE or self._state == _CLOSED:
            # Bytes without a request: a second answer, or a greeting of a server that is not HTTP.
            self.close(self._pool.faults.not_http("bytes before a request", data))
            return
        self.is_silent = False
        if not self._has_head and len(self._said) < _SHOWN:
            self._said += data[:_SHOWN]
        fault = ""
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            why = error.__context__ if isinstance(error.__context__, _Refused) else error
            fault = str(why) or "not HTTP"
        pieces = self._pieces
        if pieces:
            self._without_body = 0
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self._take(body)
        elif not self._is_complete:
            self._without_body += len(data)
            if self._without_body > MAX_HEAD:
                fault = fault or _too_long(MAX_HEAD)
        # `_take` calls `feed`, which may have raised: then the connection is closed.
        if self._state == _CLOSED:
            return
        if self._is_complete:
            self._end(self._can_be_kept and not fault)
        elif self._error_body is not None:
            self._collect_error(fault)
        elif fault:
            self._break(fault)

    def eof_received(self) -> None:
        # Closed here: asyncio would first flush the write buffer, to a server that may not read.
        self._lost(None)
        self.discard()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(exc)
        self.discard()
        self._parser = None  # parser and connection refer to each other
        self._pool.left(self)

    # Called by the parser.

    def on_message_begin(self) -> None:
        """The first byte of a message: of this response, or of one without a request."""
        if self._is_complete:
            raise _Refused("more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field of the head, or of the trailers."""
        self._head_size += len(name) + len(value) + 4
        if self._head_size > MAX_HEAD:
            raise _Refused(_too_long(MAX_HEAD))
        if not self._has_head:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete. Decides whether the body is an answer, and whether it is needed."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        headers = self._headers
        if 100 <= status < 200 and status != 101:  # after a 101 no HTTP response follows
            headers.clear()
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                raise _Refused(f"more than {MAX_INFORMATIONAL} informational responses")
            return
        self._has_head = True
        self._said = b""
        self._head_size = 0
        self._status = status
        named = [(name.lower(), value) for name, value in headers if len(name) in _FRAMING]
        self._ends_with_connection = not any(
            name == _LENGTH or (name == _TRANSFER and value.lower().endswith(b"chunked"))
            for name, value in named
        )
        is_plain = all(name not in _ENCODINGS or value == b"chunked" for name, value in named)
        if not is_plain:
            is_plain = not content_encoding(self._response().headers)
        if is_plain and status == 200:
            headers.clear()
        else:
            self._error_body = bytearray()
            self._wants_error_body = is_plain and status >= 400

    def on_message_complete(self) -> None:
        """The end of a message; informational responses are messages too."""
        if self._has_head:
            assert self._parser is not None
            self._is_complete = True
            # The parser knows it in this callback only. After a 101 the protocol is another one.
            self._can_be_kept = self._parser.should_keep_alive() and self._status != 101

    # One request and its response.

    def _take(self, data: bytes) -> None:
        """Pass a block of the body on, or store it if it belongs to an error response."""
        feed = self._feed
        # No local name for the future: its error may refer to this frame, in a reference cycle.
        if feed is None or self._done is None or self._done.done():
            return  # the request has ended, or was cancelled in this turn of the loop
        if self._error_body is not None:
            self._error_body += data
            return
        left = self._left
        self._left = left - len(data)
        try:
            if left >= len(data):
                is_complete = feed(data)
            else:
                # The part within the limit is passed on: it may complete the answer.
                is_complete = feed(data[:left])
                if not is_complete:
                    raise self._pool.faults.too_large()
        except BaseException as error:
            self.fail(error)
        else:
            if is_complete:
                self._settle(None)
                if not self._is_complete:
                    # The caller goes on; the connection is reused if its message ends soon.
                    self._state = _LINGERING
                    pool = self._pool
                    self._timer = pool.loop.call_later(pool.limits.trailing, self.discard)

    def _settle(self, response: Response | None) -> None:
        done, self._done, self._feed = self._done, None, None
        if done is not None and not done.done():
            done.set_result(response)

    def _end(self, can_be_kept: bool) -> None:
        """The HTTP message has ended: return the connection to the pool, or close it."""
        self._settle(None if self._error_body is None else self._response())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # If the server answers before it has read all, a part of the request is still unsent.
        if can_be_kept and not self.transport.get_write_buffer_size():
            self._state = _FREE
            self._error_body = None
            self._headers.clear()
            self._pool.keep(self)
        else:
            self.discard()

    def _collect_error(self, fault: str) -> None:
        """Wait for the beginning of an error's body, if its message needs it; then end."""
        body, limits = self._error_body, self._pool.limits
        if fault or not self._wants_error_body or len(body or b"") >= limits.error_body:
            self._refuse()
        elif self._timer is None:
            self._timer = self._pool.loop.call_later(limits.error_wait, self._refuse)

    def _refuse(self) -> None:
        self._settle(self._response())
        self.discard()

    def _response(self) -> Response:
        headers = CIMultiDict(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in self._headers
        )
        body = self._error_body or b""
        return Response(self._status, headers, bytes(body[: self._pool.limits.error_body]))

    def _break(self, fault: str) -> None:
        faults, said = self._pool.faults, self._said
        self.fail(faults.interrupted(fault) if self._has_head else faults.not_http(fault, said))

    def _lost(self, error: BaseException | None) -> None:
        """The server has closed the connection, or it is broken."""
        faults = self._pool.faults
        if self._state != _BUSY:
            return
        if not self._has_head:
            self.fail(faults.unanswered(error))
        elif self._error_body is not None:
            self._refuse()
        elif error is None and self._ends_with_connection:
            self._settle(None)
        else:
            why = "the connection was reset" if error else "the connection closed before its end"
            self.fail(faults.interrupted(why))


class Pool:
    """The connections to one origin, on one event loop.

    A request takes a slot before its connection. `keep` returns the slot, or `left` for a lost
    connection, or `Http1Transport.send` if none was established.

    Args:
        url: The origin.
        limits: Times, sizes and the number of connections.
        faults: Creates the errors.
    """

    def __init__(self, url: URL, limits: Limits, faults: Faults) -> None:
        self.loop = asyncio.get_running_loop()
        self.limits = limits
        self.faults = faults
        self.slots = Slots(limits.connections or default_connections())
        self._connector = Connector(url, faults)
        self._free: list[Connection] = []  # unused, in the order of their return
        self._using: set[Connection] = set()  # each has a slot
        self._open: set[Connection] = set()  # all, also those that are being closed
        self._sweeper: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None

    def take(self) -> Connection | None:
        """The most recently used free connection that is usable; None if there is none."""
        free = self._free
        while free:
            connection = free.pop()
            if connection.is_usable:
                self._using.add(connection)
                return connection
            connection.discard()
        return None

    async def connect(self) -> Connection:
        """Establish a new connection."""
        made: list[Connection] = []

        def make() -> Connection:
            made.append(Connection(self))
            return made[-1]

        try:
            connection = await self._connector.connect(make)
        except BaseException:
            # uvloop closes a connection that is cancelled when it is just established, and does
            # not tell its protocol.
            for each in made:
                self.left(each)
            raise
        if connection not in self._open:
            # Lost before this coroutine was resumed; the caller returns the slot.
            raise connection.take_reason()
        self._using.add(connection)
        return connection

    def keep(self, connection: Connection) -> None:
        """Take back a connection whose response has ended."""
        self._using.discard(connection)
        connection.kept_since = self.loop.time()
        self._free.append(connection)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(IDLE, self._sweep)
        self.slots.give_back()

    def discard_kept(self) -> None:
        """Close all free connections, after the server turned out to have closed one of them."""
        free, self._free = self._free, []
        for connection in free:
            connection.discard()

    def joined(self, connection: Connection) -> None:
        """Called by a connection when it is established."""
        self._open.add(connection)

    def left(self, connection: Connection) -> None:
        """Called by a connection when it and its file descriptor are closed."""
        self._open.discard(connection)
        if connection in self._using:
            self._using.discard(connection)
            self.slots.give_back()
        elif connection in self._free:
            self._free.remove(connection)
        if self._emptied is not None and not self._open and not self._emptied.done():
            self._emptied.set_result(None)

    def _sweep(self) -> None:
        """Close the connections that were unused for too long; the list begins with the oldest."""
        now = self.loop.time()
        free = self._free
        kept = next((at for at, each in enumerate(free) if now - each.kept_since < IDLE), len(free))
        old, self._free = free[:kept], free[kept:]
        for connection in old:
            connection.discard()
        self._sweeper = None
        if self._free:
            due = self._free[0].kept_since + IDLE
            self._sweeper = self.loop.call_at(due, self._sweep)

    async def aclose(self) -> None:
        """Close all connections; pending requests fail."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        # In one turn of the loop: slots are returned later, when no waiter is left to take one.
        self._connector.close()
        self.slots.fail(self.faults.closed)
        self._free.clear()
        for connection in list(self._open):
            connection.close(self.faults.closed())
        if self._open:
            # The sockets are closed in one of the next turns; a loop that stops before leaks them.
            self._emptied = self.loop.create_future()
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._emptied


class Http1Transport:
    """Sends requests over a pool of its own connections; see `Transport`.

    Args:
        url: The origin.
        limits: Times, sizes and the number of connections.
        faults: Creates the errors.
    """

    def __init__(self, url: URL, limits: Limits, faults: Faults) -> None:
        self._url = url
        self._limits = limits
        self._faults = faults
        self._pool: Pool | None = None
        self._heads: dict[RequestHead, WrittenHead] = {}
        if url.scheme == "https":
            tls_context()  # takes 20 ms: on the caller's thread, not on the engine's

    @property
    def is_open(self) -> bool:
        """Whether there may be connections to close."""
        return self._pool is not None

    def anew(self) -> Http1Transport:
        """A transport with the same settings and separate connections."""
        return Http1Transport(self._url, self._limits, self._faults)

    async def send(
        self, head: RequestHead, body: bytes | None, feed: Feed, queued: Queued
    ) -> Response | None:
        """See `Transport.send`. With a free connection, the request is written without a wait."""
        pool = self._pool
        if pool is None:
            pool = self._pool = Pool(self._url, self._limits, self._faults)
        written = self._heads.get(head)
        if written is None:
            written = self._heads[head] = written_head(head)
        for may_be_repeated in (head.method == "GET", False):
            if not pool.slots.take():
                queued(True)
                await pool.slots.wait()
                queued(False)
            connection = pool.take()
            is_kept = connection is not None
            if connection is None:
                try:
                    connection = await pool.connect()
                except BaseException:
                    pool.slots.give_back()
                    raise
            response = connection.begin(written, body, feed)
            body = None  # else it would stay in memory as long as the answer streams
            try:
                return await response
            except asyncio.CancelledError:
                connection.give_up(response)
                raise
            except ConnectionFailedError:
                # Another pool: the transport was closed meanwhile, so the connection was not stale.
                is_stale = is_kept and connection.is_silent and self._pool is pool
                if not is_stale or not may_be_repeated:
                    raise
            finally:
                del response  # its error refers to this frame: that would be a reference cycle
            pool.discard_kept()
        raise AssertionError("the second attempt returns or raises")

    async def aclose(self) -> None:
        """Close all connections. Idempotent; cancellation ends only the wait for their ends."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()

    def after_fork_in_child(self) -> None:
        """In a forked child: drop the parent's connections without closing them."""
        pool, self._pool = self._pool, None
        if pool is not None:
            _parents_pools.append(pool)


_parents_pools: list[Pool] = []
"""Pools of the parent process, kept so that garbage collection does not touch their transports."""


def _parser(connection: Connection) -> httptools.HttpResponseParser:
    parser = httptools.HttpResponseParser(connection)
    # RFC 9112, section 2.2, allows a bare LF. Old servers fold header lines and pad chunk sizes.
    parser.set_dangerous_leniencies(
        lenient_headers=True,
        lenient_optional_cr_before_lf=True,
        lenient_spaces_after_chunk_size=True,
        lenient_data_after_close=True,
    )
    return parser


def _too_long(limit: int) -> str:
    return f"a head of more than {limit:,} bytes"
