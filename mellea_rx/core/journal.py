"""The record of a call's events: replays to whoever comes late, and costs little when nobody does.

Text is kept joined, not by chunk, so that a record grows with what was said and decided.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

from mellea_rx.core.chunk import Chunk
from mellea_rx.core.events import Completed, Event, Failed, TextAdded, ThinkingAdded, events_of
from mellea_rx.core.fold import TextBuffer
from mellea_rx.core.hub import Consumer

__all__ = ["EventQueue", "Journal"]


class EventQueue:
    """What a subscriber to events has not got yet."""

    __slots__ = ("_events",)

    def __init__(self) -> None:
        self._events: deque[Event] = deque()

    def add(self, event: Event) -> None:
        """Append an event."""
        self._events.append(event)

    def take(self) -> Event:
        """The oldest of them."""
        return self._events.popleft()

    def __bool__(self) -> bool:
        return bool(self._events)


class _Run:
    """Events of one kind of text, of one attempt, without another one in between: kept as one."""

    __slots__ = ("at", "attempt", "kind", "text")

    def __init__(self, event: TextAdded | ThinkingAdded) -> None:
        self.at = event.at
        self.attempt = event.attempt
        self.kind = type(event)
        self.text = TextBuffer()
        self.text.add(event.text)

    def takes(self, event: TextAdded | ThinkingAdded) -> bool:
        """Whether an event goes on from this one."""
        return self.kind is type(event) and self.attempt == event.attempt

    def event(self) -> Event:
        """All of it as one event."""
        return self.kind(self.at, self.attempt, str(self.text))


class Journal:
    """The events of one call; a hub that subscribers attach to.

    Args:
        lock: Its call's.
        clock: The engine's.
        started_at: When the call began, by that clock.
    """

    error = None
    """A failed call's events complete: the failure is the last of them."""

    def __init__(self, lock: threading.Lock, clock: Callable[[], float], started_at: float) -> None:
        self.lock = lock
        self._clock = clock
        self._started_at = started_at
        self._entries: list[Event | _Run] = []
        self._consumers: list[Consumer[Event]] = []
        self._closed = False

    def now(self) -> float:
        """Seconds since the call."""
        return self._clock() - self._started_at

    def add(self, *events: Event) -> None:
        """Record events. Ignored after the last one."""
        with self.lock:
            woken = self.record(events)
        for consumer in woken:
            consumer.wake()

    def chunk(self, attempt: int, chunk: Chunk) -> None:
        """Record what a chunk tells."""
        self.add(*events_of(attempt, self.now(), chunk))

    def record(self, events: tuple[Event, ...]) -> list[Consumer[Event]]:
        """As `add`, for who holds the lock, and has to wake what is returned without it."""
        if self._closed:
            return []
        woken: dict[int, Consumer[Event]] = {}
        for event in events:
            self._keep(event)
            for consumer in self._consumers:
                if consumer.add(event):
                    woken[id(consumer)] = consumer
        if isinstance(events[-1] if events else None, (Completed, Failed)):
            self._closed = True
            for consumer in self._consumers:
                if consumer.end():
                    woken[id(consumer)] = consumer
            self._consumers.clear()
        return list(woken.values())

    def _keep(self, event: Event) -> None:
        if not isinstance(event, (TextAdded, ThinkingAdded)):
            self._entries.append(event)
            return
        last = self._entries[-1] if self._entries else None
        if isinstance(last, _Run) and last.takes(event):
            last.text.add(event.text)
        else:
            self._entries.append(_Run(event))

    def _replayed(self) -> Iterator[Event]:
        for entry in self._entries:
            yield entry.event() if isinstance(entry, _Run) else entry

    def attach(self, consumer: Consumer[Event]) -> None:
        """Hand over what happened so far, then what happens."""
        with self.lock:
            waiting = [consumer.add(event) for event in self._replayed()]
            if self._closed:
                waiting.append(consumer.end())
            else:
                self._consumers.append(consumer)
        if any(waiting):
            consumer.wake()

    def detach(self, consumer: Consumer[Event]) -> None:
        """Forget a consumer. Idempotent."""
        with self.lock:
            if consumer in self._consumers:
                self._consumers.remove(consumer)

    def taken(self) -> None:
        """Somebody got its end: of no consequence for the call itself."""
