"""The HTTP client of the backends: sends requests to one origin, and maps responses to errors.

A client belongs to one origin and holds its key. It follows no redirect, reads no proxy from the
environment, stores no cookies, and limits the size of everything that it reads.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
from yarl import URL

from mellea_rx._version import __version__
from mellea_rx.errors import BackendError, ConnectTimeoutError, InvalidInputError, ProtocolError
from mellea_rx.wire.error_text import error_message, excerpt
from mellea_rx.wire.redaction import Address, Redactor, Secret
from mellea_rx.wire.status_errors import content_encoding, error_for_status
from mellea_rx.wire.transport import Faults, Feed, Limits, Queued, RequestHead, Response, Transport

if TYPE_CHECKING:
    from aiohttp import ClientSession

__all__ = ["HttpClient", "Limits", "open_client"]

_HEADERS = {
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "User-Agent": f"mellea-rx/{__version__}",
}
_KEY = re.compile(r"key|token|secret|passw|auth|^sig", re.IGNORECASE)


def _ignore_queued(_: bool) -> None:
    """Ignores that a request waits for a connection."""


def parse_base_url(url: str) -> URL:
    """Parse and check a server's address.

    Raises:
        InvalidInputError: It is not an http or https URL.
    """
    try:
        parsed = URL(url)
    except (ValueError, TypeError):
        parsed = URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        shown = Address(url) if isinstance(url, str) else url
        raise InvalidInputError(f"base_url must be an http:// or https:// address, not {shown!r}")
    return parsed


@dataclass(frozen=True)
class HttpClient:
    """Sends HTTP requests to one origin.

    Args:
        base_url: The server's address. Paths are appended to it, and its query to them.
        headers: Sent with every request, to this origin only (they may contain a key).
        transport: Sends the requests.
        limits: Times, sizes and the number of connections.
        redact: Replaces that key in a text.
        loops: The user's event loops that have to run for its requests.
    """

    base_url: URL
    headers: Mapping[str, str]
    transport: Transport
    limits: Limits = field(default_factory=Limits)
    redact: Redactor = field(default_factory=lambda: Redactor(()))
    loops: tuple[asyncio.AbstractEventLoop, ...] = ()
    _heads: dict[tuple[str, str], RequestHead] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        return f"HttpClient({self.origin!r})"

    @cached_property
    def origin(self) -> str:
        """Scheme, host and port, without credentials."""
        return str(self.base_url.origin())

    def with_own_connections(self) -> HttpClient:
        """A client with the same settings and separate connections, for another event loop."""
        return replace(self, transport=self.transport.anew())

    async def exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        feed: Feed,
        queued: Queued = _ignore_queued,
    ) -> None:
        """Send a request; pass each block of its answer to `feed` on arrival, until it is complete.

        Every byte that was read is passed on, also when the connection breaks.

        Args:
            method: "POST" or "GET".
            path: Appended to the base URL.
            body: JSON; None for a request without a body.
            feed: Accepts the blocks; returns whether the answer is complete.
            queued: Called when the request starts to wait for a free connection, and again when
                it has one.

        Raises:
            BackendError: The request failed; the class says how (see `mellea_rx.errors`).
        """
        head = self._heads.get((method, path)) or self._head(method, path)
        response = self.transport.send(head, body, feed, queued)
        del body  # else it would stay in memory as long as the answer streams
        rejected = await response
        if rejected is not None:
            raise self._status_error(rejected)

    def _head(self, method: str, path: str) -> RequestHead:
        content = {"Content-Type": "application/json"} if method == "POST" else {}
        headers = {**_HEADERS, **self.headers, **content}
        head = RequestHead(method, _joined(self.base_url, path), headers)
        return self._heads.setdefault((method, path), head)

    def _status_error(self, response: Response) -> BackendError:
        packed = content_encoding(response.headers)
        told = f"compressed ({packed})" if packed else error_message(response.body)
        return error_for_status(self.origin, response.status, response.headers, told)

    async def get_json(self, path: str, *, timeout: float, body: bytes | None = None) -> Any:
        """Get a JSON document.

        Args:
            path: Appended to the base URL.
            timeout: Seconds for the whole request.
            body: JSON to post; None for a GET.

        Raises:
            BackendError: The request failed; the class says how.
        """
        blocks: list[bytes] = []

        def keep(block: bytes) -> bool:
            blocks.append(block)
            return False  # the document is complete at the end of the body, not before

        try:
            async with asyncio.timeout(timeout):
                await self.exchange("GET" if body is None else "POST", path, body, keep)
        except TimeoutError as error:
            if isinstance(error, BackendError):  # some of ours are TimeoutErrors too
                raise
            raise ConnectTimeoutError(f"{self.origin} gave no answer in {timeout:g} s") from None
        data = b"".join(blocks)
        try:
            return msgspec.json.decode(data)
        except (ValueError, RecursionError):
            where = self.origin + _joined(self.base_url, path).path
            raise ProtocolError(f"{where} sent no JSON: {excerpt(data)}") from None


def open_client(
    base_url: str,
    headers: Mapping[str, str],
    secrets: tuple[str, ...],
    limits: Limits,
    http_session: ClientSession | None = None,
) -> HttpClient:
    """Create a client for one origin. It opens no connection yet.

    Args:
        base_url: The server's address.
        headers: Sent with every request.
        secrets: The parts of the headers that no message may show.
        limits: Times, sizes and the number of connections.
        http_session: A user's session that sends the requests; None for the library's own
            connections.

    Raises:
        InvalidInputError: `base_url` is not an http or https URL, a key cannot be sent, or
            `limits` or `http_session` has a wrong type.
    """
    if not isinstance(limits, Limits):
        raise InvalidInputError(f"limits must be Limits(...), not a {type(limits).__name__}")
    url = parse_base_url(base_url)
    if any(not secret.isprintable() for secret in secrets):
        raise InvalidInputError("api_key holds a line end or another character that is not printed")
    held = {name: Secret(value) for name, value in headers.items()}
    redact = Redactor((*secrets, *filter(None, (url.password,)), *_keys_of(url)))
    faults = Faults(str(url.origin()), limits)
    if http_session is None:
        return HttpClient(url, held, _transport(url.origin(), limits, faults), limits, redact)
    from mellea_rx.wire.aiohttp_session import transport_over

    transport, loops = transport_over(http_session, limits, faults)
    return HttpClient(url, held, transport, limits, redact, loops)


def _transport(origin: URL, limits: Limits, faults: Faults) -> Transport:
    """The `http1` transport, or one over aiohttp where httptools is not installed (PyPy)."""
    try:
        from mellea_rx.wire.http1 import Http1Transport
    except ImportError:
        from mellea_rx.wire.aiohttp_session import SessionTransport

        return SessionTransport(limits, faults)
    return Http1Transport(origin, limits, faults)


def _joined(base_url: URL, path: str) -> URL:
    """The base URL with this path appended, with its query and without its credentials."""
    joined = base_url.joinpath(path.lstrip("/"))
    query = base_url.raw_query_string
    target = f"{joined.raw_path}?{query}" if query else joined.raw_path
    return URL(f"{base_url.origin()}{target}", encoded=True)


def _keys_of(url: URL) -> list[str]:
    """The values of query parameters whose names say that they are keys."""
    return [value for name, value in url.query.items() if value and _KEY.search(name)]
