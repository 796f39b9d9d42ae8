"""The events of one call: replayed to subscribers that come late, then handed out as they happen.

A generation keeps an `EventLog` from the first access to its events. Text is kept
joined, and not by chunk, so the log does not grow with the number of chunks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mellea_rx.core.streams.broadcast import Broadcast, Subscriber
from mellea_rx.core.streams.buffers import TextBuffer
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.events import (
    Completed,
    Event,
    Failed,
    TextAdded,
    ThinkingAdded,
    events_of,
)


class _TextRun:
    """Text events of one kind and one attempt that follow each other: kept as one event."""

    __slots__ = ("at", "attempt", "kind", "text")

    def __init__(self, event: TextAdded | ThinkingAdded) -> None:
        self.at = event.at
        self.attempt = event.attempt
        self.kind = type(event)
        self.text = TextBuffer()
        self.text.add(event.text)

    def event(self) -> Event:
        """The whole text as one event."""
        return self.kind(self.at, self.attempt, str(self.text))


class _EventHistory:
    """The events so far, text joined."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: list[Event | _TextRun] = []

    def add(self, event: Event) -> None:
        if isinstance(event, (TextAdded, ThinkingAdded)) and self._entries:
            last = self._entries[-1]
            if isinstance(last, _TextRun):
                if last.kind is type(event) and last.attempt == event.attempt:
                    last.text.add(event.text)
                    return
            # Between two verdicts there is often one event of text: it is kept as it is.
            elif isinstance(last, type(event)) and last.attempt == event.attempt:
                run = self._entries[-1] = _TextRun(last)
                run.text.add(event.text)
                return
        self._entries.append(event)

    def replay(self) -> Iterable[Event]:
        return [each.event() if isinstance(each, _TextRun) else each for each in self._entries]


class EventLog(Broadcast[Event]):
    """The events of one call. A failed call's events complete: the failure is the last of them.

    Args:
        lock: The lock of the call's generation: a chunk and its events are added together.
        clock: The engine's, in seconds.
        started_at: Time of the call, by that clock.
    """

    __slots__ = ("_clock", "_started_at")

    def __init__(self, lock: threading.Lock, clock: Callable[[], float], started_at: float) -> None:
        super().__init__(_EventHistory(), lock=lock)
        self._clock = clock
        self._started_at = started_at

    def now(self) -> float:
        """Seconds since the call."""
        return self._clock() - self._started_at

    add = Broadcast[Event].write
    """Record an event. Ignored after the end."""

    def chunk(self, attempt: int, chunk: Chunk) -> None:
        """Record the events of a chunk.

        Args:
            attempt: Number of the attempt that it belongs to, from 0.
            chunk: The chunk.
        """
        now = self._clock() - self._started_at
        if chunk.text and not (chunk.thinking or chunk.tool_calls or chunk.usage):
            self.write(TextAdded(now, attempt, chunk.text))
            return
        for event in events_of(attempt, now, chunk):
            self.write(event)

    def record(self, events: Iterable[Event]) -> Sequence[Subscriber[Any]]:
        """Record events, for a caller that holds the lock. Ignored after the end.

        Returns:
            The subscribers that the caller has to wake when it has released the lock.
        """
        if self.has_ended:
            return ()
        woken: dict[int, Subscriber[Any]] = {}
        for event in events:
            self._history.add(event)
            for subscriber in self._subscribers:
                if subscriber.add(event):
                    woken[id(subscriber)] = subscriber
        return list(woken.values())

    def record_end(self, event: Completed | Failed) -> Sequence[Subscriber[Any]]:
        """Record the last event, and end, as `record` does."""
        if self.has_ended:
            return ()
        woken = [*self.record((event,)), *self._close(None)]
        return list({id(each): each for each in woken}.values())
