"""How a model server, or the embedded model, fails."""

from __future__ import annotations

from mellea_rx.errors.root import MelleaRxError

__all__ = [
    "AuthenticationError",
    "BackendError",
    "BadRequestError",
    "ConnectTimeoutError",
    "ConnectionFailedError",
    "FirstTokenTimeoutError",
    "GenerationFailedError",
    "GenerationTimeoutError",
    "IdleTimeoutError",
    "ModelNotFoundError",
    "NameResolutionError",
    "PermissionDeniedError",
    "ProtocolError",
    "RateLimitError",
    "RedirectRefusedError",
    "ResponseTooLargeError",
    "ServerError",
    "StatusError",
    "StreamInterruptedError",
    "StreamRestartedError",
    "TLSError",
    "TotalTimeoutError",
]


class BackendError(MelleaRxError):
    """A model server, or the embedded model, failed."""


class ConnectionFailedError(BackendError, ConnectionError):
    """No connection to the server could be made."""

    is_passing = True


class NameResolutionError(ConnectionFailedError):
    """The server's host name has no address."""


class TLSError(ConnectionFailedError):
    """The server's certificate or TLS handshake failed."""

    is_passing = False


class GenerationTimeoutError(BackendError, TimeoutError):
    """The server took longer than a limit allows."""


class ConnectTimeoutError(GenerationTimeoutError):
    """The connection was not ready in time."""

    is_passing = True


class FirstTokenTimeoutError(GenerationTimeoutError):
    """Nothing of the answer came in time."""


class IdleTimeoutError(GenerationTimeoutError):
    """The answer began, and then stopped coming."""


class TotalTimeoutError(GenerationTimeoutError):
    """The whole answer took longer than its deadline."""


class StreamInterruptedError(BackendError):
    """The answer broke off; `text` has every character that came."""

    is_passing = True


class StreamRestartedError(BackendError):
    """The answer was begun again (`ModelOption.ON_INTERRUPT`) after this reader had taken text."""


class ProtocolError(BackendError):
    """The server answered with something that its protocol does not have."""


class ResponseTooLargeError(BackendError):
    """The answer, or a line of it, is larger than its cap."""


class GenerationFailedError(BackendError):
    """The server, or the embedded model, told of an error in the middle of its answer.

    Attributes:
        quotes: Whether the message has a server's own words, which may quote a prompt or an answer.
    """

    def __init__(self, message: str, *, text: str = "", quotes: bool = False) -> None:
        super().__init__(message, text=text)
        self.quotes = quotes


class StatusError(BackendError):
    """The server answered with an HTTP status that is not 200.

    Attributes:
        status: The HTTP status code.
        retry_after: How long the server asks to wait, in seconds; None where it does not.
    """

    status: int
    retry_after: float | None

    def __init__(
        self, message: str, *, status: int, text: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message, text=text)
        self.status = status
        self.retry_after = retry_after
        self.is_passing = status in _PASSING

    def __reduce__(self) -> tuple[object, ...]:
        return _status_error, (type(self), str(self), self.status), self.__dict__


_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses that another try of the same request may not meet."""


class BadRequestError(StatusError):
    """400, 413 or 422: the server does not take this request as it is."""


class AuthenticationError(StatusError):
    """401: the key is missing or wrong."""


class PermissionDeniedError(StatusError):
    """403: the key, or this client, may not do that."""


class ModelNotFoundError(StatusError):
    """404: the server does not have this model, or this path."""


class RateLimitError(StatusError):
    """429: too many requests, or too many tokens."""


class ServerError(StatusError):
    """500 and above: the server failed."""


class RedirectRefusedError(StatusError):
    """3xx: the server sends the client elsewhere; a key must not follow."""


def _status_error(kind: type[StatusError], message: str, status: int) -> StatusError:
    return kind(message, status=status)
