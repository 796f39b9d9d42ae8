"""The operator `smooth`: words at an even pace."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from reactivex import Observable, abc, compose

from mellea_rx.core.arguments import require_seconds
from mellea_rx.core.observers import SerializedObserver
from mellea_rx.operators.by_unit import by_word
from mellea_rx.operators.timed import TimedObserver, timed_operator

__all__ = ["smooth"]

CATCH_UP = 8
"""One in so many waiting words is emitted at each interval, so that the queue stays bounded."""


def smooth(
    interval: float, *, scheduler: abc.SchedulerBase | None = None
) -> Callable[[Observable[object]], Observable[str]]:
    """Emit words one by one, at least `interval` seconds apart.

    It keeps up with the source: at each interval it emits an eighth of the waiting words as one
    item, and at least one word. So a source of `r` words per interval is followed at `r` words per
    interval, about eight intervals behind. When the source completes, the remaining words go on at
    this pace; when it fails, they are emitted at once, before the error.

        source:      -a·b·c·d·e·|
        smooth(3):   -a·-b·-c·-d·-(e·|)

    Example:
        >>> from reactivex.testing import TestScheduler
        >>> import reactivex as rx
        >>> time = TestScheduler()
        >>> words = []
        >>> _ = rx.of("one two three").pipe(smooth(0.05, scheduler=time)).subscribe(words.append)
        >>> words
        ['one ']
        >>> time.advance_by(0.1)
        >>> words
        ['one ', 'two ', 'three']

    Args:
        interval: The shortest time between two items, in seconds.
        scheduler: The clock; by default, that of the place where chunks are delivered.

    Returns:
        An operator that takes chunks or strings.

    Raises:
        InvalidInputError: `interval` is not a positive number of seconds.
    """
    interval = require_seconds("interval", interval)
    paced: Callable[[Observable[str]], Observable[str]] = timed_operator(
        lambda observer, clock: _Pacer(observer, clock, interval), scheduler
    )
    return compose(by_word(), paced)


class _Pacer(TimedObserver[str, str]):
    """Words in as they arrive, out at an even pace.

    Args:
        observer: The subscriber.
        clock: The scheduler of the timer.
        interval: Seconds between two items.
    """

    def __init__(
        self, observer: SerializedObserver[str], clock: abc.SchedulerBase, interval: float
    ) -> None:
        super().__init__(observer, clock)
        self._interval = interval
        self._words: deque[str] = deque()
        self._is_paused = False
        self._is_complete = False

    def on_next(self, item: str) -> None:
        with self._lock:
            self._words.append(item)
            if not self._is_paused:
                self._release()

    def on_error(self, error: Exception) -> None:
        with self._lock:
            if self._words:
                self._observer.on_next(self._take(len(self._words)))
            self._observer.on_error(error)

    def on_completed(self) -> None:
        with self._lock:
            self._is_complete = True
            if not self._words:
                self._observer.on_completed()

    def _release(self, *_: Any) -> None:
        with self._lock:
            self._is_paused = bool(self._words)
            if not self._words:
                return
            text = self._take(-(-len(self._words) // CATCH_UP))
            # The timer is set before the observer is called: an observer that raises has its
            # subscription disposed, and with it a timer that is set by then.
            self.timer.disposable = self._clock.schedule_relative(self._interval, self._release)
            self._observer.on_next(text)
            if self._is_complete and not self._words:
                self._observer.on_completed()

    def _take(self, count: int) -> str:
        return "".join(self._words.popleft() for _ in range(count))
