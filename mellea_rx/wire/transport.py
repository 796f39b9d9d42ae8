"""The transport interface: sends HTTP requests to one origin, and passes response bodies on.

`HttpClient` uses it; `http1` and `aiohttp_session` implement it. A transport raises errors of this
library only. `Faults` creates them, so that all transports report the same failure in the same
words.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from ssl import SSLCertVerificationError, SSLError
from typing import Protocol

from yarl import URL

from mellea_rx.errors import (
    BackendError,
    ConnectionFailedError,
    ConnectTimeoutError,
    InvalidInputError,
    NameResolutionError,
    ProtocolError,
    ResponseTooLargeError,
    StreamInterruptedError,
    TLSError,
)
from mellea_rx.wire.error_text import excerpt, printable
from mellea_rx.wire.line_decoder import MAX_LINE

__all__ = ["Faults", "Feed", "Limits", "Queued", "RequestHead", "Response", "Transport"]

Feed = Callable[[bytes], bool]
"""Accepts a block of an answer's body; returns whether the answer is complete."""

Queued = Callable[[bool], None]
"""Called with True when a request starts to wait for a free connection, and with False when it has
one."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a client: seconds that it waits, and bytes that it accepts.

    Attributes:
        connect: Seconds to establish a connection, including name resolution and the TLS handshake.
        total: Bytes of one answer.
        line: Bytes of one line or event of an answer.
        tool_arguments: Bytes of the arguments of one tool call.
        error_body: Bytes that are read of an error response's body.
        error_wait: Seconds to wait for an error response's body.
        trailing: Seconds to wait, after a complete answer, for the end of its HTTP message. Only
            then can the connection be reused.
        connections: Connections at a time; further requests wait in the order of their calls. None
            for half of the open files that the process may have (the soft limit, `ulimit -n`).

    Raises:
        InvalidInputError: A limit is not a number above 0; the message names it.
    """

    connect: float = 30.0
    total: int = 64 * 1024 * 1024
    line: int = MAX_LINE
    tool_arguments: int = 1024 * 1024
    error_body: int = 64 * 1024
    error_wait: float = 5.0
    trailing: float = 0.1
    connections: int | None = None

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if value is None and limit.name == "connections":
                continue
            kinds = int if limit.name == "connections" else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not value > 0:
                number = "a whole number" if kinds is int else "a number"
                raise InvalidInputError(
                    f"Limits({limit.name}=...) must be {number} above 0, not {value!r}"
                )


@dataclass(frozen=True, slots=True, eq=False)
class RequestHead:
    """A request without its body: created once for a method and path, and reused for every call.

    Attributes:
        method: "GET" or "POST".
        url: The address, with its query and without credentials.
        headers: Sent to this origin only. They may contain a key.
    """

    method: str
    url: URL
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """A response without an answer: its status is not 200, or its body is compressed.

    Attributes:
        status: The status code.
        headers: The header fields; names are case-insensitive.
        body: The first bytes of the body; empty if no message needs them.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Transport(Protocol):
    """Sends requests to one origin. It runs on the engine's loop, which closes it when it stops."""

    @property
    def is_open(self) -> bool:
        """Whether there may be connections to close."""
        ...

    async def send(
        self, head: RequestHead, body: bytes | None, feed: Feed, queued: Queued
    ) -> Response | None:
        """Send a request; pass each block of its answer to `feed` on arrival, until it is complete.

        Every byte that was read is passed on, however the connection ends. Cancellation closes the
        connection. A GET is sent a second time if the server turns out to have closed the reused
        connection before any byte of a response arrived (RFC 9110, section 9.2.2).

        Args:
            head: The request's method, address and headers.
            body: JSON; None for a request without a body.
            feed: Accepts the blocks of the answer's body.
            queued: Called when the request starts to wait for a free connection, and again when
                it has one.

        Returns:
            None at the end of an answer; the response if it has no answer.

        Raises:
            BackendError: No response arrived, or the connection broke within it.
            Exception: An exception that `feed` raised.
        """
        ...

    def anew(self) -> Transport:
        """A transport with the same settings and separate connections, for another event loop."""
        ...

    async def aclose(self) -> None:
        """Close every connection; pending requests fail. Idempotent."""
        ...

    def after_fork_in_child(self) -> None:
        """In a forked child: drop the parent's connections without closing them."""
        ...


