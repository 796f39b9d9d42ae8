"""HTTP: the only home of aiohttp, and the only place that maps its errors to ours.

A client belongs to one origin and holds that origin's key; it follows no redirect, takes no proxy
from the environment, keeps no cookies, and has a cap on everything that it reads.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from email.utils import parsedate_to_datetime
from functools import cached_property, lru_cache
from math import isfinite
from typing import Any

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from mellea_rx.errors import (
    AuthenticationError,
    BackendError,
    BadRequestError,
    ConnectionFailedError,
    ConnectTimeoutError,
    InvalidInputError,
    ModelNotFoundError,
    NameResolutionError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    RedirectRefusedError,
    ResponseTooLargeError,
    ServerError,
    StatusError,
    StreamInterruptedError,
    TLSError,
)
from mellea_rx.wire.eager import EagerBody, Feed
from mellea_rx.wire.lines import MAX_LINE
from mellea_rx.wire.payload import excerpt

__all__ = ["Connections", "HttpClient", "Limits", "error_message", "open_client", "retry_after"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client waits for and takes at most.

    Attributes:
        connect: Seconds until a connection is ready, TLS handshake included.
        total: Bytes of one answer.
        line: Bytes of one line or event of it.
        tool_arguments: Bytes of the arguments of one tool call.
        error_body: Bytes of an error's body that are read.
        trailing: Seconds that a complete answer's connection may take to end, to be used again.

    Raises:
        InvalidInputError: A limit that is no number above 0, by name.
    """

    connect: float = 30.0
    total: int = 64 * 1024 * 1024
    line: int = MAX_LINE
    tool_arguments: int = 1024 * 1024
    error_body: int = 64 * 1024
    trailing: float = 0.1

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise InvalidInputError(
                    f"Limits({each.name}=...) must be a number above 0, not {value!r}"
                )


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
        raise InvalidInputError(f"base_url must be an http:// or https:// address, not {url!r}")
    return parsed


@lru_cache(maxsize=64)
def _joined(base_url: URL, path: str) -> URL:
    return base_url.joinpath(path.lstrip("/"))


class Connections:
    """The aiohttp session of one client, on one engine's loop.

    Args:
        limits: What to wait for.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._session: aiohttp.ClientSession | None = None
        self._closing: set[aiohttp.ClientSession] = set()

    @property
    def is_open(self) -> bool:
        """Whether there may be connections to close."""
        return self._session is not None

    def session(self) -> aiohttp.ClientSession:
        """The session; opened by the first use, and again after a close. On the loop only."""
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=30),
                timeout=aiohttp.ClientTimeout(total=None, connect=self._limits.connect),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                read_bufsize=256 * 1024,
            )
        return self._session

    async def aclose(self) -> None:
        """Close every connection. Idempotent; where it is cancelled, a later call goes on."""
        if self._session is not None:
            self._closing.add(self._session)
            self._session = None
        for session in list(self._closing):
            await session.close()
            self._closing.discard(session)

    def orphaned(self) -> None:
        """In a forked child: forget the parent's connections without touching them."""
        session, self._session = self._session, None
        if session is not None:
            _parents_sessions.append((session, session.connector))
            session.detach()


_parents_sessions: list[tuple[aiohttp.ClientSession, aiohttp.BaseConnector | None]] = []


