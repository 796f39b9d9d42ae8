"""New connections to one origin: addresses, TCP, TLS, and a limit on their number.

`Slots` counts the open connections and lets further requests wait in order. Used by the HTTP/1.1
transport; the limit also by the transport over a session of aiohttp.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from typing import TypeVar, cast

import aiohappyeyeballs
from yarl import URL

from mellea_rx.wire.transport import Faults

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]


_WITHOUT_A_LIMIT = 4096


def default_connections() -> int:
    """Half of the files that the process may have open; the other half is left to the program."""
    if resource is None:
        return _WITHOUT_A_LIMIT
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(1, soft // 2)


class Slots:
    """A counting semaphore on one event loop. Not thread-safe.

    `asyncio.Semaphore` does the same, but its `acquire` needs a coroutine even if a slot is free.

    Args:
        count: The number of slots.
    """

    __slots__ = ("_free", "_waiters")

    def __init__(self, count: int) -> None:
        self._free = count
        # Ordered by the time of the call; a cancelled waiter is removed in constant time.
        self._waiters: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    def take(self) -> bool:
        """Take a slot if one is free; returns whether it was. While others wait, none is free:
        `give_back` passes a slot to them directly, so that no later caller overtakes them."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    async def wait(self) -> None:
        """Wait for a slot, and take it. A cancelled wait takes none."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # `give_back` chose this waiter, and the task was cancelled before it ran again. Its
                # slot goes on to the next waiter; else it would be lost for good.
                self.give_back()
            raise
        finally:
            self._waiters.pop(waiter, None)
            del waiter  # an exception that it holds refers to this frame: that would be a cycle

    def give_back(self) -> None:
        """Pass the slot to the waiter that has waited longest, or free it if nobody waits."""
        while self._waiters:
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done():  # a cancelled one is done, and still listed until its task runs
                waiter.set_result(None)
                return
        self._free += 1

    def fail(self, make_error: Callable[[], Exception]) -> None:
        """End every wait with a separate error."""
        waiters, self._waiters = self._waiters, OrderedDict()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(make_error())


_P = TypeVar("_P", bound=asyncio.Protocol)
_T = TypeVar("_T")

ADDRESSES_LAST = 30.0
"""Seconds for which the resolved addresses of a host are reused."""
_NEXT_ADDRESS = 0.25
"""Seconds after which the next address is tried in parallel (RFC 8305)."""


@lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """The TLS settings with the system's certificates.

    The first call takes some 20 ms and must not run on the engine's thread, where it would delay
    every stream.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Connector:
    """Establishes connections to one origin, on one event loop.

    Args:
        url: The origin's scheme, host and port.
        faults: Creates the errors.
    """

    def __init__(self, url: URL, faults: Faults) -> None:
        self._host = url.host or ""
        self._port = url.port or 0
        self._tls = tls_context() if url.scheme == "https" else None
        self._faults = faults
        self._addresses = _Addresses(self._host, self._port)
        # The time limits of the pending `connect` calls: `close` ends a call by its limit.
        self._pending: set[asyncio.Timeout] = set()
        self._closed = False

    async def connect(self, make_protocol: Callable[[], _P]) -> _P:
        """Connect; returns the protocol when TCP and TLS are established.

        A cancelled call leaves no socket open.

        Args:
            make_protocol: Creates the protocol, as for `loop.create_connection`.

        Raises:
            BackendError: No connection was established, or the connector was closed meanwhile.
        """
        limit = asyncio.timeout(self._faults.limits.connect)
        try:
            async with limit:
                self._pending.add(limit)
                return await self._connected(make_protocol)
        except (OSError, UnicodeError, RuntimeError) as error:
            failure = self._faults.closed() if self._closed else self._faults.unreached(error)
        finally:
            self._pending.discard(limit)
        raise failure  # outside of `except`, so that the caught error is not its `__context__`

    def close(self) -> None:
        """Let every pending `connect` fail."""
        # Set first: a pending call that ends now reads it to choose its error.
        self._closed = True
        self._addresses.close()
        for limit in self._pending:
            if not limit.expired():
                # A deadline of now ends the call from inside its own task. Cancelling the task
                # would look like a cancellation by the user.
                limit.reschedule(asyncio.get_running_loop().time())

    async def _connected(self, make_protocol: Callable[[], _P]) -> _P:
        addresses = await self._addresses.find()
        loop = asyncio.get_running_loop()
        # asyncio's own limit of 60 s for the handshake must not end the call before its limit.
        handshake_limit = self._faults.limits.connect if self._tls else None
        name = self._host if self._tls else None
        if len(addresses) == 1:
            host, port = addresses[0][4][:2]
            _, protocol = await loop.create_connection(
                make_protocol,
                str(host),
                int(port),
                ssl=self._tls,
                server_hostname=name,
                ssl_handshake_timeout=handshake_limit,
            )
            return protocol
        # Several addresses: raced by happy eyeballs. uvloop's `create_connection` has no such race,
        # and would wait for the timeout of each dead address.
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_NEXT_ADDRESS, loop=loop
        )
        try:
            _, protocol = await loop.create_connection(
                make_protocol,
                sock=sock,
                ssl=self._tls,
                server_hostname=name,
                ssl_handshake_timeout=handshake_limit,
            )
        except BaseException:
            with suppress(OSError):
                sock.close()  # the loop may not own it yet
            raise
        return protocol


