"""HTTP: requests and answers, and the only place that maps aiohttp's errors to ours.

A client belongs to one origin and holds that origin's key; it follows no redirect, takes no proxy
from the environment, keeps no cookies, and has a cap on everything that it reads.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from ssl import SSLCertVerificationError
from typing import Any

import aiohttp
import msgspec
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from mellea_rx.errors import (
    BackendError,
    ConnectionFailedError,
    ConnectTimeoutError,
    InvalidInputError,
    NameResolutionError,
    ProtocolError,
    StreamInterruptedError,
    TLSError,
)
from mellea_rx.wire.connections import Answer, Connections
from mellea_rx.wire.eager import EagerBody, Feed
from mellea_rx.wire.lines import MAX_LINE
from mellea_rx.wire.secrets import Address, Redactor, Secret
from mellea_rx.wire.statuses import packing, refusal
from mellea_rx.wire.words import error_message, excerpt, printable

__all__ = ["HttpClient", "Limits", "open_client"]

_FAILURES = (TimeoutError, OSError, aiohttp.ClientError, HttpProcessingError)
"""What aiohttp raises when something is wrong out there."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client waits for and takes at most.

    Attributes:
        connect: Seconds until a connection is ready, TLS handshake included.
        total: Bytes of one answer.
        line: Bytes of one line or event of it.
        tool_arguments: Bytes of the arguments of one tool call.
        error_body: Bytes of an error's body that are read.
        error_wait: Seconds that an error's body may take.
        trailing: Seconds that a complete answer's connection may take to end, to be used again.

    Raises:
        InvalidInputError: A limit that is no number above 0, by name.
    """

    connect: float = 30.0
    total: int = 64 * 1024 * 1024
    line: int = MAX_LINE
    tool_arguments: int = 1024 * 1024
    error_body: int = 64 * 1024
    error_wait: float = 5.0
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
        shown = Address(url) if isinstance(url, str) else url
        raise InvalidInputError(f"base_url must be an http:// or https:// address, not {shown!r}")
    return parsed


@lru_cache(maxsize=64)
def _joined(base_url: URL, path: str) -> URL:
    return base_url.joinpath(path.lstrip("/"))


@dataclass(frozen=True)
class HttpClient:
    """Speaks HTTP to one origin.

    Args:
        base_url: Where the server is; paths are appended to it.
        headers: Sent with every request, to this origin only (they may hold a key).
        redact: Takes that key out of a text.
        connections: The connections that it uses.
        limits: What it waits for and takes at most.
    """

    base_url: URL
    headers: Mapping[str, str]
    connections: Connections
    limits: Limits = field(default_factory=Limits)
    redact: Redactor = field(default_factory=lambda: Redactor(()))

    def __repr__(self) -> str:
        return f"HttpClient({self.origin!r})"

    @cached_property
    def origin(self) -> str:
        """Scheme, host and port, without credentials."""
        return str(self.base_url.origin())

    @property
    def _is_tls(self) -> bool:
        return self.base_url.scheme == "https"

    @cached_property
    def _headers(self) -> CIMultiDict[str]:
        return CIMultiDict({"Accept-Encoding": "identity", **self.headers})

    @cached_property
    def _json_headers(self) -> CIMultiDict[str]:
        return CIMultiDict({**self._headers, "Content-Type": "application/json"})

    async def exchange(self, method: str, path: str, body: bytes | None, feed: Feed) -> None:
        """Send a request; feed the answer's blocks as they come, until it is complete.

        It only reads and hands on, so that nothing that came is lost when the connection breaks.

        Args:
            method: "POST", or "GET".
            path: Appended to the base URL.
            body: JSON; None where there is none.
            feed: Takes the blocks, and says when the answer is complete.

        Raises:
            BackendError: By what went wrong; see the tree in `mellea_rx.errors`.
        """
        response = await self._opened(method, path, body)
        del body  # it would be kept as long as the answer streams
        loop = asyncio.get_running_loop()
        try:
            await EagerBody(response.content, feed, self.limits.total, loop).finished
            await self._finish(response)
            return
        except _FAILURES as error:
            if isinstance(error, BackendError):
                raise
            failure = self._broken(error)
        finally:
            # An answer that was not read to its end takes its connection with it.
            response.release()
        # Out here it has no context: aiohttp's errors hold the request, and what was not parsed.
        raise failure

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

    async def _opened(self, method: str, path: str, body: bytes | None) -> Answer:
        """The beginning of a good answer; whoever gets it releases it."""
        headers = self._headers if body is None else self._json_headers
        url = _joined(self.base_url, path)
        try:
            response = await self.connections.send(method, url, headers, body)
        except _FAILURES as error:
            failure = self._unreached(error)
        else:
            refusal = await self._refusal(response)
            if refusal is None:
                return response
            failure = refusal
        raise failure

    async def _finish(self, response: Answer) -> None:
        """Read what is left of a complete answer, so that its connection can be used again."""
        if response.content.is_eof():
            return
        with suppress(*_FAILURES):
            async with asyncio.timeout(self.limits.trailing):
                await response.content.wait_eof()

    def _unreached(self, error: BaseException) -> BackendError:
        """Map what happened before the first byte of an answer."""
        where = self.origin
        match error:
            case aiohttp.ClientConnectorDNSError():
                return NameResolutionError(f"the host of {where} has no address")
            case aiohttp.ClientConnectorCertificateError(
                certificate_error=SSLCertVerificationError(verify_message=why)
            ):
                return TLSError(f"the certificate of {where} is not trusted ({printable(why)})")
            case aiohttp.ClientSSLError():
                return TLSError(f"the TLS handshake with {where} failed (is it plain http?)")
            case aiohttp.ClientConnectorError(os_error=ConnectionResetError()) if self._is_tls:
                return TLSError(f"{where} closed within the TLS handshake (is it plain http?)")
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
            case HttpProcessingError():
                why = printable(error.message, 200)
                return ProtocolError(f"{where} did not answer in HTTP: {why}")
        return ConnectionFailedError(f"the request to {where} failed: {type(error).__name__}")

    def _broken(self, error: BaseException) -> BackendError:
        """Map what happened within an answer."""
        return StreamInterruptedError(
            f"the answer of {self.origin} broke off ({type(error).__name__})"
        )

    async def _refusal(self, response: Answer) -> BackendError | None:
        """Why this is no answer; None where it is one. Closes what it refuses."""
        status, headers = response.status, response.headers
        packed = packing(headers)
        if status == 200 and not packed:
            return None
        try:
            told = f"compressed ({packed})" if packed else await self._error_told(response)
        finally:
            response.close()
        return refusal(self.origin, status, headers, told)

    async def _error_told(self, response: Answer) -> str:
        body = bytearray()
        if response.status < 400:
            return ""
        try:
            async with asyncio.timeout(self.limits.error_wait):
                while len(body) < self.limits.error_body:
                    piece = await response.content.readany()
                    if not piece:
                        break
                    body += piece
        except _FAILURES:
            pass  # what came of it may say enough
        return error_message(bytes(body[: self.limits.error_body]))


def open_client(
    base_url: str, headers: Mapping[str, str], secrets: tuple[str, ...], limits: Limits
) -> HttpClient:
    """A client for one origin; it opens no connection yet.

    Args:
        base_url: Where the server is.
        headers: Sent with every request.
        secrets: What of them no message may show.
        limits: What to wait for and take at most.

    Raises:
        InvalidInputError: `base_url` is no http or https URL, or a key cannot be sent.
    """
    url = parse_base_url(base_url)
    if any(not secret.isprintable() for secret in secrets):
        raise InvalidInputError("api_key holds a line end or another character that is not printed")
    held = {name: Secret(value) for name, value in headers.items()}
    redact = Redactor((*secrets, *filter(None, (url.password,))))
    return HttpClient(url, held, Connections(limits.connect), limits, redact)
