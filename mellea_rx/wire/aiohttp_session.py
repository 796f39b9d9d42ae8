"""Requests over a session of aiohttp, by its documented API: a user's, or one of our own.

A user's session brings what connections of our own have not: proxies, client certificates, tracing,
recording. It lives on the user's event loop, and requests run there, since aiohttp can do nothing
else; the blocks of an answer are handed over to the engine. It is never closed here. A session of
our own is for platforms where httptools does not install; it lives on the engine's loop.
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
from mellea_rx.wire.slots import Slots, default_connections
from mellea_rx.wire.statuses import packing
from mellea_rx.wire.transport import Faults, Feed, Limits, Queued, RequestHead, Response, Transport
from mellea_rx.wire.words import printable

__all__ = ["SessionOnItsLoop", "SessionTransport", "transport_over"]

_FAILURES = (TimeoutError, OSError, ValueError, aiohttp.ClientError, HttpProcessingError)
"""What aiohttp raises when something is wrong out there, or with a request."""
_LARGE = 1_000_000
"""Bytes of a body above which aiohttp wants a file instead, and warns."""
_LOOP_CHECK = 1.0
"""Seconds between two looks at whether a user's loop still runs."""


def transport_over(
    session: Any, limits: Limits, faults: Faults
) -> tuple[Transport, tuple[asyncio.AbstractEventLoop, ...]]:
    """A transport over a user's session, and the loops that have to run for it.

    Raises:
        InvalidInputError: It is no open `aiohttp.ClientSession`.
    """
    if not isinstance(session, aiohttp.ClientSession):
        raise InvalidInputError(
            f"http_session must be an aiohttp.ClientSession, not {_kind(session)}"
        )
    if session.closed:
        raise InvalidInputError("http_session is closed: a backend needs one that is open")
    with warnings.catch_warnings():
        # The one way to know it; by another loop a session hangs, or fails in riddles.
        warnings.simplefilter("ignore", DeprecationWarning)
        loop = session.loop
    if loop.is_closed():
        raise InvalidInputError("http_session belongs to an event loop that is closed")
    return SessionOnItsLoop(SessionTransport(limits, faults, session), loop, faults), (loop,)


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


class SessionTransport:
    """Carries requests over a session, on the session's own loop; see `Transport`.

    Args:
        limits: What to wait for and take.
        faults: Makes the errors.
        session: The user's; None for one of its own, made at the first request and closed with
            the backend.
    """

    def __init__(
        self, limits: Limits, faults: Faults, session: aiohttp.ClientSession | None = None
    ) -> None:
        self._limits = limits
        self._faults = faults
        self._given = session
        self._own: aiohttp.ClientSession | None = None
        self._slots: Slots | None = None
        self._under_way: set[asyncio.Timeout] = set()
        self._lingering: set[asyncio.Task[None]] = set()

    @property
    def is_open(self) -> bool:
        """Whether there is anything to close: requests under way, or a session of its own."""
        return bool(self._under_way or self._lingering) or self._own is not None

    def anew(self) -> SessionTransport:
        """A transport like this one: over the same session, or another one of its own."""
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
                self._under_way.add(closing)
                return await self._exchange(session, head, body, feed)
        except TimeoutError:
            if not closing.expired():
                raise
        finally:
            self._under_way.discard(closing)
            slots.give_back()
        raise self._faults.closed()

    async def aclose(self) -> None:
        """End what is under way, and close a session of its own. Idempotent."""
        loop = asyncio.get_running_loop()
        if self._slots is not None:
            self._slots.fail(self._faults.closed)
            self._slots = None
        for closing in self._under_way:
            if not closing.expired():
                closing.reschedule(loop.time())
        for task in self._lingering:
            task.cancel()
        own, self._own = self._own, None
        if own is not None:
            await own.close()

    def orphaned(self) -> None:
        """In a forked child: forget the parent's connections without touching them."""
        if self._own is not None:
            _parents_sessions.append(self._own)
        self._own = self._slots = None
        self._under_way, self._lingering = set(), set()

    def _session(self) -> aiohttp.ClientSession:
        session = self._given
        if session is None:
            if self._own is None:
                # aiohttp would take bytes that come on an idle connection for the next answer.
                connector = aiohttp.TCPConnector(limit=0, force_close=True)
                jar = aiohttp.DummyCookieJar()
                self._own = aiohttp.ClientSession(connector=connector, cookie_jar=jar)
            return self._own
        if session.closed:
            closed = ConnectionFailedError("http_session was closed: its backend needs it open")
            closed.is_passing = False
            raise closed
        return session

    def _connections(self, session: aiohttp.ClientSession) -> int:
        """No more than the session has: its own queue cannot be told from a silent server."""
        wanted = self._limits.connections or default_connections()
        connector = session.connector
        limit = connector.limit if connector is not None else 0
        return min(wanted, limit or wanted)

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
                allow_redirects=False,  # a key must not travel
                raise_for_status=False,
                timeout=aiohttp.ClientTimeout(total=None, connect=self._limits.connect),
            )
        except _FAILURES as error:
            if isinstance(error, BackendError):
                raise
            failure = self._unreached(error)
        else:
            del data, body  # they would be kept as long as the answer streams
            try:
                return await self._read(response, feed)
            except BaseException:
                response.close()
                raise
        raise failure  # out here it has no context: aiohttp's errors hold the request

    async def _read(self, response: aiohttp.ClientResponse, feed: Feed) -> Response | None:
        if response.status != 200 or packing(response.headers):
            return await self._refused(response)
        try:
            is_complete = await self._feed_all(response, feed)
        except _FAILURES as error:
            if isinstance(error, BackendError):
                raise
            failure = self._faults.interrupted(_said(error))
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
        # It only reads and hands on: aiohttp loses what it has read when a connection breaks.
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
        """Read what is left of a complete answer, so that its connection can be used again."""
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
        if response.status >= 400 and not packing(response.headers):
            with suppress(*_FAILURES):  # what came of it may say enough
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
        """Map what happened before the head of a response."""
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
        return ConnectionFailedError(
            f"the request to {faults.origin} failed: {type(error).__name__}"
        )


