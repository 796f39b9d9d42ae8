"""HTTP/1.1 on kept connections: from the parser straight to the consumer.

A connection has one protocol, one parser and one transport for its life, and an exchange one
future. What one read brings is parsed in one go, its pieces are joined, and fed once: nothing that
was read is lost when the connection breaks, and no task is woken for a block (docs/decisions.md).
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import httptools
from multidict import CIMultiDict
from yarl import URL

from mellea_rx.errors import BackendError, ConnectionFailedError
from mellea_rx.wire.connecting import Connector, tls_context
from mellea_rx.wire.slots import Slots, default_connections
from mellea_rx.wire.statuses import packing
from mellea_rx.wire.transport import Faults, Feed, Limits, Queued, RequestHead, Response

__all__ = ["Http1Transport"]

MAX_HEAD = 64 * 1024
"""Bytes of a response's head, of its trailers, and of chunk sizes without a chunk."""
MAX_INFORMATIONAL = 10
"""Informational responses (1xx) ahead of an answer."""
IDLE = 15.0
"""Seconds for which a connection is kept that nothing uses."""

_LENGTH, _TRANSFER = b"content-length", b"transfer-encoding"
_ENCODINGS = frozenset({b"content-encoding", _TRANSFER})
_FRAMING = frozenset(map(len, {_LENGTH, *_ENCODINGS}))


_FREE = 0
"""State of a connection: kept, or just made. Nothing is expected."""
_BUSY = 1
"""A response is awaited."""
_LINGERING = 2
"""The answer is complete for its consumer; its last bytes are still to come."""
_CLOSED = 3
"""Aborted, or lost."""


