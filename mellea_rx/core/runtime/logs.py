"""The package's log: frozen events in, records of the logger `mellea_rx` out.

Each module makes events of the facts that it knows, and calls `log` with them. A record keeps its
event as `record.event`, for handlers that want values instead of text.

No record holds a key. None holds content (prompts, answers, values of the user's) but those of
`PromptSent` and `AnswerReceived`, at DEBUG, where `MELLEA_RX_LOG_CONTENT` is set.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from queue import Empty, SimpleQueue
from typing import Any, ClassVar

from mellea_rx.errors import (
    ConfigurationError,
    ConnectionFailedError,
    GenerationFailedError,
    GenerationTimeoutError,
    escaped,
)

_log = logging.getLogger("mellea_rx")


@dataclass(frozen=True, slots=True)
class LogEvent:
    """A fact for the log.

    Attributes:
        level: The record's level.
        template: The record's text, with a %-format for each of `args`.
    """

    level: ClassVar[int]
    template: ClassVar[str]

    @property
    def args(self) -> tuple[Any, ...]:
        """The values that the template shows: all fields in order, by default."""
        return tuple(getattr(self, each.name) for each in fields(self))

    @property
    def raised(self) -> BaseException | None:
        """An exception whose traceback the record shows; None by default."""
        return None


def log(event: LogEvent) -> None:
    """Log an event, where its level is on, on one line: its texts may come from a server.

    Handlers take locks and run code of the user's: the caller must hold no lock of this package,
    and must not be a finalizer (there: `log_later`).
    """
    if _log.isEnabledFor(event.level):
        args = (escaped(each) if isinstance(each, str) else each for each in event.args)
        _log.log(event.level, event.template, *args, exc_info=event.raised, extra={"event": event})


def logs_calls() -> bool:
    """Whether the start and end of calls are logged: whether DEBUG is on."""
    return _log.isEnabledFor(logging.DEBUG)


def logs_content() -> bool:
    """Whether prompts and answers are logged: DEBUG is on, and `MELLEA_RX_LOG_CONTENT` is set."""
    return logs_calls() and os.environ.get("MELLEA_RX_LOG_CONTENT", "") not in ("", "0")


# The garbage collector runs finalizers anywhere, also in a thread that holds a handler's lock or
# one of this package. So a finalizer only queues its event, which takes no lock (`SimpleQueue` is
# made for that), and a callback of the loop logs it.
_later: SimpleQueue[LogEvent] = SimpleQueue()


def log_later(event: LogEvent, loop: asyncio.AbstractEventLoop) -> None:
    """Log an event soon; for finalizers. Takes no lock.

    Args:
        event: The fact.
        loop: The event loop that logs it; where it is closed, the interpreter's exit does.
    """
    _later.put(event)
    try:
        loop.call_soon_threadsafe(_log_waiting)
    except RuntimeError:
        pass  # closed


def _log_waiting() -> None:
    while True:
        try:
            event = _later.get_nowait()
        except Empty:
            return
        log(event)


# Registered after logging's own exit handler, and so called before it.
atexit.register(_log_waiting)


_WITHOUT_CONTENT = (
    ConfigurationError,
    ConnectionFailedError,
    GenerationTimeoutError,
)


def error_summary(error: BaseException) -> str:
    """An error without content: its class, and its message where the library alone wrote that."""
    name = type(error).__name__
    # Other messages may quote a prompt or an answer.
    failed = type(error) is GenerationFailedError and not error.quotes
    if failed or isinstance(error, _WITHOUT_CONTENT):
        return f"{name}: {str(error).partition(chr(10))[0]}"
    status = getattr(error, "status", None)
    return f"{name} (status {status})" if status else name


# Calls.


@dataclass(frozen=True, slots=True)
class CallStarted(LogEvent):
    """A call has started.

    Attributes:
        call: The call's number in this process.
        backend: The backend's name.
        model: The model's name; "-" where the backend has none.
    """

    level: ClassVar[int] = logging.DEBUG
    template: ClassVar[str] = "call %d starts: backend %s, model %s"

    call: int
    backend: str
    model: str


@dataclass(frozen=True, slots=True)
class CallEnded(LogEvent):
    """A call has ended.

    Attributes:
        call: Its number.
        backend: The backend's name.
        model: The model's name, as the server gives it.
        outcome: The finish reason, or the error's class.
        prompt_tokens: Tokens of the prompt, where the server sent them.
        completion_tokens: Tokens of the answer, where the server sent them.
        ttft: Seconds to the first content; None where none came.
        duration: Seconds from the call to its end.
    """

    level: ClassVar[int] = logging.DEBUG
    template: ClassVar[str] = (
        "call %d ends: backend %s, model %s, %s, tokens %s + %s, first after %s, all in %s"
    )

    call: int
    backend: str
    model: str
    outcome: str
    prompt_tokens: int | None
    completion_tokens: int | None
    ttft: float | None
    duration: float

    @property
    def args(self) -> tuple[Any, ...]:
        """The values in the template's form: "-" for what the server left out."""
        tokens = (
            "-" if each is None else each for each in (self.prompt_tokens, self.completion_tokens)
        )
        times = ("-" if each is None else f"{each:.3f} s" for each in (self.ttft, self.duration))
        return (self.call, self.backend, self.model, self.outcome, *tokens, *times)


