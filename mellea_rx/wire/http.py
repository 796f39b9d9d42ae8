"""HTTP: requests to one origin, and what their responses mean.

A client belongs to one origin and holds that origin's key; it follows no redirect, takes no proxy
from the environment, keeps no cookies, and has a cap on everything that it reads.
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
from mellea_rx.wire.secrets import Address, Redactor, Secret
from mellea_rx.wire.statuses import packing, refusal
from mellea_rx.wire.transport import Faults, Feed, Limits, Queued, RequestHead, Response, Transport
from mellea_rx.wire.words import error_message, excerpt

if TYPE_CHECKING:
    from aiohttp import ClientSession

__all__ = ["HttpClient", "Limits", "open_client"]

_HEADERS = {
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "User-Agent": f"mellea-rx/{__version__}",
}
_KEY = re.compile(r"key|token|secret|passw|auth|^sig", re.IGNORECASE)


def _unheard(_: bool) -> None:
    """Nobody wants to know that a request waits."""


def parse_base_url(url: str) -> URL:
    """Check a server's address.

    Raises:
        InvalidInputError: It is no http or https URL.
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
    """Speaks HTTP to one origin.

    Args:
        base_url: Where the server is; paths are appended to it, and its query to them.
        headers: Sent with every request, to this origin only (they may hold a key).
        transport: Carries the requests.
        limits: What it waits for and takes at most.
        redact: Takes that key out of a text.
        loops: Event loops of the user's that have to run for its requests.
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
        """A client like this one, on connections of its own."""
        return replace(self, transport=self.transport.anew())

    async def exchange(
        self, method: str, path: str, body: bytes | None, feed: Feed, queued: Queued = _unheard
    ) -> None:
        """Send a request; feed the answer's blocks as they come, until it is complete.

        It only reads and hands on, so that nothing that came is lost when the connection breaks.

        Args:
            method: "POST", or "GET".
            path: Appended to the base URL.
            body: JSON; None where there is none.
            feed: Takes the blocks, and says when the answer is complete.
            queued: Told when all connections are in use, and when one is free.

        Raises:
            BackendError: By what went wrong; see the tree in `mellea_rx.errors`.
        """
        head = self._heads.get((method, path)) or self._head(method, path)
        response = self.transport.send(head, body, feed, queued)
        del body  # it would be kept as long as the answer streams
        refused = await response
        if refused is not None:
            raise self._refusal(refused)

    def _head(self, method: str, path: str) -> RequestHead:
        content = {"Content-Type": "application/json"} if method == "POST" else {}
        headers = {**_HEADERS, **self.headers, **content}
        head = RequestHead(method, _joined(self.base_url, path), headers)
        return self._heads.setdefault((method, path), head)

    def _refusal(self, response: Response) -> BackendError:
        packed = packing(response.headers)
        told = f"compressed ({packed})" if packed else error_message(response.body)
        return refusal(self.origin, response.status, response.headers, told)

    async def get_json(self, path: str, *, timeout: float, body: bytes | None = None) -> Any:
        """Get a JSON document.

        Args:
            path: Appended to the base URL.
            timeout: Seconds for all of it.
            body: JSON that is posted; None for a GET.

        Raises:
            BackendError: By what went wrong.
        """
        blocks: list[bytes] = []

        def keep(block: bytes) -> bool:
            blocks.append(block)
            return False  # the document ends where the body does

        try:
            async with asyncio.timeout(timeout):
                await self.exchange("GET" if body is None else "POST", path, body, keep)
        except TimeoutError as error:
            if isinstance(error, BackendError):
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
    """A client for one origin; it opens no connection yet.

    Args:
        base_url: Where the server is.
        headers: Sent with every request.
        secrets: What of them no message may show.
        limits: What to wait for and take at most.
        http_session: A session of the user's that carries the requests; None for connections of
            our own.

    Raises:
        InvalidInputError: `base_url` is no http or https URL, a key cannot be sent, or `limits`
            or `http_session` are none.
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
    """Connections of our own; over aiohttp's where httptools does not install (PyPy)."""
    try:
        from mellea_rx.wire.http1 import Http1Transport
    except ImportError:
        from mellea_rx.wire.aiohttp_session import SessionTransport

        return SessionTransport(limits, faults)
    return Http1Transport(origin, limits, faults)


def _joined(base_url: URL, path: str) -> URL:
    """The base URL's path and this one, with the base URL's query, without its credentials."""
    joined = base_url.joinpath(path.lstrip("/"))
    query = base_url.raw_query_string
    target = f"{joined.raw_path}?{query}" if query else joined.raw_path
    return URL(f"{base_url.origin()}{target}", encoded=True)


def _keys_of(url: URL) -> list[str]:
    """The values in a query that are keys, by their names."""
    return [value for name, value in url.query.items() if value and _KEY.search(name)]
