"""The one tree of errors.

    MelleaRxError
    ├── InvalidInputError (ValueError)      refused at the door
    │   ├── OptionError                     a model option: unknown, wrong, or not supported
    │   └── TemplateError                   a prompt template, or a variable that it misses
    ├── ConfigurationError                  what is installed, or how a session is set up
    │   ├── UnknownBackendError
    │   ├── MissingExtraError
    │   ├── NoBackendError
    │   ├── ModelFileError                  an embedded model's file
    │   └── RecordingError                  a recording: unreadable, or without this request
    ├── SessionError
    │   ├── NoSessionError
    │   └── SessionClosedError
    ├── ConcurrentReaderError               a second coroutine waits in a thunk's one reader
    ├── BlockingWaitError                   a blocking wait that could never end
    ├── WaitTimeoutError (TimeoutError)     a wait's own limit; the generation goes on
    ├── GenerationCancelledError
    ├── EngineStoppedError                  the engine ended (exit, or a fork) under a generation
    ├── CallerLoopClosedError               the caller's event loop is gone
    ├── VirtualTimeError                    a test in virtual time that could never end
    ├── UnexpectedError                     a bug, ours or a plugin's; its cause is chained
    ├── BackpressureError                   a reader fell too far behind its source
    ├── NoAnswerError                       none of several sources gave an acceptable answer
    ├── DependencyError                     a thunk that this prompt needs has failed
    │   └── DependencyCycleError            calls that wait for each other in a circle
    ├── LoopBudgetError                     tools were called step by step, without an end
    ├── ToolCallError                       a tool call of the model's that cannot be run
    ├── CallbackError                       a callable of the user's raised
    │   ├── ToolError
    │   └── ValidatorError
    ├── FormatError                         an answer that does not fit its format
    ├── RequirementsNotMetError             no attempt met them, and the call said require=True
    └── BackendError                        a model server, or the embedded model
        ├── ConnectionFailedError (ConnectionError)
        │   ├── NameResolutionError
        │   └── TLSError
        ├── GenerationTimeoutError (TimeoutError)
        │   ├── ConnectTimeoutError
        │   ├── FirstTokenTimeoutError
        │   ├── IdleTimeoutError
        │   └── TotalTimeoutError
        ├── StreamInterruptedError          it broke, or ended before its end
        ├── StreamRestartedError            begun again after its reader had taken text
        ├── ProtocolError                   an answer that is not the protocol
        ├── ResponseTooLargeError
        ├── GenerationFailedError           an error told in the stream itself
        └── StatusError                     an HTTP status
            ├── BadRequestError             400, 413, 422
            ├── AuthenticationError         401
            ├── PermissionDeniedError       403
            ├── ModelNotFoundError          404
            ├── RateLimitError              429
            ├── ServerError                 5xx
            └── RedirectRefusedError        3xx

Each carries `text`: what the model had said when it happened ("" when it had said nothing yet).
"""

from __future__ import annotations

__all__ = [
    "AuthenticationError",
    "BackendError",
    "BackpressureError",
    "BadRequestError",
    "BlockingWaitError",
    "CallbackError",
    "CallerLoopClosedError",
    "ConcurrentReaderError",
    "ConfigurationError",
    "ConnectTimeoutError",
    "ConnectionFailedError",
    "DependencyCycleError",
    "DependencyError",
    "EngineStoppedError",
    "FirstTokenTimeoutError",
    "FormatError",
    "GenerationCancelledError",
    "GenerationFailedError",
    "GenerationTimeoutError",
    "IdleTimeoutError",
    "InvalidInputError",
    "LoopBudgetError",
    "MelleaRxError",
    "MissingExtraError",
    "ModelFileError",
    "ModelNotFoundError",
    "NameResolutionError",
    "NoAnswerError",
    "NoBackendError",
    "NoSessionError",
    "OptionError",
    "PermissionDeniedError",
    "ProtocolError",
    "RateLimitError",
    "RecordingError",
    "RedirectRefusedError",
    "RequirementsNotMetError",
    "ResponseTooLargeError",
    "ServerError",
    "SessionClosedError",
    "SessionError",
    "StatusError",
    "StreamInterruptedError",
    "StreamRestartedError",
    "TLSError",
    "TemplateError",
    "ToolCallError",
    "ToolError",
    "TotalTimeoutError",
    "UnexpectedError",
    "UnknownBackendError",
    "ValidatorError",
    "VirtualTimeError",
    "WaitTimeoutError",
]


class MelleaRxError(Exception):
    """The root of every error that this library raises.

    Args:
        message: What was wrong, where, and what to do.
        text: What the model had said so far.

    Attributes:
        text: As given.
        is_passing: Whether another try of the same request may not meet it.
    """

    text: str
    is_passing: bool = False

    def __init__(self, message: str, *, text: str = "") -> None:
        super().__init__(message)
        self.text = text