@dataclass(frozen=True, slots=True)
class PromptSent(LogEvent):
    """The prompt of a call: content.

    Attributes:
        call: Its number.
        messages: A role and a text for each message.
    """

    level: ClassVar[int] = logging.DEBUG
    template: ClassVar[str] = "call %d asks: %s"

    call: int
    messages: Sequence[tuple[str, str]]

    @property
    def args(self) -> tuple[Any, ...]:
        """The number, and the messages as one text."""
        return self.call, "\n".join(f"{role}: {text}" for role, text in self.messages)


@dataclass(frozen=True, slots=True)
class AnswerReceived(LogEvent):
    """The answer of a call: content.

    Attributes:
        call: Its number.
        text: The text, also of an answer that was broken off.
    """

    level: ClassVar[int] = logging.DEBUG
    template: ClassVar[str] = "call %d answers: %s"

    call: int
    text: str


@dataclass(frozen=True, slots=True)
class RequestRetried(LogEvent):
    """A request failed, and is sent again.

    Attributes:
        call: The number of its call; 0 outside of every call.
        error: The error's summary.
        tries: How many tries there were.
        pause: Seconds until the next one.
    """

    level: ClassVar[int] = logging.INFO
    template: ClassVar[str] = "call %d: %s in try %d; the next one follows in %.2f s"

    call: int
    error: str
    tries: int
    pause: float


@dataclass(frozen=True, slots=True)
class AttemptRejected(LogEvent):
    """An attempt met not all requirements, and another one is made.

    Attributes:
        call: The number of its call.
        unmet: How many requirements it did not meet.
        attempt: The number of the attempt that follows, from 1.
    """

    level: ClassVar[int] = logging.INFO
    template: ClassVar[str] = "call %d: an answer failed %d requirements; attempt %d follows"

    call: int
    unmet: int
    attempt: int


@dataclass(frozen=True, slots=True)
class RequirementsUnmet(LogEvent):
    """A call's value does not meet its requirements.

    Attributes:
        call: Its number.
        attempts: How many attempts there were.
    """

    level: ClassVar[int] = logging.WARNING
    template: ClassVar[str] = (
        "call %d: no answer met the requirements in %d attempts; the best one is the value "
        "(thunk.sampling has the reasons; require=True makes it an error)"
    )

    call: int
    attempts: int


@dataclass(frozen=True, slots=True)
class FailureUnseen(LogEvent):
    """A failed thunk was dropped before its error was delivered or read.

    Attributes:
        call: The number of its call.
        error: The error's summary.
    """

    level: ClassVar[int] = logging.WARNING
    template: ClassVar[str] = (
        "call %d failed and nobody looked at it: %s (await thunk.avalue(), or look at thunk.error)"
    )

    call: int
    error: str


@dataclass(frozen=True, slots=True)
class FailureUnhandled(LogEvent):
    """A source failed, and its subscriber has no `on_error`.

    Attributes:
        error: The error's summary.
    """

    level: ClassVar[int] = logging.ERROR
    template: ClassVar[str] = "a source failed, and a subscriber has no on_error: %s"

    error: str


