"""The transport over an `aiohttp.ClientSession`, by aiohttp's documented API.

It serves `http_session=`: a user's session brings what `http1` lacks (proxies, client certificates,
tracing, recording). Such a session works only on the event loop that it was created on, so its
requests run there, and the blocks of an answer are passed to the engine's loop. It is never closed
here. Where httptools cannot be installed, `HttpClient` uses a session of its own on the engine's
loop.
"""

from __future__ import annotations

import asyncio
import io
import os
import socket
import warnings
from collections.abc import Callable
from contextlib import suppress
from ssl import SSLError
from typing import Any

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from mellea_rx.errors import (
    BackendError,
    CallerLoopClosedError,
    ConnectionFailedError,
    InvalidInputError,
)
from mellea_rx.wire.connector import Slots, default_connections
from mellea_rx.wire.error_text import printable
from mellea_rx.wire.status_errors import content_encoding
from mellea_rx.wire.transport import Faults, Feed, Limits, Queued, RequestHead, Response, Transport

__all__ = ["SessionOnItsLoop", "SessionTransport", "transport_over"]

_FAILURES = (TimeoutError, OSError, ValueError, aiohttp.ClientError, HttpProcessingError)
"""The exceptions that aiohttp raises for a failed connection, or a request that cannot be sent."""
_LARGE = 1_000_000
"""Bytes of a body above which aiohttp warns and asks for a file-like object."""
_LOOP_CHECK = 1.0
"""Seconds between two checks that the user's event loop still runs."""


def transport_over(
    session: Any, limits: Limits, faults: Faults
) -> tuple[Transport, tuple[asyncio.AbstractEventLoop, ...]]:
    """A transport over a user's session, and the event loops that have to run for it.

    Args:
        session: The user's `aiohttp.ClientSession`.
        limits: Times, sizes and the number of connections.
        faults: Creates the errors.

    Raises:
        InvalidInputError: `session` is not an open `aiohttp.ClientSession`.
    """
    if not isinstance(session, aiohttp.ClientSession):
        raise InvalidInputError(
            f"http_session must be an aiohttp.ClientSession, not {_kind(session)}"
        )
    if session.closed:
        raise InvalidInputError("http_session is closed: a backend needs one that is open")
    with warnings.catch_warnings():
        # Deprecated, and the only way to know the loop. On another loop a session hangs, or fails
        # with errors that do not name the cause.
        warnings.simplefilter("ignore", DeprecationWarning)
        loop = session.loop
    if loop.is_closed():
        raise InvalidInputError("http_session belongs to an event loop that is closed")
    return SessionOnItsLoop(SessionTransport(limits, faults, session), loop, faults), (loop,)


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