class InvalidInputError(MelleaRxError, ValueError):
    """An argument that cannot be used; the message names it."""


class OptionError(InvalidInputError):
    """A model option that is unknown, has a wrong type, or that the backend does not have."""


class TemplateError(InvalidInputError):
    """A prompt template that does not parse or render, or a variable that it misses."""


class ConfigurationError(MelleaRxError):
    """The way the library is installed or set up cannot work."""


class UnknownBackendError(ConfigurationError):
    """A backend name that is not registered; the message lists those that are."""


class MissingExtraError(ConfigurationError):
    """An optional dependency is not installed; the message has the command that installs it."""


class NoBackendError(ConfigurationError):
    """`"auto"` found neither a server nor the embedded model."""


class ModelFileError(ConfigurationError):
    """A model's file is missing, damaged, or could not be loaded or brought."""


class RecordingError(ConfigurationError):
    """A recording cannot be read, or has no answer to this request; the message says which."""


class SessionError(MelleaRxError):
    """A session cannot be found or used."""


class NoSessionError(SessionError):
    """`get_session()` outside of every `with` block of a session."""


class SessionClosedError(SessionError):
    """The session was closed before, or while, it was used."""


class ConcurrentReaderError(MelleaRxError):
    """Two coroutines waited at once in a thunk's single reader. The first one goes on."""


class BlockingWaitError(MelleaRxError):
    """A blocking wait would stop the very event loop that the generation needs to go on."""


class WaitTimeoutError(MelleaRxError, TimeoutError):
    """`wait(timeout)` ran out; the generation itself goes on."""


class GenerationCancelledError(MelleaRxError):
    """The generation was cancelled before its end; `text` has what had come."""


class EngineStoppedError(MelleaRxError):
    """The engine under a generation is gone: the interpreter ends, or this is a forked child."""


class CallerLoopClosedError(MelleaRxError):
    """An event loop that has to run a callable or take a result is closed."""


class VirtualTimeError(MelleaRxError):
    """A test in virtual time waits for what its clock can never bring."""


class UnexpectedError(MelleaRxError):
    """Something raised what it should not: a bug, ours or a plugin's. The cause is chained."""


class BackpressureError(MelleaRxError):
    """More items wait for a reader than it allowed for; it gets those first, then this."""


class NoAnswerError(MelleaRxError):
    """None of several sources gave an acceptable answer.

    Attributes:
        errors: Why each of them did not, in the order of the sources. The first is the cause.
    """

    errors: tuple[Exception, ...]

    def __init__(self, message: str, *, errors: tuple[Exception, ...] = (), text: str = "") -> None:
        super().__init__(message, text=text)
        self.errors = errors
        self.__cause__ = errors[0] if errors else None


class DependencyError(MelleaRxError):
    """A thunk that the prompt is made of failed; its error is the cause."""


class DependencyCycleError(DependencyError):
    """A wait for a call that, directly or by way of others, waits for the very call it is made in.

    The message names the calls on the way round.
    """


class LoopBudgetError(MelleaRxError):
    """The model called tools in every step that it had, and never answered.

    Attributes:
        steps: What it did: a `ReactStep` for each.
    """

    def __init__(self, message: str, *, steps: tuple[object, ...] = (), text: str = "") -> None:
        super().__init__(message, text=text)
        self.steps = steps


class ToolCallError(MelleaRxError):
    """A model's tool call that cannot be run: no such tool, arguments that do not fit, cut off."""


class CallbackError(MelleaRxError):
    """A callable of the user's raised; its exception is the cause."""


class ToolError(CallbackError):
    """A tool raised."""


class ValidatorError(CallbackError):
    """A requirement's validation function raised, or returned what is no verdict."""


class RequirementsNotMetError(MelleaRxError):
    """No attempt met the requirements, and the call was made with `require=True`.

    Attributes:
        reasons: Why, for each attempt and requirement.
    """

    def __init__(self, message: str, *, text: str = "", reasons: tuple[str, ...] = ()) -> None:
        super().__init__(message, text=text)
        self.reasons = reasons


class FormatError(MelleaRxError):
    """An answer that does not fit the call's `format=`, or `partial_object`; `text` is the answer.

    Attributes:
        place: Where: "line 2, column 5" of what is no JSON, else a path in it ("$.age").
    """

    place: str

    def __init__(self, message: str, *, text: str = "", place: str = "") -> None:
        super().__init__(message, text=text)
        self.place = place


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
    """The server, or the embedded model, told of an error in the middle of its answer."""


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