@dataclass(frozen=True, slots=True)
class FunctionRaised(LogEvent):
    """A function of the user's raised, and no caller can be given the exception.

    Attributes:
        text: The kind of function, and the consequence.
        error: The exception.
    """

    level: ClassVar[int] = logging.ERROR
    template: ClassVar[str] = "%s"

    text: str
    error: BaseException

    @property
    def args(self) -> tuple[Any, ...]:
        """The text; the traceback follows it."""
        return (self.text,)

    @property
    def raised(self) -> BaseException:
        """The exception."""
        return self.error


@dataclass(frozen=True, slots=True)
class AnswerCut(LogEvent):
    """An answer of the embedded model ended at its default limit.

    Attributes:
        tokens: The limit.
    """

    level: ClassVar[int] = logging.WARNING
    template: ClassVar[str] = (
        "an answer of the embedded model was cut at %d tokens, its default: "
        "set ModelOption.MAX_NEW_TOKENS for longer ones"
    )

    tokens: int


@dataclass(frozen=True, slots=True)
class RecordingEnded(LogEvent):
    """A recording can no longer be written to; the answers that it was made of go on.

    Attributes:
        path: Its file.
        lines: How many lines that has.
        reason: The fault.
    """

    level: ClassVar[int] = logging.WARNING
    template: ClassVar[str] = (
        "the recording %s ends after line %d: %s; the answers go on unrecorded"
    )

    path: str
    lines: int
    reason: str


# Sessions and contexts.


@dataclass(frozen=True, slots=True)
class BackendChosen(LogEvent):
    """ "auto" has decided.

    Attributes:
        backend: The backend, with its address where it has one.
        model: The model's name.
        reason: The reason, in words.
    """

    level: ClassVar[int] = logging.INFO
    template: ClassVar[str] = "using %s, model %s: %s"

    backend: str
    model: str
    reason: str


@dataclass(frozen=True, slots=True)
class ContextClamped(LogEvent):
    """The user set a larger context window than the model has.

    Attributes:
        model: The model's name.
        asked: Tokens that the user set.
        has: Tokens that the model has.
    """

    level: ClassVar[int] = logging.WARNING
    template: ClassVar[str] = (
        "ModelOption.CONTEXT_WINDOW is %d, more than model %s has: it works with %d tokens"
    )

    asked: int
    model: str
    has: int


@dataclass(frozen=True, slots=True)
class StaleContext(LogEvent):
    """A message of a chat was sent while the answer before it still streamed."""

    level: ClassVar[int] = logging.WARNING
    template: ClassVar[str] = (
        "Not using a SimpleContext with asynchronous requests could cause unexpected results due "
        "to stale contexts. Ensure you await between requests."
    )


@dataclass(frozen=True, slots=True)
class ChatForgets(LogEvent):
    """A second `chat` in a session whose context remembers nothing."""

    level: ClassVar[int] = logging.WARNING
    template: ClassVar[str] = (
        "chat on a SimpleContext forgets: the model is not told what was said before. "
        "For a conversation: start_session(ctx=ChatContext()); for calls on their own: instruct"
    )


@dataclass(frozen=True, slots=True)
class PlaceholderLeft(LogEvent):
    """A text that is never rendered has a placeholder.

    Attributes:
        place: The argument that the text was given as.
        hint: The remedy.
    """

    level: ClassVar[int] = logging.WARNING
    template: ClassVar[str] = "%s has a placeholder in double braces, which stays as it is: %s"

    place: str
    hint: str


@dataclass(frozen=True, slots=True)
class SummaryFailed(LogEvent):
    """A long chat could not be summed up.

    Attributes:
        error: The error's summary.
    """

    level: ClassVar[int] = logging.WARNING
    template: ClassVar[str] = "a summary failed; the turns are sent as they are: %s"

    error: str


# Event loops.


@dataclass(frozen=True, slots=True)
class LoopHeld(LogEvent):
    """A blocking wait held up a running event loop.

    Attributes:
        place: The file and line of the wait.
        seconds: How long it took.
    """

    level: ClassVar[int] = logging.WARNING
    template: ClassVar[str] = (
        "%s: a blocking wait held the running event loop for %.2f s, and all that runs on it; "
        "use `await thunk.avalue()`, or the verb with an a- prefix"
    )

    place: str
    seconds: float
