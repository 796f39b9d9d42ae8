"""All errors that this library raises, as one tree, and the escaping of texts in messages.

Users import the classes to catch them; every package of this library imports them to raise them.

    MelleaRxError
    ├── InvalidInputError (ValueError)      an argument that cannot be used
    │   ├── OptionError                     a model option: unknown, wrong, or not supported
    │   └── TemplateError                   a prompt template, or a variable that it lacks
    ├── ConfigurationError                  what is installed, or how a session is set up
    │   ├── UnknownBackendError
    │   ├── MissingExtraError
    │   ├── NoBackendError
    │   ├── ModelFileError                  an embedded model's file
    │   └── RecordingError                  a recording: unreadable, or without this request
    ├── SessionError
    │   ├── NoSessionError
    │   └── SessionClosedError
    ├── ConcurrentReaderError               a second coroutine reads a thunk with its one reader
    ├── BlockingWaitError                   a blocking wait that could never end
    ├── AsyncioRequiredError (RuntimeError) an await where no asyncio event loop runs
    ├── WaitTimeoutError (TimeoutError)     a wait's own limit; the generation goes on
    ├── GenerationCancelledError
    ├── EngineStoppedError                  the engine ended (exit or fork) during a generation
    ├── CallerLoopClosedError               the caller's event loop is closed
    ├── VirtualTimeError                    a test in virtual time that could never end
    ├── UnexpectedError                     a bug, ours or a plugin's; its cause is chained
    ├── BackpressureError                   a reader fell too far behind its source
    ├── NoAnswerError                       none of several sources gave an acceptable answer
    ├── DependencyError                     a thunk that this prompt contains has failed
    │   └── DependencyCycleError            calls that wait for each other in a circle
    ├── LoopBudgetError                     tools were called in every allowed step
    ├── ToolCallError                       a tool call of the model that cannot be run
    ├── CallbackError                       a function of the user raised an exception
    │   ├── ToolError
    │   └── ValidatorError
    ├── BudgetExceededError                 the session's budget is spent
    ├── PreconditionError                   arguments that do not meet a function's preconditions
    ├── FormatError                         an answer that does not fit its format
    ├── ModelRefusedError                   a refusal, where a format or requirements were given
    ├── RequirementsNotMetError             no attempt met them, and the call said require=True
    ├── RetractedError                      text that its reader had taken was rejected
    └── BackendError                        a model server, or the embedded model
        ├── ConnectionFailedError (ConnectionError)
        │   ├── NameResolutionError
        │   └── TLSError
        ├── GenerationTimeoutError (TimeoutError)
        │   ├── ConnectTimeoutError
        │   ├── FirstTokenTimeoutError
        │   ├── IdleTimeoutError
        │   └── TotalTimeoutError
        ├── StreamInterruptedError          the connection broke before the end of the answer
        ├── StreamRestartedError            the answer restarted after its reader had taken text
        ├── ProtocolError                   an answer that does not follow the protocol
        ├── ResponseTooLargeError           an answer above its size limit
        ├── GenerationFailedError           an error that the server reports within the stream
        └── StatusError                     an HTTP status
            ├── BadRequestError             400, 413, 422
            ├── AuthenticationError         401
            ├── PermissionDeniedError       403
            ├── ModelNotFoundError          404
            ├── RateLimitError              429
            ├── ServerError                 5xx
            └── RedirectRefusedError        3xx

Each has `text`: the answer up to the failure ("" if nothing had arrived).
"""

from __future__ import annotations

import copy
from typing import Self