class _WrittenHead(bytes):
    """A request's head as it is sent. It holds the key, so that no `repr` shows it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "***"


class _Refused(Exception):
    """Raised within the parser, to stop it: its message says why."""


class Connection(asyncio.Protocol):
    """One connection to the pool's origin, for one exchange at a time.

    Attributes:
        transport: The loop's.
        is_silent: Whether nothing has come since the request.
        kept_since: When it was put into the pool, by the loop's clock.
    """

    __slots__ = (
        "_body",
        "_can_be_kept",
        "_done",
        "_ends_with_connection",
        "_error_body",
        "_feed",
        "_has_head",
        "_head_size",
        "_headers",
        "_informational",
        "_is_complete",
        "_is_readable",
        "_left",
        "_parser",
        "_pool",
        "_state",
        "_status",
        "_timer",
        "_wants_error_body",
        "_why",
        "_without_body",
        "is_silent",
        "kept_since",
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
        self._body: bytes | list[bytes] | None = None
        self._is_readable: Callable[[], bool] | None = None
        self._why: BackendError | None = None
        self.kept_since = 0.0

    # The pool's side.

    @property
    def is_usable(self) -> bool:
        """Whether a request can be sent on it: it is open, and nothing that came is unread."""
        if self._state != _FREE or self.transport.is_closing():
            return False
        if self._is_readable is None:
            self._is_readable = _readable(self.transport.get_extra_info("socket").fileno())
        # What came while it was idle is nobody's answer, and a close is the end of it. The loop
        # tells of both in its next turn, when a request would be on its way already.
        return not self._is_readable()

    def begin(self, head: bytes, body: bytes | None, feed: Feed) -> asyncio.Future[Response | None]:
        """Write a request; the future of what `Transport.send` returns."""
        pool = self._pool
        done: asyncio.Future[Response | None] = pool.loop.create_future()
        if self._state != _FREE or self.transport.is_closing():
            # Within the turn between its making and this.
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
            # The server works meanwhile.
            self._parser = _parser(self)
        return done

    def discard(self) -> None:
        """Close it, whatever is unsent. Idempotent."""
        self._state = _CLOSED
        self._done = self._feed = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # A transport that is closed, not aborted, first sends what it was given, to a peer that
        # may never take it.
        self.transport.abort()

    def fail(self, error: BaseException) -> None:
        """End the exchange with an error, and the connection with it."""
        done = self._done
        self.discard()
        if done is not None and not done.done():
            done.set_exception(error)

    def close(self, error: BackendError) -> None:
        """End it, and the exchange that it has now, or that it is made for."""
        if self._done is None:
            self._why = error
        self.fail(error)

    def take_reason(self) -> BackendError:
        """Why nothing can be sent on it, once: it would hold the frames that it is raised in."""
        why, self._why = self._why, None
        return why or self._pool.faults.unanswered()

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        with suppress(OSError, AttributeError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._pool.joined(self)

    def data_received(self, data: bytes) -> None:
        parser = self._parser
        if parser is None or self._state == _FREE or self._state == _CLOSED:
            # Nobody has asked: neither for another answer, nor for a greeting.
            self.close(self._pool.faults.not_http("bytes before a request", data))
            return
        self.is_silent = False
        fault = ""
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            why = error.__context__ if isinstance(error.__context__, _Refused) else error
            fault = str(why) or "not HTTP"
        body, self._body = self._body, None
        if body is not None:
            self._without_body = 0
            self._take(body if isinstance(body, bytes) else b"".join(body))
        elif not self._is_complete:
            self._without_body += len(data)
            if self._without_body > MAX_HEAD:
                fault = fault or _too_long(MAX_HEAD)
        if self._state == _CLOSED:
            return
        if self._is_complete:
            self._end(self._can_be_kept and not fault)
        elif self._error_body is not None:
            self._collect_error(fault)
        elif fault:
            self._break(fault, data)

    def eof_received(self) -> None:
        # Before what is unsent is flushed, to a server that may not read it any more.
        self._lost(None)
        self.discard()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(exc)
        self.discard()
        self._parser = None  # they hold each other
        self._pool.left(self)

    # The parser's side.

    def on_message_begin(self) -> None:
        """The first byte of a message: of this exchange's, or of one that nobody asked for."""
        if self._is_complete:
            raise _Refused("more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A line of the head, or of the trailers."""
        self._head_size += len(name) + len(value) + 4
        if self._head_size > MAX_HEAD:
            raise _Refused(_too_long(MAX_HEAD))
        if not self._has_head:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole: whether it is an answer's is decided here."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        headers = self._headers
        if 100 <= status < 200 and status != 101:  # after a 101 no answer comes
            headers.clear()
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                raise _Refused(f"more than {MAX_INFORMATIONAL} informational responses")
            return
        self._has_head = True
        self._head_size = 0
        self._status = status
        named = [(name.lower(), value) for name, value in headers if len(name) in _FRAMING]
        self._ends_with_connection = not any(
            name == _LENGTH or (name == _TRANSFER and value.lower().endswith(b"chunked"))
            for name, value in named
        )
        is_plain = all(name not in _ENCODINGS or value == b"chunked" for name, value in named)
        if not is_plain:
            is_plain = not packing(self._response().headers)
        if is_plain and status == 200:
            headers.clear()
        else:
            self._error_body = bytearray()
            self._wants_error_body = is_plain and status >= 400

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        body = self._body
        if body is None:
            self._body = data
        elif isinstance(body, bytes):
            self._body = [body, data]
        else:
            body.append(data)

    def on_message_complete(self) -> None:
        """The end of a message, informational ones included."""
        if self._has_head:
            assert self._parser is not None
            self._is_complete = True
            # Told of this message here only; after a 101 the connection speaks something else.
            self._can_be_kept = self._parser.should_keep_alive() and self._status != 101

    # An exchange.

    def _take(self, data: bytes) -> None:
        """Feed a block, or collect it."""
        feed = self._feed
        # The future has no name here: it will hold an error that holds this frame.
        if feed is None or self._done is None or self._done.done():
            return  # settled, or cancelled in this very turn
        if self._error_body is not None:
            self._error_body += data
            return
        left = self._left
        self._left = left - len(data)
        try:
            if left >= len(data):
                is_complete = feed(data)
            else:
                # What is within the cap is fed: an answer may be complete with it.
                is_complete = feed(data[:left])
                if not is_complete:
                    raise self._pool.faults.too_large()
        except BaseException as error:
            self.fail(error)
        else:
            if is_complete:
                self._settle(None)
                if not self._is_complete:
                    self._state = _LINGERING
                    pool = self._pool
                    self._timer = pool.loop.call_later(pool.limits.trailing, self.discard)

    def _settle(self, response: Response | None) -> None:
        done, self._done, self._feed = self._done, None, None
        if done is not None and not done.done():
            done.set_result(response)

    def _end(self, can_be_kept: bool) -> None:
        """The message has ended."""
        self._settle(None if self._error_body is None else self._response())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if can_be_kept and not self.transport.get_write_buffer_size():
            self._state = _FREE
            self._error_body = None
            self._headers.clear()
            self._pool.keep(self)
        else:
            self.discard()

    def _collect_error(self, fault: str) -> None:
        """Take the beginning of an error's body; of what else is refused, nothing is of use."""
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

    def _break(self, fault: str, data: bytes) -> None:
        faults = self._pool.faults
        self.fail(faults.interrupted(fault) if self._has_head else faults.not_http(fault, data))

    def _lost(self, error: BaseException | None) -> None:
        """The peer has closed, or the connection is broken."""
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
    """The connections to one origin, on one loop.

    Args:
        url: The origin.
        limits: What to wait for and take.
        faults: Makes the errors.
    """

    def __init__(self, url: URL, limits: Limits, faults: Faults) -> None:
        self.loop = asyncio.get_running_loop()
        self.limits = limits
        self.faults = faults
        self.slots = Slots(limits.connections or default_connections())
        self._connector = Connector(url, faults)
        self._free: list[Connection] = []
        self._using: set[Connection] = set()
        self._open: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None

    def take(self) -> Connection | None:
        """The connection that was kept last, where it is fit for a request."""
        free = self._free
        while free:
            connection = free.pop()
            if connection.is_usable:
                self._using.add(connection)
                return connection
            connection.discard()
        return None

    async def connect(self) -> Connection:
        """A new connection."""
        connection = await self._connector.connect(lambda: Connection(self))
        if connection not in self._open:
            # Lost before this went on: what it was to be used for has to give its slot back.
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
        """Close what is kept: one of them has turned out to be closed by the server."""
        free, self._free = self._free, []
        for connection in free:
            connection.discard()

    def joined(self, connection: Connection) -> None:
        """A connection is open."""
        self._open.add(connection)

    def left(self, connection: Connection) -> None:
        """A connection is closed, and its file with it."""
        self._open.discard(connection)
        if connection in self._using:
            self._using.discard(connection)
            self.slots.give_back()
        elif connection in self._free:
            self._free.remove(connection)
        if self._emptied is not None and not self._open and not self._emptied.done():
            self._emptied.set_result(None)

    def _sweep(self) -> None:
        """Close what has been kept for too long; the longest kept stands first."""
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
        """Close all connections; requests under way fail."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._connector.close()
        self.slots.fail(self.faults.closed)
        self._free.clear()
        for connection in list(self._open):
            connection.close(self.faults.closed())
        if self._open:
            # Each tells of its end in the loop's next turns, TLS or not.
            self._emptied = self.loop.create_future()
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._emptied


class Http1Transport:
    """Carries requests over connections of its own; see `Transport`.

    Args:
        url: The origin.
        limits: What to wait for and take.
        faults: Makes the errors.
    """

    def __init__(self, url: URL, limits: Limits, faults: Faults) -> None:
        self._url = url
        self._limits = limits
        self._faults = faults
        self._pool: Pool | None = None
        self._heads: dict[RequestHead, _WrittenHead] = {}
        if url.scheme == "https":
            tls_context()  # here, in the caller's thread, and not on the engine

    @property
    def is_open(self) -> bool:
        """Whether there may be connections to close."""
        return self._pool is not None

    def anew(self) -> Http1Transport:
        """A transport like this one, with connections of its own."""
        return Http1Transport(self._url, self._limits, self._faults)

    async def send(
        self, head: RequestHead, body: bytes | None, feed: Feed, queued: Queued
    ) -> Response | None:
        """See `Transport.send`. Where a connection is kept, the request is written at once."""
        pool = self._pool
        if pool is None:
            pool = self._pool = Pool(self._url, self._limits, self._faults)
        written = self._heads.get(head)
        if written is None:
            written = self._heads[head] = _written(head)
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
            body = None  # it would be kept as long as the answer streams
            try:
                return await response
            except asyncio.CancelledError:
                connection.discard()
                raise
            except ConnectionFailedError:
                is_stale = is_kept and connection.is_silent and self._pool is pool
                if not is_stale or not may_be_repeated:
                    raise
            finally:
                del response  # it holds an error, which would hold this frame
            pool.discard_kept()
        raise AssertionError("the second attempt returns or raises")

    async def aclose(self) -> None:
        """Close every connection. Idempotent; a cancellation only ends the wait for their ends."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()

    def orphaned(self) -> None:
        """In a forked child: forget the parent's connections without touching them."""
        pool, self._pool = self._pool, None
        if pool is not None:
            _parents_pools.append(pool)


_parents_pools: list[Pool] = []


def _parser(connection: Connection) -> httptools.HttpResponseParser:
    parser = httptools.HttpResponseParser(connection)
    # RFC 9112, section 2.2, allows a bare LF; old servers fold lines and pad chunk sizes.
    parser.set_dangerous_leniencies(
        lenient_headers=True,
        lenient_optional_cr_before_lf=True,
        lenient_spaces_after_chunk_size=True,
        lenient_data_after_close=True,
    )
    return parser


def _written(head: RequestHead) -> _WrittenHead:
    url = head.url
    lines = [f"{head.method} {url.raw_path_qs} HTTP/1.1", f"Host: {url.host_port_subcomponent}"]
    lines += [f"{name}: {value}" for name, value in head.headers.items()]
    return _WrittenHead("\r\n".join(lines).encode())


def _readable(descriptor: int) -> Callable[[], bool]:
    """Whether a read of a socket would not wait: bytes are there, or its end is."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return lambda: bool(poll.poll(0))
    return lambda: bool(select.select([descriptor], [], [], 0)[0])


def _too_long(limit: int) -> str:
    return f"a head of more than {limit:,} bytes"