class SessionTransport:
    """Sends requests over a session, on the session's event loop; see `Transport`.

    Args:
        limits: Times, sizes and the number of connections.
        faults: Creates the errors.
        session: The user's; None for a session of its own, created by the first request and closed
            with the backend.
    """

    def __init__(
        self, limits: Limits, faults: Faults, session: aiohttp.ClientSession | None = None
    ) -> None:
        self._limits = limits
        self._faults = faults
        self._given = session
        self._own: aiohttp.ClientSession | None = None
        self._slots: Slots | None = None
        # The time limits of the pending requests: `aclose` ends a request by its limit.
        self._pending: set[asyncio.Timeout] = set()
        self._watch: asyncio.TimerHandle | None = None
        # Tasks that read the rest of a message whose answer is complete.
        self._lingering: set[asyncio.Task[None]] = set()

    @property
    def is_open(self) -> bool:
        """Whether there is anything to close: pending requests, or a session of its own."""
        return bool(self._pending or self._lingering) or self._own is not None

    def anew(self) -> SessionTransport:
        """A transport over the same user's session, or over another session of its own."""
        return SessionTransport(self._limits, self._faults, self._given)

    async def send(
        self, head: RequestHead, body: bytes | None, feed: Feed, queued: Queued
    ) -> Response | None:
        """See `Transport.send`."""
        session = self._session()
        slots = self._slots
        if slots is None:
            slots = self._slots = Slots(self._connections(session))
        if not slots.take():
            queued(True)
            await slots.wait()
            queued(False)
        closing = asyncio.timeout(None)
        try:
            async with closing:
                self._pending.add(closing)
                self._watch_session()
                # Asked for again: it may have been closed while this request waited for its slot.
                return await self._exchange(self._session(), head, body, feed)
        except TimeoutError:
            if not closing.expired():  # another limit, or one of the user's code
                raise
        finally:
            self._pending.discard(closing)
            slots.give_back()
        self._session()  # raises where the user has closed it
        raise self._faults.closed()

    def _watch_session(self) -> None:
        """Look once a second whether the user's session was closed, as long as requests run.

        aiohttp leaves those who read an answer waiting.
        """
        if self._given is not None and self._watch is None:
            loop = asyncio.get_running_loop()
            self._watch = loop.call_later(_LOOP_CHECK, self._look_at_session, self._given)

    def _look_at_session(self, session: aiohttp.ClientSession) -> None:
        self._watch = None
        if session.closed:
            self._end_pending()
        elif self._pending:
            self._watch_session()

    def _end_pending(self) -> None:
        now = asyncio.get_running_loop().time()
        for closing in self._pending:
            if not closing.expired():
                # A deadline of now ends the request inside its own task. Cancelling the task would
                # look like a cancellation by the user.
                closing.reschedule(now)

    async def aclose(self) -> None:
        """End the pending requests, and close a session of its own. Idempotent."""
        if self._slots is not None:
            self._slots.fail(self._faults.closed)
            self._slots = None
        self._end_pending()
        for task in self._lingering:
            task.cancel()
        # Forgotten before the await: a request that is sent meanwhile opens a new session.
        own, self._own = self._own, None
        if own is not None:
            await own.close()

    def after_fork_in_child(self) -> None:
        """In a forked child: drop the parent's connections without closing them."""
        if self._own is not None:
            _parents_sessions.append(self._own)
        self._own = self._slots = None
        self._pending, self._lingering = set(), set()

    def _session(self) -> aiohttp.ClientSession:
        session = self._given
        if session is None:
            if self._own is None:
                # No reuse (`force_close`): aiohttp would take bytes that arrive on an idle
                # connection for the beginning of the next response.
                connector = aiohttp.TCPConnector(limit=0, force_close=True)
                jar = aiohttp.DummyCookieJar()
                self._own = aiohttp.ClientSession(connector=connector, cookie_jar=jar)
            return self._own
        if session.closed:
            closed = ConnectionFailedError("http_session was closed: its backend needs it open")
            closed.is_transient = False
            raise closed
        return session

    def _connections(self, session: aiohttp.ClientSession) -> int:
        """The number of connections; at most the session's own limit. A request that waits in the
        session's queue could not be distinguished from one that waits for a silent server."""
        wanted = self._limits.connections or default_connections()
        connector = session.connector
        own = () if connector is None else (connector.limit, connector.limit_per_host)
        return min([wanted, *(limit for limit in own if limit)])

    async def _exchange(
        self, session: aiohttp.ClientSession, head: RequestHead, body: bytes | None, feed: Feed
    ) -> Response | None:
        data = io.BytesIO(body) if body is not None and len(body) > _LARGE else body
        try:
            response = await session.request(
                head.method,
                head.url,
                headers=head.headers,
                data=data,
                allow_redirects=False,  # the key must not go to another server
                raise_for_status=False,
                # Not `connect`, which counts the wait in the session's own queue as well.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._limits.connect),
            )
        except _FAILURES as error:
            if isinstance(error, BackendError):
                raise
            failure = self._unreached(error)
        except RuntimeError:
            self._session()  # raises where the user has closed it meanwhile
            raise
        else:
            del data, body  # else they would stay in memory as long as the answer streams
            try:
                return await self._read(response, feed)
            except BaseException:
                response.close()
                raise
        # Outside of `except`: aiohttp's error, as its `__context__`, would keep the request alive.
        raise failure

    async def _read(self, response: aiohttp.ClientResponse, feed: Feed) -> Response | None:
        if response.status != 200 or content_encoding(response.headers):
            return await self._refused(response)
        try:
            is_complete = await self._feed_all(response, feed)
        except _FAILURES as error:
            if isinstance(error, BackendError):
                raise
            failure = self._faults.interrupted(_reason(error))
        else:
            if is_complete and not response.content.at_eof():
                task = asyncio.get_running_loop().create_task(self._finish(response))
                self._lingering.add(task)
                task.add_done_callback(self._lingering.discard)
            else:
                response.release()
            return None
        raise failure

    async def _feed_all(self, response: aiohttp.ClientResponse, feed: Feed) -> bool:
        left = self._limits.total
        # No other await in this loop: when the connection breaks, aiohttp drops the bytes that it
        # has read and that were not taken yet.
        async for block in response.content.iter_any():
            if len(block) > left:
                if feed(block[:left]):
                    return True
                raise self._faults.too_large()
            left -= len(block)
            if feed(block):
                return True
        return False

    async def _finish(self, response: aiohttp.ClientResponse) -> None:
        """Read the rest of a complete answer's message, so that the connection can be reused."""
        try:
            async with asyncio.timeout(self._limits.trailing):
                async for _ in response.content.iter_any():
                    pass
            response.release()
        except _FAILURES:
            response.close()
        except BaseException:
            response.close()
            raise

    async def _refused(self, response: aiohttp.ClientResponse) -> Response:
        body, most = bytearray(), self._limits.error_body
        if response.status >= 400 and not content_encoding(response.headers):
            with suppress(*_FAILURES):  # the part that arrived may be enough for a message
                async with asyncio.timeout(self._limits.error_wait):
                    async for block in response.content.iter_any():
                        body += block
                        if len(body) >= most:
                            break
        if response.content.at_eof():
            response.release()
        else:
            response.close()
        return Response(response.status, response.headers, bytes(body[:most]))

    def _unreached(self, error: BaseException) -> BackendError:
        """Map an exception that was raised before the head of a response was complete."""
        faults = self._faults
        match error:
            case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
                return ConnectionFailedError(
                    f"the proxy of http_session did not lead to {faults.origin}"
                )
            case aiohttp.ClientConnectorDNSError():
                return faults.unreached(socket.gaierror())
            case aiohttp.ClientConnectorCertificateError():
                return faults.unreached(error.certificate_error)
            case aiohttp.ClientConnectorError():
                return faults.unreached(error.os_error)
            case aiohttp.ServerTimeoutError() | TimeoutError():
                return faults.unreached(TimeoutError())
            case aiohttp.ClientConnectionError():
                return faults.unanswered(_tls_fault(error))
            case aiohttp.ClientResponseError() | HttpProcessingError():
                return faults.not_http(error.message)
            case SSLError():
                return faults.tls(error)
            case OSError():
                return faults.unanswered()
        # Of aiohttp's own checks of the request, or of the user's middleware: it will come again.
        said = f"{type(error).__name__}: {error}"
        failed = ConnectionFailedError(
            f"the request to {faults.origin} failed in http_session: {printable(said, 300)}"
        )
        failed.is_transient = False
        return failed


