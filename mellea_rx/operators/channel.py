"""The reader behind `to_async_iterator` and `to_iterator`: an Observable that is pulled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from reactivex import Observable
from reactivex.disposable import SingleAssignmentDisposable
from reactivex.scheduler import EventLoopScheduler

from mellea_rx.core.engine import engine, engine_loop
from mellea_rx.core.outlet import running_loop
from mellea_rx.core.pending import Pending
from mellea_rx.core.pull_reader import PullReader
from mellea_rx.errors import BackpressureError, BlockingWaitError, raisable
from mellea_rx.operators.backlog import BoundedBacklog, Overflow, backlog

__all__ = ["END", "Channel"]

T = TypeVar("T")


END: Any = object()
"""The result of a read at the end."""


class Channel(PullReader[T]):
    """An observer that keeps items until its reader takes them.

    A read returns the next item, or `END`; it raises the source's error. The first read subscribes.

    Args:
        source: Subscribed to by the first read.
        overflow: The treatment of an item while `maxsize` others wait.
        maxsize: How many may wait; None for any number.

    Raises:
        InvalidInputError: `overflow` or `maxsize` cannot be used.
    """

    REFUSAL = "two readers wait in one iterator: make one for each, or let one read"

    def __init__(self, source: Observable[T], overflow: Overflow, maxsize: int | None) -> None:
        super().__init__()
        self._source: Observable[T] | None = source
        self._blocks = overflow == "block"
        self._backlog: BoundedBacklog[Any] = backlog(overflow, maxsize)
        self._changed = threading.Condition()
        self._subscription = SingleAssignmentDisposable()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = False
        self._error: Exception | None = None

    # The source's side.

    def _on_next(self, item: T) -> None:
        with self._changed:
            if self._blocks and running_loop() is None:
                self._changed.wait_for(lambda: self._ended or not self._backlog.is_full)
            if self._ended:
                return
            error = self._refusal()
            if error is None:
                self._backlog.add(item)
            else:
                self._ended, self._error = True, error
        self.wake()
        if error is not None:
            self._subscription.dispose()

    def _refusal(self) -> Exception | None:
        """The error for an item that does not fit; None where it fits."""
        if not self._backlog.is_full:
            return None
        if self._blocks:
            return BlockingWaitError(
                'overflow="block" would stop an event loop here, for this source calls on one: '
                "choose another overflow"
            )
        return BackpressureError(
            f"{len(self._backlog)} items wait for this reader, as many as maxsize allows: "
            'read faster, or choose another overflow ("coalesce", "block", "drop_oldest")'
        )

    def _end(self, error: Exception | None = None) -> None:
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._changed.notify_all()
        self.wake()

    # The reader's side.

    @property
    def lock(self) -> threading.Condition:
        return self._changed

    def _has_news(self) -> bool:
        return bool(self._backlog) or self._ended

    def _take(self) -> T:
        if self._backlog:
            item: T = self._backlog.take()
            self._changed.notify_all()
            return item
        if self._error is not None:
            raise raisable(self._error)
        end: T = END
        return end

    def _event(self) -> threading.Event:
        return threading.Event()  # set by the source's own thread, which no engine knows

    def _begin_wait(self, pending: Pending) -> None:
        if not pending.blocks:
            self._loop = asyncio.get_running_loop()
        elif engine_loop() is not None:
            raise BlockingWaitError(
                "a blocking wait on the engine's own thread would stop every call of the process"
            )
        source, self._source = self._source, None
        if source is not None:
            self._subscription.disposable = source.subscribe(
                self._on_next,
                self._end,
                self._end,
                scheduler=_thread() if pending.blocks or self._blocks else None,
            )

    # Its end.

    def close(self) -> None:
        """End the source. Idempotent; from any thread."""
        with self._changed:
            self._ended, self._source = True, None
            self._changed.notify_all()
        self.wake()
        self._subscription.dispose()

    def abandon(self) -> None:
        """End the source soon; for the finalizer of a reader, which may run anywhere.

        (Also in a thread that holds a lock that disposing takes; so a callback of the reader's loop
        does it, or of the engine where the reader has none.)
        """
        if self._source is not None or self._ended:
            return
        if self._loop is not None and _soon(self._loop, self.close):
            return
        try:
            _soon(engine().loop, self.close)
        except RuntimeError:
            pass  # the interpreter goes down: no thread starts, and all calls end


def _thread() -> EventLoopScheduler:
    """A thread for one source, which may block it; it ends when it has nothing to do."""

    def start(target: Callable[..., None]) -> threading.Thread:
        return threading.Thread(target=target, name="mellea-rx-iterator", daemon=True)

    return EventLoopScheduler(start, exit_if_empty=True)


def _soon(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> bool:
    """Call a function in a callback of a loop. Returns False when the loop is closed."""
    try:
        loop.call_soon_threadsafe(function)
    except RuntimeError:
        return False
    return True