@dataclass(frozen=True, slots=True)
class Faults:
    """Creates the errors of one origin's connections.

    Args:
        origin: The server's name in messages: scheme, host and port.
        limits: The limits that messages name.
    """

    origin: str
    limits: Limits

    @property
    def is_tls(self) -> bool:
        """Whether the origin uses TLS."""
        return self.origin.startswith("https:")

    def unreached(self, error: BaseException) -> BackendError:
        """Map an exception that was raised while a connection was being established."""
        where, is_tls = self.origin, self.is_tls
        match error:
            case SSLError():
                return self.tls(error)
            case socket.gaierror() | UnicodeError():
                return NameResolutionError(f"the host of {where} has no address")
            case ConnectionRefusedError():
                return self._no_server(error)
            case ConnectionError() if is_tls:
                return TLSError(f"{where} closed within the TLS handshake (is it plain http?)")
            case TimeoutError():
                return ConnectTimeoutError(
                    f"no connection to {where} within {self.limits.connect:g} s"
                )
            case OSError():
                return self._no_server(error)
        return ConnectionFailedError(f"no connection to {where}: {printable(str(error), 200)}")

    def _no_server(self, error: OSError) -> ConnectionFailedError:
        why = os.strerror(error.errno).lower() if error.errno else str(error)
        return ConnectionFailedError(f"no server answers at {self.origin} ({why})")

    def tls(self, error: SSLError) -> TLSError:
        """Map a TLS failure during the handshake or after it."""
        # An error that Python code raises has no reason.
        where, reason = self.origin, getattr(error, "reason", None) or ""
        if isinstance(error, SSLCertVerificationError):
            why = printable(error.verify_message)
            return TLSError(f"the certificate of {where} is not trusted ({why})")
        if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
            # TLS 1.3 sends the first, and only after the handshake; TLS 1.2 sends the second.
            return TLSError(
                f"{where} refused the TLS handshake; it may demand a client certificate "
                f"({_reason_words(reason)})"
            )
        why = f"{_reason_words(reason)}; " if "ALERT" in reason else ""
        return TLSError(f"the TLS handshake with {where} failed ({why}is it plain http?)")

    def unanswered(self, error: BaseException | None = None) -> ConnectionFailedError:
        """The connection closed before the head of a response was complete."""
        if isinstance(error, SSLError):
            return self.tls(error)
        # A TLS 1.3 server rejects a client after the handshake. The reset of the connection may
        # then arrive before the alert that contains the reason.
        hint = " (does it demand a client certificate?)" if error and self.is_tls else ""
        return ConnectionFailedError(
            f"{self.origin} closed the connection before it answered{hint}"
        )

    def closed(self) -> ConnectionFailedError:
        """The client's connections were closed during a request."""
        return ConnectionFailedError(
            f"the connections to {self.origin} were closed under a request (backend.close())"
        )

    def interrupted(self, why: str) -> StreamInterruptedError:
        """The connection broke within the answer's body."""
        return StreamInterruptedError(f"the answer of {self.origin} broke off ({why})")

    def not_http(self, why: str, data: bytes = b"") -> ProtocolError:
        """The response's head is not valid HTTP."""
        said = f"{why}: {excerpt(data)}" if data else why
        return ProtocolError(f"{self.origin} did not answer in HTTP: {printable(said, 200)}")

    def too_large(self) -> ResponseTooLargeError:
        """The answer's body is longer than the limit."""
        return ResponseTooLargeError(
            f"the server sent more than {self.limits.total:,} bytes (Limits(total=...))"
        )


def _reason_words(reason: str) -> str:
    """Words of an OpenSSL reason: "certificate required" of "TLSV13_ALERT_CERTIFICATE_REQUIRED"."""
    return reason.partition("ALERT_")[2].replace("_", " ").lower() or reason.lower()
