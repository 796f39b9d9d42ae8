"""The reader behind all that is pulled: `astream`, `stream`, `to_async_iterator`, `to_iterator`.

One reader at a time: a coroutine on any event loop, or a blocked thread.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Generic, TypeVar

from mellea_rx.core.engine import engine
from mellea_rx.core.pending import LoopWait, Pending, ThreadWait
from mellea_rx.errors import ConcurrentReaderError

__all__ = ["PullReader"]

T = TypeVar("T")


class PullReader(ABC, Generic[T]):
    """A buffer with one reader, which waits while the buffer is empty. A subclass has the buffer.

    Two things are decided under one lock: whether there is an item, and which wait is woken for
    one. So no wake-up is lost, and of two readers that begin together one is refused.
    """

    __slots__ = ("_pending",)

    REFUSAL: ClassVar[str]
    """Message of the `ConcurrentReaderError`."""

    def __init__(self) -> None:
        self._pending: Pending | None = None

    # The buffer. `_has_news` and `_take` are called with the lock held (`_has_news` also without).

    @property
    @abstractmethod
    def lock(self) -> AbstractContextManager[Any]:
        """Guards the buffer and the wait."""

    @abstractmethod
    def _has_news(self) -> bool:
        """Whether a read need not wait now: there is an item, or the end."""

    @abstractmethod
    def _take(self) -> T:
        """Remove the next item, for the reader; at the end, return or raise that."""

    def _event(self) -> threading.Event:
        """The event that a blocked reader waits for."""
        return engine().event()

    def _begin_wait(self, pending: Pending) -> Any:
        """Called before a reader waits; an exception refuses the wait.

        Returns:
            The argument of `_end_wait`; None where that need not be called.
        """

    def _end_wait(self, begun: Any) -> None:
        """Called when the wait is over."""

    # Its writer's side.

    @property
    def is_awaited(self) -> bool:
        """Whether a reader waits, and so has to be woken."""
        return self._pending is not None

    def wake(self) -> None:
        """Resume the reader, where one waits. Called without the lock."""
        pending = self._pending
        if pending is not None:
            pending.wake()

    # The reader's side.

    def read_blocking(self) -> T:
        """The next item; blocks this thread.

        Raises:
            ConcurrentReaderError: Another reader waits.
        """
        try:
            next(self._read(lambda: ThreadWait(self._event())))
        except StopIteration as end:
            taken: T = end.value
            return taken
        raise AssertionError("a wait that blocks its thread has ended when it returns")

    def _read(self, wait: Callable[[], Pending] = LoopWait) -> Generator[Any, Any, T]:
        """The next item; by default awaited on the running loop.

        Raises:
            ConcurrentReaderError: Another reader waits.
        """
        mine: Pending | None = None
        # A wait is made without the lock: it calls the user's event loop, which may be of any kind.
        fresh = None if self._has_news() else wait()
        try:
            while True:
                with self.lock:
                    # A reader keeps its place from its first wait until it has taken an item, so
                    # that a second one cannot take the item that the first was woken for. Only a
                    # reader that was cancelled, or whose loop is closed, has lost its place.
                    other = self._pending
                    if other is not None and other is not mine and not other.is_void:
                        raise ConcurrentReaderError(self.REFUSAL)
                    if self._has_news():
                        self._pending = None
                        return self._take()
                    # Woken by all that is added from here on: the lock keeps writers out until
                    # the wait is in its place, so that no wake-up is lost.
                    if fresh is not None:
                        mine = self._pending = fresh
                if fresh is None:  # another reader has just taken the item
                    fresh = wait()
                    continue
                begun = self._begin_wait(fresh)
                try:
                    suspended = fresh.pause()
                    fresh = None
                    if suspended is not None:
                        yield suspended
                finally:
                    if begun is not None:
                        self._end_wait(begun)
        finally:
            # Without the lock: a coroutine that is dropped ends here, and that may be anywhere,
            # also where this thread holds the lock already.
            if mine is not None:
                mine.leave()

    __await__ = _read