__all__ = [
    "AsyncioRequiredError",
    "AuthenticationError",
    "BackendError",
    "BackpressureError",
    "BadRequestError",
    "BlockingWaitError",
    "BudgetExceededError",
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
    "ModelRefusedError",
    "NameResolutionError",
    "NoAnswerError",
    "NoBackendError",
    "NoSessionError",
    "OptionError",
    "PermissionDeniedError",
    "PreconditionError",
    "ProtocolError",
    "RateLimitError",
    "RecordingError",
    "RedirectRefusedError",
    "RequirementsNotMetError",
    "ResponseTooLargeError",
    "RetractedError",
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
    """The base class of every error that this library raises.

    Args:
        message: The cause, the place and the remedy.
        text: The text of the answer up to the failure.

    Attributes:
        text: As given.
        is_transient: Whether the same request may succeed when it is sent again.
    """

    text: str
    is_transient: bool = False

    def __init__(self, message: str, *, text: str = "") -> None:
        super().__init__(message)
        self.text = text

    def with_hint(self, hint: str) -> Self:
        """A copy of this error whose message has a further, indented line.

        Args:
            hint: The line: what the user can do, or a detail.

        Example:
            >>> print(ModelFileError("no such file").with_hint("download it again"))
            no such file
              download it again
        """
        copied = copy.copy(self)
        copied.args = (f"{self}\n  {hint}",)
        return copied


# Wrong use: how the library is called, set up, or waited for.


class InvalidInputError(MelleaRxError, ValueError):
    """An argument that cannot be used; the message names it."""


class OptionError(InvalidInputError):
    """A model option that is unknown, has a wrong type, or is not supported by the backend."""


class TemplateError(InvalidInputError):
    """A prompt template that does not parse or render, or a variable that it lacks."""


class ConfigurationError(MelleaRxError):
    """The library, a session or a backend is installed or set up in a way that cannot work."""


class UnknownBackendError(ConfigurationError):
    """A backend name that is not registered; the message lists those that are."""


class MissingExtraError(ConfigurationError):
    """An optional dependency is not installed; the message has the command that installs it."""


class NoBackendError(ConfigurationError):
    """`"auto"` found neither a server nor the embedded model."""


class ModelFileError(ConfigurationError):
    """A model's file is missing or damaged, or could not be loaded or downloaded."""


class RecordingError(ConfigurationError):
    """A recording cannot be read, or has no answer to this request; the message says which."""


class SessionError(MelleaRxError):
    """A session cannot be found or used."""


class NoSessionError(SessionError):
    """`get_session()` was called outside of every `with` block of a session."""


class SessionClosedError(SessionError):
    """The session was closed before or during the call."""


class ConcurrentReaderError(MelleaRxError):
    """Two coroutines read a thunk with its single reader at once. The first one goes on."""


class BlockingWaitError(MelleaRxError):
    """A blocking wait would stop the event loop that the generation itself needs."""


class AsyncioRequiredError(MelleaRxError, RuntimeError):
    """An await outside of an asyncio event loop (as under trio); the message has the remedy."""


class WaitTimeoutError(MelleaRxError, TimeoutError):
    """`wait(timeout)` ran out; the generation itself goes on."""


class VirtualTimeError(MelleaRxError):
    """A test in virtual time waits for an event that its clock can never reach."""


class BackpressureError(MelleaRxError):
    """More items are buffered for a reader than its limit allows. This error follows them."""


# Failures of a call that are not failures of a backend.


class GenerationCancelledError(MelleaRxError):
    """The generation was cancelled before its end; `text` has the answer up to there."""


class EngineStoppedError(MelleaRxError):
    """The engine that ran a generation has ended: the interpreter exits, or this is a fork."""


class CallerLoopClosedError(MelleaRxError):
    """The event loop that has to run a function or to receive a result is closed."""


class UnexpectedError(MelleaRxError):
    """A bug of this library or of a plugin (a backend, a strategy): an exception that is never
    raised on purpose, which is the cause, or a value of a wrong type.
    """


class NoAnswerError(MelleaRxError):
    """None of several sources gave an acceptable answer.

    Attributes:
        errors: The error of each source, in their order. The first is the cause.
    """

    errors: tuple[Exception, ...]

    def __init__(self, message: str, *, errors: tuple[Exception, ...] = (), text: str = "") -> None:
        super().__init__(message, text=text)
        self.errors = errors
        self.__cause__ = errors[0] if errors else None


class DependencyError(MelleaRxError):
    """A thunk that the prompt contains failed; its error is the cause."""


class DependencyCycleError(DependencyError):
    """A call waits for a call that waits, directly or through others, for the first one.

    The message names the calls of the cycle.
    """


class LoopBudgetError(MelleaRxError):
    """The model called tools in each of its allowed steps, and never answered.

    Attributes:
        steps: The steps: a `ReactStep` for each.
    """

    def __init__(self, message: str, *, steps: tuple[object, ...] = (), text: str = "") -> None:
        super().__init__(message, text=text)
        self.steps = steps


class ToolCallError(MelleaRxError):
    """A tool call of the model that cannot be run: an unknown tool, wrong arguments, or cut off."""


class CallbackError(MelleaRxError):
    """A function of the user raised an exception, which is the cause; or a splitter is wrong."""


class ToolError(CallbackError):
    """A tool raised an exception."""


class ValidatorError(CallbackError):
    """A requirement's validation function or splitter raised, or returned no valid result."""


class RequirementsNotMetError(MelleaRxError):
    """No attempt met the requirements, and the call was made with `require=True`.

    Attributes:
        reasons: The reason of each attempt and requirement.
    """

    def __init__(self, message: str, *, text: str = "", reasons: tuple[str, ...] = ()) -> None:
        super().__init__(message, text=text)
        self.reasons = reasons


class RetractedError(MelleaRxError):
    """Text was rejected after this reader had taken it; `text` is the text until then.

    The thunk goes on: its value is the text that stands in the end.

    Attributes:
        characters: The number of characters at the end of `text` that are void.
        reason: The reason of the rejection, in words.
    """

    def __init__(
        self, message: str, *, text: str = "", characters: int = 0, reason: str = ""
    ) -> None:
        super().__init__(message, text=text)
        self.characters = characters
        self.reason = reason


class BudgetExceededError(MelleaRxError):
    """The session's budget is spent, so a request was not sent."""


class PreconditionError(MelleaRxError):
    """The arguments of a generative function do not meet its preconditions. Nothing was generated.

    Attributes:
        function: The name of the function.
        requirements: The descriptions of the preconditions that are not met.
        reasons: The reason of each of them, with its description.
        validation: The `ValidationResult` of each of them.
    """

    def __init__(
        self,
        message: str,
        *,
        text: str = "",
        function: str = "",
        requirements: tuple[str, ...] = (),
        reasons: tuple[str, ...] = (),
        validation: tuple[object, ...] = (),
    ) -> None:
        super().__init__(message, text=text)
        self.function = function
        self.requirements = requirements
        self.reasons = reasons
        self.validation = validation


class FormatError(MelleaRxError):
    """An answer that does not fit the call's `format=` or `partial_object`; `text` is the answer.

    Attributes:
        place: The place of the fault: "line 2, column 5" of invalid JSON, or a path ("$.age").
    """

    place: str

    def __init__(self, message: str, *, text: str = "", place: str = "") -> None:
        super().__init__(message, text=text)
        self.place = place


class ModelRefusedError(MelleaRxError):
    """The model refused, or a content filter of its server stopped the answer, in a call with
    `format=` or `require=True`. It is not asked again.

    `text` is the refusal, or the answer up to where the filter stopped it.

    Attributes:
        finish_reason: "refusal" or "content_filter".
    """

    finish_reason: str

    def __init__(self, message: str, *, text: str = "", finish_reason: str = "refusal") -> None:
        super().__init__(message, text=text)
        self.finish_reason = finish_reason


# Failures of a model server, or of the embedded model.


class BackendError(MelleaRxError):
    """A model server, or the embedded model, failed."""


class ConnectionFailedError(BackendError, ConnectionError):
    """No connection to the server could be made."""

    is_transient = True


class NameResolutionError(ConnectionFailedError):
    """The server's host name has no address."""


class TLSError(ConnectionFailedError):
    """The server's certificate or TLS handshake failed."""

    is_transient = False


class GenerationTimeoutError(BackendError, TimeoutError):
    """The server took longer than a time limit allows."""


class ConnectTimeoutError(GenerationTimeoutError):
    """The connection was not ready in time."""

    is_transient = True


class FirstTokenTimeoutError(GenerationTimeoutError):
    """The first token did not arrive in time."""


class IdleTimeoutError(GenerationTimeoutError):
    """The answer began, and then no chunk arrived in time."""


class TotalTimeoutError(GenerationTimeoutError):
    """The whole answer took longer than its deadline, or than the seconds of a `Budget`.

    Args:
        message: The limit, and its place.
        text: The text of the answer so far.
        unfinished: The user's functions, and the judges, that had not returned then: the message
            names them, too. Empty where the model itself had not ended.

    Attributes:
        unfinished: As given.
    """

    unfinished: tuple[str, ...]

    def __init__(self, message: str, *, text: str = "", unfinished: tuple[str, ...] = ()) -> None:
        if unfinished:
            message = f"{message}\n  unfinished then: {'; '.join(unfinished)}"
        super().__init__(message, text=text)
        self.unfinished = unfinished


class StreamInterruptedError(BackendError):
    """The connection broke within the answer; `text` has every character that arrived."""

    is_transient = True


class StreamRestartedError(BackendError):
    """The answer restarted (`ModelOption.ON_INTERRUPT`) after this reader had taken text."""


class ProtocolError(BackendError):
    """The server sent something that its protocol does not allow."""


class ResponseTooLargeError(BackendError):
    """The answer, or one line of it, is larger than its limit."""


class GenerationFailedError(BackendError):
    """The server, or the embedded model, reported an error within its answer.

    Attributes:
        quotes: Whether the message contains the server's own words, which may quote a prompt or an
            answer.
    """

    def __init__(self, message: str, *, text: str = "", quotes: bool = False) -> None:
        super().__init__(message, text=text)
        self.quotes = quotes


class StatusError(BackendError):
    """The server answered with an HTTP status that is not 200.

    Attributes:
        status: The HTTP status code.
        retry_after: Seconds that the server asks to wait before a retry; None if it does not say.
    """

    status: int
    retry_after: float | None

    def __init__(
        self, message: str, *, status: int, text: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message, text=text)
        self.status = status
        self.retry_after = retry_after
        self.is_transient = status in _PASSING

    def __reduce__(self) -> tuple[object, ...]:
        return _status_error, (type(self), str(self), self.status), self.__dict__


_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed when it is sent again."""


class BadRequestError(StatusError):
    """400, 413 or 422: the server rejects this request."""


class AuthenticationError(StatusError):
    """401: the key is missing or wrong."""


class PermissionDeniedError(StatusError):
    """403: the key, or this client, lacks the permission."""


class ModelNotFoundError(StatusError):
    """404: the server does not have this model, or this path."""


class RateLimitError(StatusError):
    """429: too many requests, or too many tokens."""


class ServerError(StatusError):
    """500 and above: the server failed."""


class RedirectRefusedError(StatusError):
    """3xx: redirects are not followed, because the key would be sent to another address."""


def _status_error(kind: type[StatusError], message: str, status: int) -> StatusError:
    return kind(message, status=status)


def escaped(text: str) -> str:
    """A text with its non-printable characters escaped: control characters, line ends, marks that
    change the direction of text, lone surrogates.

    Used for text of servers and models that goes into a message or a log.

    Example:
        >>> print(escaped("no\\x1b[2J such\\u202e model"))
        no\\x1b[2J such\\u202e model
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )
