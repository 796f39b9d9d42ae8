"""Carries requests to one origin and feeds their answers: the interface, its values and faults.

A transport raises errors of the library's own only; the functions below make them, so that every
transport names the same fault alike.
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
from mellea_rx.wire.lines import MAX_LINE
from mellea_rx.wire.words import excerpt, printable

__all__ = ["Faults", "Feed", "Limits", "Queued", "RequestHead", "Response", "Transport"]

Feed = Callable[[bytes], bool]
"""Takes a block of an answer's body; returns whether the answer is complete."""

Queued = Callable[[bool], None]
"""Told True when a request begins to wait for a connection that is free, False when it has one."""


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
        connections: Connections at a time; further calls wait their turn, in order. None for half
            of the files that the process may have open (the soft limit, `ulimit -n`).

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
    connections: int | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is None and each.name == "connections":
                continue
            kinds = int if each.name == "connections" else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not value > 0:
                number = "a whole number" if kinds is int else "a number"
                raise InvalidInputError(
                    f"Limits({each.name}=...) must be {number} above 0, not {value!r}"
                )


@dataclass(frozen=True, slots=True, eq=False)
class RequestHead:
    """All of a request but its body: made once for a method and path, and used for every call.

    Attributes:
        method: "GET" or "POST".
        url: Where to, with its query; without credentials.
        headers: Sent with it, to this origin only. They may hold a key.
    """

    method: str
    url: URL
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """A response that is not an answer: another status than 200, or a compressed body.

    Attributes:
        status: The status code.
        headers: By name, in any case.
        body: The beginning of its body; empty where nothing needs it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Transport(Protocol):
    """Carries requests to one origin. Lives on the engine's loop, which closes it at its end."""

    @property
    def is_open(self) -> bool:
        """Whether there may be connections to close."""
        ...

    async def send(
        self, head: RequestHead, body: bytes | None, feed: Feed, queued: Queued
    ) -> Response | None:
        """Send a request; feed the blocks of its answer as they come, until it is complete.

        Every byte that was read is fed, however the connection ends. Cancelling closes the
        connection. A GET whose kept connection turns out to be closed is sent once more, where
        nothing of an answer came (RFC 9110, section 9.2.2).

        Args:
            head: The request's method, address and headers.
            body: JSON; None where there is none.
            feed: Takes the body of an answer.
            queued: Told when all connections are in use, and when one is free.

        Returns:
            None at the end of an answer; the response where it is none.

        Raises:
            BackendError: No response came, or it broke off.
            Exception: What `feed` raised.
        """
        ...

    def anew(self) -> Transport:
        """A transport like this one, with connections of its own: they live on one event loop."""
        ...

    async def aclose(self) -> None:
        """Close every connection; requests under way fail. Idempotent."""
        ...

    def orphaned(self) -> None:
        """In a forked child: forget the parent's connections without touching them."""
        ...


@dataclass(frozen=True, slots=True)
class Faults:
    """Makes the errors of one origin's connections.

    Args:
        origin: What messages call the server: scheme, host and port.
        limits: What its client waits for and takes.
    """

    origin: str
    limits: Limits

    @property
    def is_tls(self) -> bool:
        """Whether it speaks TLS."""
        return self.origin.startswith("https:")

    def unreached(self, error: BaseException) -> BackendError:
        """Map what happened while a connection was made."""
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
        """Map what TLS refused, in the handshake or behind it."""
        where, reason = self.origin, error.reason or ""
        if isinstance(error, SSLCertVerificationError):
            why = printable(error.verify_message)
            return TLSError(f"the certificate of {where} is not trusted ({why})")
        if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
            # TLS 1.3 says the first, and only after the handshake; TLS 1.2 says the second.
            return TLSError(
                f"{where} refused the TLS handshake; it may demand a client certificate "
                f"({_spoken(reason)})"
            )
        why = f"{_spoken(reason)}; " if "ALERT" in reason else ""
        return TLSError(f"the TLS handshake with {where} failed ({why}is it plain http?)")

    def unanswered(self, error: BaseException | None = None) -> ConnectionFailedError:
        """The connection closed before a response's head was there."""
        if isinstance(error, SSLError):
            return self.tls(error)
        # TLS 1.3 refuses a client after the handshake, and a reset may overtake the reason.
        hint = " (does it demand a client certificate?)" if error and self.is_tls else ""
        return ConnectionFailedError(
            f"{self.origin} closed the connection before it answered{hint}"
        )

    def closed(self) -> ConnectionFailedError:
        """The client's connections were closed under a request."""
        return ConnectionFailedError(
            f"the connections to {self.origin} were closed under a request (backend.close())"
        )

    def interrupted(self, why: str) -> StreamInterruptedError:
        """The answer's body broke off."""
        return StreamInterruptedError(f"the answer of {self.origin} broke off ({why})")

    def not_http(self, why: str, data: bytes = b"") -> ProtocolError:
        """The response's head cannot be read."""
        said = f"{why}: {excerpt(data)}" if data else why
        return ProtocolError(f"{self.origin} did not answer in HTTP: {printable(said, 200)}")

    def too_large(self) -> ResponseTooLargeError:
        """The answer's body is above the cap."""
        return ResponseTooLargeError(
            f"the server sent more than {self.limits.total:,} bytes (Limits(total=...))"
        )


def _spoken(reason: str) -> str:
    """OpenSSL's name of a fault as words: "TLSV13_ALERT_CERTIFICATE_REQUIRED"."""
    return reason.partition("ALERT_")[2].replace("_", " ").lower() or reason.lower()
