"""A stream of items from one writer to any number of subscribers, with one end.

Generations, their event logs, `tee` and coroutine-backed Observables are made of `Broadcast`. They
differ by the `History` that a late subscriber is given. Each subscriber keeps the items that
were not delivered to it yet in a `Buffer` of its own kind.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from mellea_rx.core.streams.retraction import Effect, Retraction

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Subscriber(Protocol[T_contra]):
    """Takes items. `add`, `end` and `retract` are called with the broadcast's lock held."""

    @property
    def is_idle(self) -> bool:
        """Whether it is not read now: an idle subscriber keeps no generation running."""
        ...

    def add(self, item: T_contra, /) -> bool:
        """Take one more item. Returns whether the subscriber has to be woken for it."""
        ...

    def end(self) -> bool:
        """Take the end. Returns whether the subscriber has to be woken for it."""
        ...

    def retract(self, retraction: Retraction, /) -> bool:
        """Take back text that was added. Returns whether the subscriber has to be woken for it."""
        ...

    def wake(self) -> None:
        """Have the items delivered soon. Called without the lock."""
        ...


class Buffer(Protocol[T]):
    """Items that were not delivered yet."""

    def add(self, item: T, /) -> None:
        """Add an item."""
        ...

    def take(self) -> T:
        """Remove the next item to deliver; a buffer may join several into one."""
        ...

    def __bool__(self) -> bool: ...


class SubscriberBuffer(Buffer[T], Protocol):
    """A subscriber's items that were not delivered yet; text of them can be taken back."""

    def retract(self, retraction: Retraction, /) -> Effect:
        """Take back text that was added, where items have text."""
        ...


class Queue(Generic[T]):
    """A buffer that keeps each item as it is."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: deque[T] = deque()

    def add(self, item: T) -> None:
        """Append an item."""
        self._items.append(item)

    def take(self) -> T:
        """Remove the oldest item."""
        return self._items.popleft()

    def retract(self, retraction: Retraction) -> Effect:
        """Nothing: the items have no text."""
        return Effect.NONE

    def __bool__(self) -> bool:
        return bool(self._items)


class History(Protocol[T]):
    """The items so far, in the form in which a late subscriber is given them."""

    def add(self, item: T, /) -> None:
        """Add an item. Called with the broadcast's lock held."""
        ...

    def replay(self) -> Iterable[T]:
        """The items for a subscriber that attaches now. Called with the lock held."""
        ...


class NoHistory(Generic[T]):
    """A late subscriber is given nothing."""

    __slots__ = ()

    def add(self, item: T) -> None:
        """Forget it."""

    def replay(self) -> Iterable[T]:
        """Nothing."""
        return ()


class Broadcast(Generic[T]):
    """Hands each item to all subscribers that are attached, and ends once.

    All methods may be called from any thread.

    Args:
        history: Keeps the items that a late subscriber is given.
        is_live: Subscribers get items as they are written; else the history, once, at the end.
        lock: Shared with another broadcast whose items are written together with these.

    Attributes:
        lock: Guards the history, the list of subscribers and their buffers. It is held while an
            item is added, so that all subscribers get items in the order of the writer, and one
            that attaches meanwhile gets each item exactly once: in the history, or after it. No
            subscriber is woken under it, since a wake-up may run code of a user's scheduler.
        has_ended: Whether no more items come. Set after `error`: a thread that finds it set,
            without the lock, finds the error as well.
        error: Why the writer failed; None while it runs and when it is complete.
    """

    __slots__ = ("_history", "_subscribers", "_tap", "error", "has_ended", "is_live", "lock")

    error: Any

    def __init__(
        self, history: History[T], *, is_live: bool = True, lock: threading.Lock | None = None
    ) -> None:
        self.lock = threading.Lock() if lock is None else lock
        self.is_live = is_live
        self.has_ended = False
        self.error = None
        self._history = history
        self._subscribers: list[Subscriber[T]] = []
        self._tap: Callable[[T], Sequence[Subscriber[Any]]] | None = None
        """Called with each item, with the lock held; returns other subscribers to be woken."""

    # The writer's side.

    def write(self, item: T) -> None:
        """Hand an item to all subscribers. Ignored after the end."""
        with self.lock:
            if self.has_ended:
                return
            self._history.add(item)
            # One subscriber is the common case: no list for it.
            first: Subscriber[T] | None = None
            others: list[Subscriber[T]] | None = None
            if self.is_live:
                for subscriber in self._subscribers:
                    if subscriber.add(item):
                        if first is None:
                            first = subscriber
                        elif others is None:
                            others = [subscriber]
                        else:
                            others.append(subscriber)
            tapped = () if self._tap is None else self._tap(item)
        if first is not None:
            first.wake()
        if others is not None:
            wake_all(others)
        if tapped:
            wake_all(tapped)

    def end(self, error: Exception | None = None) -> bool:
        """End it, once.

        Args:
            error: Why the writer failed; None when it is complete.

        Returns:
            Whether this call ended it.
        """
        with self.lock:
            if self.has_ended:
                return False
            woken = self._close(error)
        wake_all(woken)
        return True

    def _close(self, error: Exception | None) -> Sequence[Subscriber[Any]]:
        """End it, with the lock held. Returns the subscribers to be woken."""
        self.error = error
        self.has_ended = True
        self._tap = None  # it may refer to this broadcast: no circle
        subscribers, self._subscribers = self._subscribers, []
        return [each for each in subscribers if self._end_for(each, replays=not self.is_live)]

    def _end_for(self, subscriber: Subscriber[T], *, replays: bool) -> bool:
        """Give a subscriber the end. Returns whether it has to be woken."""
        is_due = replays and self._replay_to(subscriber)
        return subscriber.end() or is_due

    def _replay_to(self, subscriber: Subscriber[T]) -> bool:
        is_due = False
        for item in self._replay():
            is_due = subscriber.add(item) or is_due
        return is_due

    def _replay(self) -> Iterable[T]:
        return self._history.replay()

    # The subscribers' side.

    def attach(self, subscriber: Subscriber[T]) -> None:
        """Give a subscriber the history now, and then each item that is written."""
        with self.lock:
            if self.has_ended:
                is_due = self._end_for(subscriber, replays=True)
            else:
                is_due = self.is_live and self._replay_to(subscriber)
                self._subscribers.append(subscriber)
        if is_due:
            subscriber.wake()

    def detach(self, subscriber: Subscriber[T]) -> None:
        """Forget a subscriber. Idempotent."""
        with self.lock:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

    def forget(self, subscriber: Subscriber[T]) -> None:
        """As `detach`, for a subscriber that is called with the lock held."""
        self._subscribers = [each for each in self._subscribers if each is not subscriber]

    def end_delivered(self) -> None:
        """The end has been delivered to a subscriber."""


def wake_all(subscribers: Iterable[Subscriber[Any]]) -> None:
    """Wake subscribers; without the lock."""
    for subscriber in subscribers:
        subscriber.wake()
