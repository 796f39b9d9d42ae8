"""Maps the status and headers of a response without an answer to an error; without I/O."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import isfinite

from mellea_rx.errors import (
    AuthenticationError,
    BackendError,
    BadRequestError,
    ModelNotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    RedirectRefusedError,
    ServerError,
    StatusError,
)

_PACKED = frozenset({"br", "compress", "deflate", "gzip", "x-compress", "x-gzip", "zstd"})
_KINDS: Mapping[int, type[StatusError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: ModelNotFoundError,
    429: RateLimitError,
}


def content_encoding(headers: Mapping[str, str]) -> str:
    """The compression that the headers declare for the body; "" if there is none."""
    for header in ("Content-Encoding", "Transfer-Encoding"):
        named = headers.get(header, "").lower()
        if _PACKED.intersection(re.split(r"[\s,]+", named)):
            return named
    return ""


def error_for_status(who: str, status: int, headers: Mapping[str, str], told: str) -> BackendError:
    """The error of a response without an answer.

    Args:
        who: The server's name in messages.
        status: The HTTP status code.
        headers: The response's header fields.
        told: The message in its body.
    """
    if status == 200:
        return ProtocolError(
            f"{who} sent its answer compressed ({content_encoding(headers)}), and was asked not to"
        )
    if status < 300 or status == 304:  # 304 answers a condition, which no request has
        return ProtocolError(f"{who} sent status {status}, which is no answer")
    if status < 400:
        return RedirectRefusedError(
            f"{who} redirects (status {status}); redirects are not followed, since a key must "
            "not travel: give the final address as base_url",
            status=status,
        )
    kind = _KINDS.get(status) or (ServerError if status >= 500 else BadRequestError)
    said = f": {told}" if told else ""
    return kind(
        f"{who} answered with status {status}{said}",
        status=status,
        retry_after=retry_after(headers),
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait before a retry; None if it does not say, or not validly.

    Reads OpenAI's `retry-after-ms`, else `Retry-After` (RFC 9110, section 10.2.3: seconds, or a
    date).
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
