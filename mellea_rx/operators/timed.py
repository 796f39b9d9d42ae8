"""The frame of operators with a timer: `coalesce`, `smooth` and `chunk_timeout`.

Such an operator is a subclass of `TimedObserver`, which has the state of one subscription, and
`timed_operator`, which makes one for each subscription.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from threading import RLock
from typing import Generic, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable, SerialDisposable

from mellea_rx.core.observers import SerializedObserver
from mellea_rx.core.stream import Stream
from mellea_rx.core.timers import scheduler_for

__all__ = ["TimedObserver", "timed_operator"]

A = TypeVar("A")
B = TypeVar("B")


class TimedObserver(ABC, Generic[A, B]):
    """The state of one subscription to an operator with a timer.

    Args:
        observer: The subscriber.
        clock: The scheduler of the timer.
    """

    def __init__(self, observer: SerializedObserver[B], clock: abc.SchedulerBase) -> None:
        self.timer = SerialDisposable()
        self._observer = observer
        self._clock = clock
        # The timer may fire on another thread than the source's, and the two change the same
        # state. The lock is held while the observer is called, so that items keep their order; it
        # is re-entrant, since the observer may make the source emit from within its call.
        self._lock = RLock()

    @abstractmethod
    def on_next(self, item: A) -> None:
        """Take an item of the source."""

    def on_error(self, error: Exception) -> None:
        """Take the source's error. By default it is forwarded."""
        with self._lock:
            self._observer.on_error(error)

    def on_completed(self) -> None:
        """Take the source's completion. By default it is forwarded."""
        with self._lock:
            self._observer.on_completed()


def timed_operator(
    make: Callable[[SerializedObserver[B], abc.SchedulerBase], TimedObserver[A, B]],
    scheduler: abc.SchedulerBase | None,
) -> Callable[[Observable[A]], Observable[B]]:
    """Make an operator of a timed observer.

    Args:
        make: Makes the observer of one subscription, of the subscriber and the clock.
        scheduler: The operator's `scheduler=`. Without it, the clock is the subscription's
            scheduler, else the running event loop, else a delivery thread.
    """

    def operator(source: Observable[A]) -> Observable[B]:
        def subscribe(
            observer: abc.ObserverBase[B], scheduler_: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            subscriber = SerializedObserver(observer)
            timed = make(subscriber, scheduler_for(scheduler, scheduler_))
            subscriber.owns(timed.timer)
            subscriber.owns(
                source.subscribe(
                    timed.on_next, timed.on_error, timed.on_completed, scheduler=scheduler_
                )
            )
            return Disposable(subscriber.dispose)

        return Stream(subscribe)

    return operator
