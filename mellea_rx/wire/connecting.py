"""New connections to one origin: its addresses, TCP, TLS, and a limit on all of that together."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import TypeVar, cast

import aiohappyeyeballs
from yarl import URL

from mellea_rx.wire.transport import Faults

__all__ = ["Connector", "tls_context"]

_P = TypeVar("_P", bound=asyncio.Protocol)

ADDRESSES_LAST = 30.0
"""Seconds for which the addresses of a host are taken to be the same."""
_NEXT_ADDRESS = 0.25
"""Seconds until another address is tried beside the first (RFC 8305)."""


@lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """What the system trusts. Takes some 20 ms, once: not for the engine's thread."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Connector:
    """Makes connections to one origin, on one loop.

    Args:
        url: The origin's scheme, host and port.
        faults: Makes the errors.
    """

    def __init__(self, url: URL, faults: Faults) -> None:
        self._host = url.host or ""
        self._port = url.port or 0
        self._tls = tls_context() if url.scheme == "https" else None
        self._faults = faults
        self._addresses = _Addresses(self._host, self._port)
        self._under_way: set[asyncio.Timeout] = set()
        self._closed = False

    async def connect(self, make_protocol: Callable[[], _P]) -> _P:
        """A new connection's protocol, when TCP and TLS are through.

        Cancelling it leaves no socket open.

        Raises:
            BackendError: There is none; or the connector was closed meanwhile.
        """
        limit = asyncio.timeout(self._faults.limits.connect)
        try:
            async with limit:
                self._under_way.add(limit)
                return await self._connected(make_protocol)
        except (OSError, UnicodeError, RuntimeError) as error:
            failure = self._faults.closed() if self._closed else self._faults.unreached(error)
        finally:
            self._under_way.discard(limit)
        raise failure  # out here, it has no context

    def close(self) -> None:
        """Let everything under way fail, and what asks later."""
        self._closed = True
        self._addresses.close()
        for limit in self._under_way:
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())

    async def _connected(self, make_protocol: Callable[[], _P]) -> _P:
        found = await self._addresses.find()
        loop = asyncio.get_running_loop()
        # Bounded by the limit on all of it, and not by the loop's own 60 s.
        patience = self._faults.limits.connect if self._tls else None
        name = self._host if self._tls else None
        if len(found) == 1:
            host, port = found[0][4][:2]
            _, protocol = await loop.create_connection(
                make_protocol,
                str(host),
                int(port),
                ssl=self._tls,
                server_hostname=name,
                ssl_handshake_timeout=patience,
            )
            return protocol
        # Under uvloop `create_connection` tries one address after another.
        sock = await aiohappyeyeballs.start_connection(
            found, happy_eyeballs_delay=_NEXT_ADDRESS, loop=loop
        )
        try:
            _, protocol = await loop.create_connection(
                make_protocol,
                sock=sock,
                ssl=self._tls,
                server_hostname=name,
                ssl_handshake_timeout=patience,
            )
        except BaseException:
            with suppress(OSError):
                sock.close()  # the loop may not have taken it yet
            raise
        return protocol


class _Addresses:
    """The addresses of a host, looked up once at a time, and again when they are old."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._found: list[aiohappyeyeballs.AddrInfoType] = _numeric(host, port)
        self._stale = float("inf") if self._found else 0.0
        self._looking: asyncio.Task[list[aiohappyeyeballs.AddrInfoType]] | None = None

    async def find(self) -> list[aiohappyeyeballs.AddrInfoType]:
        """All addresses; raises `OSError` or `UnicodeError` where there is none."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._stale:
            return self._found
        if self._looking is None:
            # A task of its own: who asked first may be cancelled while others wait.
            self._looking = loop.create_task(self._look_up(loop))
            self._looking.add_done_callback(self._looked_up)
        return await asyncio.shield(self._looking)

    async def _look_up(
        self, loop: asyncio.AbstractEventLoop
    ) -> list[aiohappyeyeballs.AddrInfoType]:
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        self._found = cast("list[aiohappyeyeballs.AddrInfoType]", found)
        self._stale = loop.time() + ADDRESSES_LAST
        return self._found

    def _looked_up(self, task: asyncio.Task[list[aiohappyeyeballs.AddrInfoType]]) -> None:
        self._looking = None
        if not task.cancelled():
            task.exception()  # seen, also where nobody waits any more

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()


def _numeric(host: str, port: int) -> list[aiohappyeyeballs.AddrInfoType]:
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return []
    if version == 6:
        return [(socket.AF_INET6, socket.SOCK_STREAM, 0, "", (host, port, 0, 0))]
    return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port))]