_parents_sessions: list[aiohttp.ClientSession] = []
"""Sessions of the parent process, kept so that garbage collection does not touch their sockets."""


def _tls_fault(error: BaseException) -> SSLError | None:
    return next((e for e in (error, error.__cause__) if isinstance(e, SSLError)), None)


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection closed before its end, or its bytes were no HTTP"
    return printable(str(error), 200) or type(error).__name__


class SessionOnItsLoop:
    """Runs a `SessionTransport` on the user's loop for callers on the engine's; see `Transport`.

    Args:
        transport: Used on `loop` only.
        loop: The user's event loop.
        faults: Creates the errors.
    """

    def __init__(
        self, transport: SessionTransport, loop: asyncio.AbstractEventLoop, faults: Faults
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._faults = faults
        self._process = os.getpid()
        self._handovers: set[_Handover] = set()

    @property
    def is_open(self) -> bool:
        """Whether there are pending requests."""
        return bool(self._handovers) or self._transport.is_open

    def anew(self) -> SessionOnItsLoop:
        """A transport with the same settings over the same session."""
        return SessionOnItsLoop(self._transport.anew(), self._loop, self._faults)

    async def send(
        self, head: RequestHead, body: bytes | None, feed: Feed, queued: Queued
    ) -> Response | None:
        """See `Transport.send`.

        Raises:
            CallerLoopClosedError: The session's event loop does not run.
        """
        here = asyncio.get_running_loop()
        if here is self._loop:
            return await self._transport.send(head, body, feed, queued)
        self._require_running()
        handover = _Handover(here, self._loop, feed, queued, self._faults)
        self._handovers.add(handover)
        exchange = handover.starting(self._transport, head, body)
        del body
        try:
            self._loop.call_soon_threadsafe(exchange)
            del exchange
            # A loop that stops drops its callbacks without a word, so it is checked once a second.
            while not handover.done.done():
                await asyncio.wait({handover.done}, timeout=_LOOP_CHECK)
                if not handover.done.done():
                    self._require_running()
            return await handover.done
        finally:
            handover.stop()
            self._handovers.discard(handover)
            if handover.done.done() and not handover.done.cancelled():
                # Of a caller that is cancelled just now, else logged as never retrieved.
                handover.done.exception()
            del handover  # its error refers to this frame: that would be a reference cycle

    def _require_running(self) -> None:
        if os.getpid() != self._process:
            why = "was made before a fork: make one in the child"
        elif self._loop.is_closed() or not self._loop.is_running():
            why = "belongs to an event loop that does not run any more"
        else:
            return
        raise CallerLoopClosedError(f"http_session {why}; its requests run there")

    async def aclose(self) -> None:
        """End the pending requests. Idempotent."""
        for handover in self._handovers:
            handover.close()
        if os.getpid() == self._process and self._loop.is_running():
            closing = asyncio.run_coroutine_threadsafe(self._transport.aclose(), self._loop)
            with suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(asyncio.wrap_future(closing), _LOOP_CHECK)

    def after_fork_in_child(self) -> None:
        """In a forked child: the user's loop does not run there, so nothing is to be ended."""
        self._handovers = set()
        self._transport.after_fork_in_child()


class _Handover:
    """One request that runs on the user's loop, and whose answer goes to the engine's loop.

    Each method runs on one of the two threads, as its section says. They share `_is_stopped` and
    `_is_complete` without a lock: each is written by the engine's thread only, from False to True.
    The other thread may read an old value. It then passes on a block, or starts a request, that
    `_take` ignores, or that `_stop_request` cancels.

    Attributes:
        done: A future of the engine's loop; settled at the end of the request.
    """

    def __init__(
        self,
        engine_loop: asyncio.AbstractEventLoop,
        user_loop: asyncio.AbstractEventLoop,
        feed: Feed,
        queued: Queued,
        faults: Faults,
    ) -> None:
        self._engine_loop = engine_loop
        self._user_loop = user_loop
        self._feed = feed
        self._queued = queued
        self._faults = faults
        self._is_complete = False
        self._task: asyncio.Task[Response | None] | None = None
        self._is_stopped = False
        self.done: asyncio.Future[Response | None] = engine_loop.create_future()

    # On the user's loop.

    def starting(
        self, transport: SessionTransport, head: RequestHead, body: bytes | None
    ) -> Callable[[], None]:
        """A function that starts the request when the user's loop calls it."""

        def start() -> None:
            if not self._is_stopped:  # the caller may be gone before this loop came to it
                sending = transport.send(head, body, self._hand_over, self._report_queued)
                self._task = self._user_loop.create_task(sending)
                self._task.add_done_callback(self._ended)

        return start

    def _hand_over(self, block: bytes) -> bool:
        self._post_to_engine(self._take, block)
        return self._is_complete

    def _report_queued(self, waits: bool) -> None:
        self._post_to_engine(self._queued, waits)

    def _ended(self, task: asyncio.Task[Response | None]) -> None:
        self._task = None
        if task.cancelled():
            why = "was ended with its requests: a task of its event loop was cancelled"
            self._post_to_engine(self._settle, None, CallerLoopClosedError(f"http_session {why}"))
            return
        error = task.exception()
        self._post_to_engine(self._settle, None if error is not None else task.result(), error)

    def _post_to_engine(self, function: Callable[..., object], *args: object) -> None:
        with suppress(RuntimeError):  # the engine has stopped, so nobody waits for the result
            self._engine_loop.call_soon_threadsafe(function, *args)

    def _stop_request(self, patience: float) -> None:
        if self._task is not None:
            if patience:
                self._user_loop.call_later(patience, self._stop_request, 0)
            else:
                self._task.cancel()

    # On the engine's loop.

    def _take(self, block: bytes) -> None:
        if self._is_stopped or self.done.done():
            return
        try:
            if self._feed(block):
                self._is_complete = True
                self.done.set_result(None)
        except BaseException as error:
            self.done.set_exception(error)

    def _settle(self, response: Response | None, error: BaseException | None) -> None:
        if self._is_stopped or self.done.done():
            return  # the caller has left, or has a result
        if error is None:
            self.done.set_result(response)
        else:
            self.done.set_exception(error)

    def close(self) -> None:
        """Let the request fail, because its connections are closed."""
        self._settle(None, self._faults.closed())

    def stop(self) -> None:
        """End the request. After a complete answer its message gets a moment to end by itself, and
        the connection can then be reused."""
        self._is_stopped = True
        patience = self._faults.limits.trailing if self._is_complete else 0
        with suppress(RuntimeError):  # the user's loop is closed
            self._user_loop.call_soon_threadsafe(self._stop_request, patience)
