"""The errors of connections: their classes and words, for each cause."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from mellea_rx import (
    BackendError,
    ConnectionFailedError,
    ConnectTimeoutError,
    NameResolutionError,
    TLSError,
)
from mellea_rx.backends import Limits
from mellea_rx.wire.transport import Faults

PLAIN = Faults("http://models.example", Limits(connect=7))
SECURE = Faults("https://models.example", Limits())


def tls_error(reason: str) -> ssl.SSLError:
    """An error as OpenSSL raises it."""
    made = ssl.SSLError(1, f"[SSL: {reason}]")
    made.reason = reason
    return made


@pytest.mark.parametrize(
    ("faults", "error", "kind", "words"),
    [
        (PLAIN, socket.gaierror(), NameResolutionError, "the host of http://models.example has no"),
        (PLAIN, UnicodeError(), NameResolutionError, "has no address"),
        (
            PLAIN,
            ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
            ConnectionFailedError,
            "no server answers at http://models.example (connection refused)",
        ),
        (
            SECURE,
            ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
            ConnectionFailedError,
            "no server answers at https://models.example (connection refused)",
        ),
        (SECURE, ConnectionResetError(), TLSError, "closed within the TLS handshake (is it plain"),
        (PLAIN, ConnectionResetError(), ConnectionFailedError, "no server answers"),
        (
            PLAIN,
            TimeoutError(),
            ConnectTimeoutError,
            "to http://models.example within 7 s",
        ),
        (PLAIN, TimeoutError(), ConnectTimeoutError, "within 7 s"),
        (PLAIN, OSError("odd"), ConnectionFailedError, "(odd)"),
        (
            PLAIN,
            RuntimeError("x" * 300),
            ConnectionFailedError,
            f"no connection to http://models.example: {'x' * 200}…",
        ),
        (SECURE, tls_error("WRONG_VERSION_NUMBER"), TLSError, "failed (is it plain http?)"),
        (
            SECURE,
            tls_error("TLSV1_ALERT_PROTOCOL_VERSION"),
            TLSError,
            "failed (protocol version; is it plain http?)",
        ),
        (
            SECURE,
            tls_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"),
            TLSError,
            "it may demand a client certificate (certificate required)",
        ),
        (
            SECURE,
            tls_error("SSLV3_ALERT_HANDSHAKE_FAILURE"),
            TLSError,
            "it may demand a client certificate (handshake failure)",
        ),
        (
            SECURE,
            tls_error("HANDSHAKE_FAILURE"),
            TLSError,
            "(handshake_failure)",
        ),
    ],
)
def test_a_connection_that_is_not_established(
    faults: Faults, error: Exception, kind: type[BackendError], words: str
) -> None:
    told = faults.unreached(error)
    assert type(told) is kind
    assert words in str(told)


def test_an_error_of_tls_without_a_reason_is_told() -> None:
    assert str(SECURE.unreached(ssl.SSLError())) == (
        "the TLS handshake with https://models.example failed (is it plain http?)"
    )


@pytest.mark.parametrize(
    ("faults", "error", "end"),
    [
        (PLAIN, None, "before it answered"),
        (PLAIN, ConnectionResetError(), "before it answered"),
        (SECURE, None, "before it answered"),
        (
            SECURE,
            ConnectionResetError(),
            "before it answered (does it demand a client certificate?)",
        ),
    ],
)
def test_a_connection_that_closes_before_an_answer(
    faults: Faults, error: Exception | None, end: str
) -> None:
    assert str(faults.unanswered(error)).endswith(f" closed the connection {end}")


def test_bytes_that_are_not_http_are_shown_where_there_are_any() -> None:
    head = "http://models.example did not answer in HTTP: "
    assert str(PLAIN.not_http("no status")) == f"{head}no status"
    assert "no status: " in str(PLAIN.not_http("no status", b"220 mail"))
    assert "220 mail" in str(PLAIN.not_http("no status", b"220 mail"))