class _Addresses:
    """The addresses of a host: resolved by at most one lookup at a time, and reused for a while."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._resolved: list[aiohappyeyeballs.AddrInfoType] = _numeric(host, port)
        self._stale_at = float("inf") if self._resolved else 0.0
        self._lookup: asyncio.Task[list[aiohappyeyeballs.AddrInfoType]] | None = None

    async def find(self) -> list[aiohappyeyeballs.AddrInfoType]:
        """All addresses.

        Raises:
            OSError: The host has no address.
            UnicodeError: Its name cannot be encoded.
        """
        loop = asyncio.get_running_loop()
        if loop.time() < self._stale_at:
            return self._resolved
        if self._lookup is None:
            # A separate task: the caller that started the lookup may be cancelled while others
            # wait for it. `shield` below keeps their cancellation from ending it.
            self._lookup = loop.create_task(self._look_up(loop))
            self._lookup.add_done_callback(self._lookup_done)
        return await asyncio.shield(self._lookup)

    async def _look_up(
        self, loop: asyncio.AbstractEventLoop
    ) -> list[aiohappyeyeballs.AddrInfoType]:
        found = await _in_daemon_thread(
            loop, partial(socket.getaddrinfo, self._host, self._port, type=socket.SOCK_STREAM)
        )
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        self._resolved = cast("list[aiohappyeyeballs.AddrInfoType]", found)
        self._stale_at = loop.time() + ADDRESSES_LAST
        return self._resolved

    def _lookup_done(self, task: asyncio.Task[list[aiohappyeyeballs.AddrInfoType]]) -> None:
        self._lookup = None
        if not task.cancelled():
            # Marks the error as retrieved. If all callers were cancelled, nobody else reads it, and
            # asyncio would log it.
            task.exception()

    def close(self) -> None:
        if self._lookup is not None:
            self._lookup.cancel()


def _in_daemon_thread(
    loop: asyncio.AbstractEventLoop, call: Callable[[], _T]
) -> asyncio.Future[_T]:
    """Call a function that cannot be interrupted, without anybody having to wait for its end.

    A loop's own lookup occupies one of few threads that all lookups share, keeps the loop from
    being closed until it ends, and with uvloop crashes the interpreter if it ends later.
    """
    result: asyncio.Future[_T] = loop.create_future()

    def settle(value: _T | None, error: Exception | None) -> None:
        if result.done():
            return
        if error is not None:
            result.set_exception(error)
        else:
            result.set_result(cast("_T", value))

    def run() -> None:
        value: _T | None = None
        failure: Exception | None = None
        try:
            value = call()
        except Exception as error:
            failure = error
        with suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
            loop.call_soon_threadsafe(settle, value, failure)

    threading.Thread(target=run, name="mellea-rx-lookup", daemon=True).start()
    return result


def _numeric(host: str, port: int) -> list[aiohappyeyeballs.AddrInfoType]:
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return []
    if version == 6:
        return [(socket.AF_INET6, socket.SOCK_STREAM, 0, "", (host, port, 0, 0))]
    return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port))]
