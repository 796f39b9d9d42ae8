"""Calls observers that may raise: an observer that does loses its subscription, and affects no
other.
"""

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
    """Call an observer's `on_next`.

    Returns:
        False when it raised, which is logged: the caller has to end its subscription.

    Raises:
        SystemExit: It raised this, or KeyboardInterrupt, on an event loop: the caller has to end
            its subscription as well.
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
    """Call an observer's `on_error` or `on_completed`. An exception of it is logged.

    Args:
        observer: The observer.
        error: Why the source failed; None when it is complete.
    """
    try:
        if error is not None:
            observer.on_error(error)
        else:
            observer.on_completed()
    except BaseException as raised:
        # Rx's default for a subscriber without `on_error` raises its argument.
        if error is not None and raised is error:
            log(FailureUnhandled(error_summary(error)))
        else:
            log(FunctionRaised("a subscriber raised in its terminal", raised))
        if is_for_the_loop(raised):
            raise


def is_for_the_loop(error: BaseException) -> bool:
    """Whether an exception has to reach the event loop that runs here, and end it, as in asyncio.

    In a thread without a loop (of this library, or of a scheduler) `SystemExit` is a subscriber's
    fault like any other.
    """
    return isinstance(error, (SystemExit, KeyboardInterrupt)) and running_loop() is not None


class Serialized(Generic[T]):
    """Serializes the calls of sources on any threads to one observer, with one terminal at most.

    It is an observer, and the subscription. An observer that raises loses its subscription.

    Args:
        observer: Called.
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
        """Pass an item on."""
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
        """Pass an error on, and end."""
        self._finish(error)

    def on_completed(self) -> None:
        """Pass the completion on, and end."""
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
