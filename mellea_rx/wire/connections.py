"""Connections to one origin: a request goes out on one, and its answer's head comes in.

aiohttp keeps the connections and parses what comes. Its session would build a request, a response,
a writer with a task of its own and a dozen objects more for each call: four tenths of what a short
call costs, and most of what Python's collector has to look at. Here the head of a request is made
once for each path, and what a call adds is its body and the length of it (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from mellea_rx.wire.eager import Connector

__all__ = ["Answer", "Connections"]

_LENGTH = "Content-Length"


@dataclass(frozen=True, slots=True)
class _Target:
    """Where requests of one method and path go.

    Attributes:
        request: Tells the connector the way.
        head: What each of them begins with, up to the length of its body. It holds the key.
    """

    request: aiohttp.ClientRequest = field(repr=False)
    head: bytes = field(repr=False)


def _target(method: str, url: URL, headers: Mapping[str, str]) -> _Target:
    """Called on the loop that will send there."""
    request = aiohttp.ClientRequest(method, url, headers=headers)
    request.headers.popall(_LENGTH, None)
    lines = [f"{method} {request.url.raw_path_qs} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return _Target(request, "\r\n".join(lines).encode())


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer, and the connection by which its body comes.

    Attributes:
        status: The status code.
        headers: By name, in any case.
        content: The body.
    """

    status: int
    headers: Mapping[str, str]
    content: aiohttp.StreamReader
    _connection: aiohttp.connector.Connection = field(repr=False)

    def release(self) -> None:
        """Give the connection back; where the body has not ended, close it. Idempotent."""
        _stop_sending(self._connection)
        self._connection.release()

    def close(self) -> None:
        """Close the connection. Idempotent."""
        _stop_sending(self._connection)
        self._connection.close()


class Connections:
    """The connections of one client, on one engine's loop.

    Args:
        connect: Seconds until a connection is ready, TLS handshake included.
    """

    def __init__(self, connect: float) -> None:
        self._timeout = aiohttp.ClientTimeout(connect=connect)
        self._connector: Connector | None = None
        self._targets: dict[tuple[str, URL], _Target] = {}

    @property
    def is_open(self) -> bool:
        """Whether there may be connections to close."""
        return self._connector is not None

    async def send(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        """Send a request; the answer's head. On the loop only.

        A connection that was kept may have been closed by the server just now: what changes nothing
        there is asked again, once (RFC 9110, 9.2.2).

        Args:
            method: "POST", or "GET".
            url: Where to.
            headers: The same for each request of this method there.
            body: None where there is none.

        Returns:
            The answer, whose connection is the caller's to release.

        Raises:
            aiohttp.ClientError, HttpProcessingError, OSError, TimeoutError: No answer came.
        """
        connector = self._connector
        if connector is None:
            connector = self._connector = Connector(limit=0, ttl_dns_cache=30)
            self._targets.clear()
        target = self._targets.get((method, url))
        if target is None:
            target = self._targets[method, url] = _target(method, url, headers)
        try:
            return await self._asked(connector, target, body)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            if method != "GET" or isinstance(error, aiohttp.ClientConnectorError):
                raise
        return await self._asked(connector, target, body)

    async def _asked(self, connector: Connector, target: _Target, body: bytes | None) -> Answer:
        connection = await connector.connect(target.request, [], self._timeout)
        try:
            protocol = connection.protocol
            assert protocol is not None
            _write(protocol, target, body)
            # Nothing is read before the loop's next turn: the server works meanwhile. A packed body
            # is refused: a few bytes of it may stand for any number.
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
            while True:
                message, content = await protocol.read()
                # Others of the hundreds are said ahead of an answer; after a 101 none comes.
                if message.code == 101 or not 100 <= message.code < 200:
                    return Answer(message.code, message.headers, content, connection)
        except BaseException:
            _stop_sending(connection)
            connection.close()
            raise

    async def aclose(self) -> None:
        """Close every connection. Idempotent; a cancellation only ends the wait for their ends."""
        connector, self._connector = self._connector, None
        if connector is not None:
            # It closes them all before it waits for their ends.
            await connector.close()

    def orphaned(self) -> None:
        """In a forked child: forget the parent's connections without touching them."""
        connector, self._connector = self._connector, None
        if connector is not None:
            _parents_connectors.append(connector)


_parents_connectors: list[Connector] = []


def _stop_sending(connection: aiohttp.connector.Connection) -> None:
    """A transport that is closed sends first what it was given, to whom may never take it."""
    transport = connection.transport
    if transport is not None and transport.get_write_buffer_size():
        transport.abort()


def _write(protocol: ResponseHandler, target: _Target, body: bytes | None) -> None:
    transport = protocol.transport
    if transport is None or transport.is_closing():
        return  # whoever reads is told how it was lost
    if body is None:
        transport.writelines((target.head, b"\r\n\r\n"))
    else:
        length = b"\r\n%b: %d\r\n\r\n" % (_LENGTH.encode(), len(body))
        transport.writelines((target.head, length, body))