@dataclass(frozen=True)
class HttpClient:
    """Speaks HTTP to one origin.

    Args:
        base_url: Where the server is; paths are appended to it.
        headers: Sent with every request, to this origin only (they may hold a key).
        secrets: Texts that no message may show.
        connections: The connections that it uses.
        limits: What it waits for and takes at most.
    """

    base_url: URL
    headers: Mapping[str, str]
    connections: Connections
    limits: Limits = field(default_factory=Limits)
    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"HttpClient({self.origin!r})"

    @cached_property
    def origin(self) -> str:
        """Scheme, host and port, without credentials."""
        return str(self.base_url.origin())

    @cached_property
    def _headers(self) -> CIMultiDict[str]:
        return CIMultiDict({"Accept-Encoding": "identity", **self.headers})

    @cached_property
    def _json_headers(self) -> CIMultiDict[str]:
        return CIMultiDict({**self._headers, "Content-Type": "application/json"})

    async def post(self, path: str, body: bytes, feed: Feed) -> None:
        """Send a JSON body; feed the answer's blocks as they come, until it is complete.

        It only reads and hands on, so that nothing that came is lost when the connection breaks.

        Raises:
            BackendError: By what went wrong; see the tree in `mellea_rx.errors`.
        """
        response = await self._opened("POST", path, body)
        limit = self.limits.total
        try:
            await EagerBody(response.content, feed, limit, asyncio.get_running_loop()).finished
            await self._finish(response)
        except ResponseTooLargeError:
            raise ResponseTooLargeError(f"{self.origin} sent more than {limit:,} bytes") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._broken(error) from error
        finally:
            # An answer that was not read to its end takes its connection with it.
            response.release() if response.content.is_eof() else response.close()

    async def get_json(self, path: str, *, timeout: float) -> Any:
        """GET a JSON document.

        Args:
            path: Appended to the base URL.
            timeout: Seconds for all of it.

        Raises:
            BackendError: By what went wrong.
        """
        try:
            async with asyncio.timeout(timeout):
                response = await self._opened("GET", path, None)
                try:
                    data = await response.content.read(self.limits.total)
                finally:
                    response.release() if response.content.is_eof() else response.close()
        except TimeoutError as error:
            if isinstance(error, BackendError):
                raise
            raise ConnectTimeoutError(f"{self.origin} gave no answer in {timeout:g} s") from None
        try:
            return msgspec.json.decode(data)
        except (ValueError, RecursionError):
            raise ProtocolError(f"{self.origin}{path} sent no JSON: {excerpt(data)}") from None

    async def _opened(self, method: str, path: str, body: bytes | None) -> aiohttp.ClientResponse:
        """The beginning of a good answer; whoever gets it releases it."""
        headers = self._headers if body is None else self._json_headers
        try:
            response = await self.connections.session().request(
                method,
                _joined(self.base_url, path),
                data=body,
                headers=headers,
                allow_redirects=False,
            )
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise self._unreached(error) from error
        if response.status != 200:
            raise await self._status_error(response)
        return response

    async def _finish(self, response: aiohttp.ClientResponse) -> None:
        """Read what is left of a complete answer, so that its connection can be used again."""
        if response.content.is_eof():
            return
        try:
            async with asyncio.timeout(self.limits.trailing):
                await response.content.wait_eof()
        except (TimeoutError, aiohttp.ClientError, OSError):
            response.close()

    def _unreached(self, error: BaseException) -> BackendError:
        """Map what happened before the first byte of an answer."""
        where = self.origin
        match error:
            case aiohttp.ClientConnectorDNSError():
                return NameResolutionError(f"the host of {where} has no address")
            case aiohttp.ClientConnectorCertificateError():
                return TLSError(f"the certificate of {where} is not trusted")
            case aiohttp.ClientSSLError():
                return TLSError(f"the TLS handshake with {where} failed (is it plain http?)")
            case asyncio.TimeoutError():
                return ConnectTimeoutError(
                    f"no connection to {where} within {self.limits.connect:g} s"
                )
            case aiohttp.ClientConnectorError():
                number = error.os_error.errno
                why = os.strerror(number).lower() if number else str(error.os_error)
                return ConnectionFailedError(f"no server answers at {where} ({why})")
            case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | OSError():
                return ConnectionFailedError(f"{where} closed the connection before it answered")
            case aiohttp.ClientResponseError():
                return ProtocolError(f"{where} did not answer in HTTP: {error.message}")
        return ConnectionFailedError(f"the request to {where} failed: {type(error).__name__}")

    def _broken(self, error: BaseException) -> BackendError:
        """Map what happened within an answer."""
        return StreamInterruptedError(
            f"the answer of {self.origin} broke off ({type(error).__name__})"
        )

    async def _status_error(self, response: aiohttp.ClientResponse) -> StatusError:
        status = response.status
        if 300 <= status < 400:
            response.close()
            return RedirectRefusedError(
                f"{self.origin} redirects (status {status}); redirects are not followed, since "
                "a key must not travel: give the final address as base_url",
                status=status,
            )
        try:
            body = await response.content.read(self.limits.error_body)
        except (aiohttp.ClientError, OSError):
            body = b""
        finally:
            response.close()
        told = self._redact(error_message(body))
        kind = _STATUS_ERRORS.get(status)
        if kind is None:
            kind = ServerError if status >= 500 else BadRequestError
        said = f": {told}" if told else ""
        return kind(
            f"{self.origin} answered with status {status}{said}",
            status=status,
            retry_after=retry_after(response.headers),
        )

    def _redact(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


_STATUS_ERRORS: Mapping[int, type[StatusError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: ModelNotFoundError,
    429: RateLimitError,
}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """How long a server asks to wait, in seconds; None where it does not say, or not clearly.

    RFC 9110, section 10.2.3 (seconds, or a date), and OpenAI's `retry-after-ms` before it.
    """
    try:
        if "retry-after-ms" in headers:
            seconds = float(headers["retry-after-ms"]) / 1000
        else:
            seconds = float(headers.get("Retry-After", "nan"))
    except ValueError:
        try:
            seconds = parsedate_to_datetime(headers["Retry-After"]).timestamp() - time.time()
        except (KeyError, ValueError, OverflowError):
            return None
    return max(0.0, seconds) if isfinite(seconds) else None


def error_message(body: bytes) -> str:
    """What an error's body says: its `error`, `message` or `detail`, else its beginning."""
    try:
        found = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return excerpt(body)
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    return found if isinstance(found, str) else excerpt(body)


def open_client(
    base_url: str, headers: Mapping[str, str], secrets: tuple[str, ...], limits: Limits
) -> HttpClient:
    """A client for one origin; it opens no connection yet.

    Raises:
        InvalidInputError: `base_url` is no http or https URL.
    """
    return HttpClient(parse_base_url(base_url), headers, Connections(limits), limits, secrets)
