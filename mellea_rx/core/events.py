"""What happens in a call, as frozen values: enough to redraw a run, and to write it to a file.

    AttemptStarted   TextAdded   ThinkingAdded   ToolCalled   ToolReturned
    UsageReported   Validated   Rejected   AttemptFailed   Retrying   Completed   Failed

Every event says when (`at`, seconds since the call) and, where it is of one attempt, of which.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgspec

from mellea_rx.core.chunk import Chunk, ToolCall, Usage

__all__ = [
    "AttemptFailed",
    "AttemptStarted",
    "Completed",
    "Event",
    "Failed",
    "Rejected",
    "Retrying",
    "TextAdded",
    "ThinkingAdded",
    "ToolCalled",
    "ToolReturned",
    "UsageReported",
    "Validated",
    "dump_events",
    "events_of",
    "load_events",
]


def _tag(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Event(msgspec.Struct, frozen=True, tag_field="event", tag=_tag):
    """Something that happened in a call.

    Attributes:
        at: When, in seconds since the call.
    """

    at: float


class AttemptStarted(Event, frozen=True):
    """A generation was asked for.

    Attributes:
        attempt: Which one, from 0.
        backend: Who is asked.
        prompt: What the last message says.
    """

    attempt: int
    backend: str
    prompt: str


class TextAdded(Event, frozen=True):
    """Text came, of an answer that may yet be rejected.

    Attributes:
        attempt: Of which attempt.
        text: All that came since the event before.
    """

    attempt: int
    text: str


class ThinkingAdded(Event, frozen=True):
    """Reasoning came.

    Attributes:
        attempt: Of which attempt.
        text: All that came since the event before.
    """

    attempt: int
    text: str


class ToolCalled(Event, frozen=True):
    """The model asked to call a tool.

    Attributes:
        attempt: In which attempt.
        call: What it asked for.
    """

    attempt: int
    call: ToolCall


class ToolReturned(Event, frozen=True):
    """A tool that the model asked for has run, or could not.

    Attributes:
        attempt: In which attempt, or step, it was asked for.
        name: The tool's name.
        content: What it returned, as the model is told.
        call_id: Which call it answers, where the server gave calls an id.
    """

    attempt: int
    name: str
    content: str
    call_id: str = ""


class UsageReported(Event, frozen=True):
    """The server told what an attempt cost.

    Attributes:
        attempt: Which one.
        usage: Its tokens.
    """

    attempt: int
    usage: Usage


class Validated(Event, frozen=True):
    """A requirement was decided, for an answer or for one unit of it.

    Attributes:
        attempt: Of which attempt.
        requirement: Its description.
        result: Whether it is met; None where a unit leaves it open.
        reason: Why, in words.
        unit: The unit of text that was judged; "" for the whole answer.
    """

    attempt: int
    requirement: str
    result: bool | None
    reason: str | None = None
    unit: str = ""


class Rejected(Event, frozen=True):
    """An attempt does not meet the requirements; no reader sees its text.

    Attributes:
        attempt: Which one.
        reasons: Why, in words.
    """

    attempt: int
    reasons: tuple[str, ...]


class AttemptFailed(Event, frozen=True):
    """An attempt failed; the call goes on where others are made beside it.

    Attributes:
        attempt: Which one.
        error: The error's class.
        message: What it says.
    """

    attempt: int
    error: str
    message: str


class Retrying(Event, frozen=True):
    """Another attempt will be made.

    Attributes:
        attempt: Which one it will be; for another try at the same, that one.
        why: What was wrong with the one before.
        after: After how many seconds.
        restarts: Whether the text of that attempt so far is void.
    """

    attempt: int
    why: str
    after: float = 0.0
    restarts: bool = False


class Completed(Event, frozen=True):
    """The call ended well.

    Attributes:
        finish_reason: Why the model stopped.
    """

    finish_reason: str | None


class Failed(Event, frozen=True):
    """The call failed, or was cancelled.

    Attributes:
        error: The error's class.
        message: What it says.
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
    """What a chunk tells, as events."""
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
    """What `dump_events` made, as events again.

    Raises:
        ValueError: It is something else.
    """
    decode = msgspec.json.Decoder(AnyEvent).decode
    return [decode(line) for line in lines.splitlines() if line]