_parents_sessions: list[aiohttp.ClientSession] = []


def _tls_fault(error: BaseException) -> SSLError | None:
    return next((e for e in (error, error.__cause__) if isinstance(e, SSLError)), None)


def _said(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection closed before its end, or its bytes were no HTTP"
    return printable(str(error), 200) or type(error).__name__


class SessionOnItsLoop:
    """Carries requests by a transport on another loop, and hands over what comes; see `Transport`.

    Args:
        transport: Used on `loop` only.
        loop: The user's.
        faults: Makes the errors.
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
        """Whether requests are under way."""
        return bool(self._handovers) or self._transport.is_open

    def anew(self) -> SessionOnItsLoop:
        """A transport like this one, over the same session."""
        return SessionOnItsLoop(self._transport.anew(), self._loop, self._faults)

    async def send(
        self, head: RequestHead, body: bytes | None, feed: Feed, queued: Queued
    ) -> Response | None:
        """See `Transport.send`.

        Raises:
            CallerLoopClosedError: The session's loop does not run (any more).
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
            while not handover.done.done():
                await asyncio.wait({handover.done}, timeout=_LOOP_CHECK)
                if not handover.done.done():
                    self._require_running()
            return await handover.done
        finally:
            handover.stop()
            self._handovers.discard(handover)
            del handover  # it holds an error, which would hold this frame

    def _require_running(self) -> None:
        if os.getpid() != self._process:
            why = "was made before a fork: make one in the child"
        elif self._loop.is_closed() or not self._loop.is_running():
            why = "belongs to an event loop that does not run any more"
        else:
            return
        raise CallerLoopClosedError(f"http_session {why}; its requests run there")

    async def aclose(self) -> None:
        """End what is under way. Idempotent."""
        for handover in self._handovers:
            handover.close()
        if os.getpid() == self._process and self._loop.is_running():
            closing = asyncio.run_coroutine_threadsafe(self._transport.aclose(), self._loop)
            with suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(asyncio.wrap_future(closing), _LOOP_CHECK)

    def orphaned(self) -> None:
        """In a forked child: its loop does not run there."""
        self._handovers = set()
        self._transport.orphaned()


class _Handover:
    """One exchange on the user's loop (there), whose blocks are fed on the engine's (here).

    Attributes:
        done: On the engine's loop: settled at the end of the exchange.
    """

    def __init__(
        self,
        here: asyncio.AbstractEventLoop,
        there: asyncio.AbstractEventLoop,
        feed: Feed,
        queued: Queued,
        faults: Faults,
    ) -> None:
        self._here = here
        self._there = there
        self._feed = feed
        self._queued = queued
        self._faults = faults
        self._is_complete = False
        self._task: asyncio.Task[Response | None] | None = None
        self._is_stopped = False
        self.done: asyncio.Future[Response | None] = here.create_future()

    # There.

    def starting(
        self, transport: SessionTransport, head: RequestHead, body: bytes | None
    ) -> Callable[[], None]:
        """What begins the exchange, when it is called there."""

        def start() -> None:
            if not self._is_stopped:
                sending = transport.send(head, body, self._hand_over, self._tell)
                self._task = self._there.create_task(sending)
                self._task.add_done_callback(self._ended)

        return start

    def _hand_over(self, block: bytes) -> bool:
        self._post_here(self._take, block)
        return self._is_complete

    def _tell(self, waits: bool) -> None:
        self._post_here(self._queued, waits)

    def _ended(self, task: asyncio.Task[Response | None]) -> None:
        self._task = None
        if task.cancelled():
            why = "was ended with its requests: a task of its event loop was cancelled"
            self._post_here(self._settle, None, CallerLoopClosedError(f"http_session {why}"))
            return
        error = task.exception()
        self._post_here(self._settle, None if error is not None else task.result(), error)

    def _post_here(self, function: Callable[..., object], *args: object) -> None:
        with suppress(RuntimeError):  # the engine has stopped, and nobody waits
            self._here.call_soon_threadsafe(function, *args)

    def _stop_there(self, patience: float) -> None:
        if self._task is not None:
            if patience:
                self._there.call_later(patience, self._stop_there, 0)
            else:
                self._task.cancel()

    # Here.

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
            return  # nobody waits any more
        if error is None:
            self.done.set_result(response)
        else:
            self.done.set_exception(error)

    def close(self) -> None:
        """Let the request fail: its connections are closed."""
        self._settle(None, self._faults.closed())

    def stop(self) -> None:
        """End what is left of it: a complete answer's connection gets a moment to end itself."""
        self._is_stopped = True
        patience = self._faults.limits.trailing if self._is_complete else 0
        with suppress(RuntimeError):  # that loop is closed
            self._there.call_soon_threadsafe(self._stop_there, patience)
