"""Calling an observer that may raise: it loses its subscription, and nobody else anything."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

from reactivex import abc
from reactivex.disposable import CompositeDisposable

from mellea_rx.core.logs import FailureUnhandled, FunctionRaised, error_summary, log
from mellea_rx.core.outlet import running_loop

__all__ = ["Serialized", "finish", "give", "is_for_the_loop"]

T = TypeVar("T")


def give(observer: abc.ObserverBase[T], item: T) -> bool:
    """Hand an item to an observer.

    Returns:
        False when it raised, which is logged: its subscription has to end.

    Raises:
        SystemExit: It raised this, or KeyboardInterrupt, on an event loop: its subscription has to
            end, too.
    """
    try:
        observer.on_next(item)
    except BaseException as error:
        log(FunctionRaised("a subscriber raised in on_next; its subscription has ended", error))
        if is_for_the_loop(error):
            raise
        return False
    return True


def finish(observer: abc.ObserverBase[T], error: Exception | None) -> None:
    """Give an observer its terminal. What it raises is logged.

    Args:
        observer: Who is told.
        error: Why the source failed; None when it is complete.
    """
    try:
        if error is not None:
            observer.on_error(error)
        else:
            observer.on_completed()
    except BaseException as raised:
        # Rx's default for a subscriber without `on_error` raises what it is given.
        if error is not None and raised is error:
            log(FailureUnhandled(error_summary(error)))
        else:
            log(FunctionRaised("a subscriber raised in its terminal", raised))
        if is_for_the_loop(raised):
            raise


def is_for_the_loop(error: BaseException) -> bool:
    """Whether it ends the program by way of the event loop that runs here, as asyncio has it.

    A thread of ours, or of a scheduler, is nobody's program: there `SystemExit` is a subscriber's
    fault like any other.
    """
    return isinstance(error, (SystemExit, KeyboardInterrupt)) and running_loop() is not None


class Serialized(Generic[T]):
    """Stands between sources on any threads and one observer: serial calls, one terminal, no more.

    It is an observer, and the subscription. An observer that raises loses its subscription.

    Args:
        observer: Gets what comes.
    """

    def __init__(self, observer: abc.ObserverBase[T]) -> None:
        self._observer = observer
        self._lock = threading.RLock()
        self._ended = False
        self._owned = CompositeDisposable()

    def owns(self, resource: abc.DisposableBase) -> None:
        """Dispose it with the subscription; at once when that has ended."""
        self._owned.add(resource)

    def on_next(self, item: T) -> None:
        """One more item."""
        with self._lock:
            if self._ended:
                return
            goes_on = False
            try:
                goes_on = give(self._observer, item)
            finally:
                if not goes_on:
                    self.dispose()

    def on_error(self, error: Exception) -> None:
        """The source failed."""
        self._finish(error)

    def on_completed(self) -> None:
        """The source is complete."""
        self._finish(None)

    def _finish(self, error: Exception | None) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
            finish(self._observer, error)
        self.dispose()

    def dispose(self) -> None:
        """End the subscription. Idempotent; from any thread, also within a call."""
        self._ended = True
        self._owned.dispose()
