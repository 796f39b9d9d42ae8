"""The events of a call, as frozen values; `thunk.events` emits them, and files can store them.

    AttemptStarted   TextAdded   ThinkingAdded   ToolCalled   ToolReturned
    UsageReported   Validated   Rejected   AttemptFailed   Retrying   Completed   Failed

Every event has its time (`at`, in seconds since the call), and that of one attempt its number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgspec

from mellea_rx.core.types.chunk import Chunk, ToolCall, Usage


def _tag(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Event(msgspec.Struct, frozen=True, tag_field="event", tag=_tag):
    """An event of a call.

    Attributes:
        at: Its time, in seconds since the call.
    """

    at: float


class AttemptStarted(Event, frozen=True):
    """A generation was requested.

    Attributes:
        attempt: The number of the attempt, from 0.
        backend: The name of the backend.
        prompt: The text of the last message that is not a prefill.
    """

    attempt: int
    backend: str
    prompt: str


class TextAdded(Event, frozen=True):
    """Text was added to an answer, which may yet be rejected.

    Attributes:
        attempt: The number of the attempt.
        text: The text since the previous event.
    """

    attempt: int
    text: str


class ThinkingAdded(Event, frozen=True):
    """Reasoning was added.

    Attributes:
        attempt: The number of the attempt.
        text: The reasoning since the previous event.
    """

    attempt: int
    text: str


class ToolCalled(Event, frozen=True):
    """The model asked to call a tool.

    Attributes:
        attempt: The number of the attempt.
        call: The call.
    """

    attempt: int
    call: ToolCall


class ToolReturned(Event, frozen=True):
    """A tool call ended, or could not be run.

    Attributes:
        attempt: The number of the attempt or step that asked for it.
        name: The tool's name.
        content: The result as text for the model.
        call_id: The id of the call, where the server gives calls one.
    """

    attempt: int
    name: str
    content: str
    call_id: str = ""


class UsageReported(Event, frozen=True):
    """The server reported the tokens of an attempt.

    Attributes:
        attempt: The number of the attempt.
        usage: Its tokens.
    """

    attempt: int
    usage: Usage


class Validated(Event, frozen=True):
    """A requirement was decided, for an answer or for one unit of it.

    Attributes:
        attempt: The number of the attempt.
        requirement: The requirement's description.
        result: Whether it is met; None for a unit that leaves it undecided.
        reason: The reason, in words.
        unit: The unit of text that was judged; "" for the whole answer.
        score: The degree to which it is met, where the validation measures that.
    """

    attempt: int
    requirement: str
    result: bool | None
    reason: str | None = None
    unit: str = ""
    score: float | None = None


class Rejected(Event, frozen=True):
    """An attempt does not meet the requirements; no reader sees its text.

    Attributes:
        attempt: The number of the attempt.
        reasons: The reasons, in words.
    """

    attempt: int
    reasons: tuple[str, ...]


class AttemptFailed(Event, frozen=True):
    """An attempt failed; the call continues where other attempts run.

    Attributes:
        attempt: The number of the attempt.
        error: The name of the error's class.
        message: The error's message.
    """

    attempt: int
    error: str
    message: str


class Retrying(Event, frozen=True):
    """Another attempt will be made.

    Attributes:
        attempt: The number of that attempt; for another try at the same one, its own number.
        why: The reasons why the one before was rejected or failed.
        after: The pause before it, in seconds.
        restarts: Whether the text of that attempt so far is discarded.
    """

    attempt: int
    why: str
    after: float = 0.0
    restarts: bool = False


class Completed(Event, frozen=True):
    """The call succeeded.

    Attributes:
        finish_reason: The reason why the model stopped.
    """

    finish_reason: str | None


class Failed(Event, frozen=True):
    """The call failed, or was cancelled.

    Attributes:
        error: The name of the error's class.
        message: The error's message.
    """

    error: str
    message: str


AnyEvent: TypeAlias = (
    AttemptStarted
    | TextAdded
    | ThinkingAdded
    | ToolCalled
    | ToolReturned
    | UsageReported
    | Validated
    | Rejected
    | AttemptFailed
    | Retrying
    | Completed
    | Failed
)


def events_of(attempt: int, at: float, chunk: Chunk) -> Iterator[Event]:
    """The events of a chunk."""
    if chunk.thinking:
        yield ThinkingAdded(at, attempt, chunk.thinking)
    if chunk.text:
        yield TextAdded(at, attempt, chunk.text)
    for call in chunk.tool_calls:
        yield ToolCalled(at, attempt, call)
    if chunk.usage is not None:
        yield UsageReported(at, attempt, chunk.usage)


def dump_events(events: Iterable[Event]) -> bytes:
    """Events as JSON, one a line.

    Example:
        >>> dump_events([Completed(0.25, "stop")])
        b'{"event":"completed","at":0.25,"finish_reason":"stop"}\\n'
    """
    return b"".join(msgspec.json.encode(event) + b"\n" for event in events)


def load_events(lines: bytes) -> list[Event]:
    """Read the events that `dump_events` wrote.

    Raises:
        ValueError: The bytes are not such events.
    """
    decode = msgspec.json.Decoder(AnyEvent).decode
    return [decode(line) for line in lines.splitlines() if line]
