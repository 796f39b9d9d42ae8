"""The reader of whatever is pulled: one at a time, a coroutine of any loop or a blocked thread."""

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
    """A buffer that its one reader takes from, and waits in while it is empty.

    All that counts is decided under one lock: whether there is something to take, and who waits
    for it. So no wake-up is lost, and of two readers that begin together one is refused.
    """

    __slots__ = ("_pending",)

    REFUSAL: ClassVar[str]
    """What `ConcurrentReaderError` says."""

    def __init__(self) -> None:
        self._pending: Pending | None = None

    # The buffer, which a subclass has. The first three are called with the lock held.

    @property
    @abstractmethod
    def lock(self) -> AbstractContextManager[Any]:
        """Guards the buffer, and who waits for it."""

    @abstractmethod
    def _has_news(self) -> bool:
        """Whether a reader that looks now need not wait."""

    @abstractmethod
    def _take(self) -> T:
        """What a reader gets."""

    def _event(self) -> threading.Event:
        """What a blocked reader waits for."""
        return engine().event()

    def _begin_wait(self, pending: Pending) -> Any:
        """A reader is about to wait; what it raises refuses that.

        Returns:
            Handed to `_end_wait`.
        """

    def _end_wait(self, begun: Any) -> None:
        """It waits no more."""

    # Its writer's side.

    @property
    def is_awaited(self) -> bool:
        """Whether a reader waits, and so has to be woken for news."""
        return self._pending is not None

    def wake(self) -> None:
        """Have the reader look, where one waits. Without the lock."""
        pending = self._pending
        if pending is not None:
            pending.wake()

    # The reader's side.

    def read_blocking(self) -> T:
        """The next of it; blocks this thread.

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
                    # A reader keeps its place from its first wait until it has taken something, so
                    # that a second one cannot take what the first was woken for. Only a reader that
                    # was cancelled, or whose loop is closed, has lost it.
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
