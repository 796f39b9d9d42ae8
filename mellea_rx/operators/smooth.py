"""Text at an even pace, as a reader likes it, however it comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import RLock
from typing import Any

from reactivex import Observable, abc
from reactivex.disposable import Disposable, SerialDisposable

from mellea_rx.core.arguments import require_seconds
from mellea_rx.core.observers import Serialized
from mellea_rx.core.stream import Stream
from mellea_rx.core.timers import scheduler_for
from mellea_rx.operators.by_unit import by_word

__all__ = ["smooth"]

CATCH_UP = 8
"""Each time, this part of the words that wait is let go: what waits stays in bounds."""


def smooth(
    interval: float, *, scheduler: abc.SchedulerBase | None = None
) -> Callable[[Observable[object]], Observable[str]]:
    """Let words go one by one, `interval` seconds apart at least.

    It is never slower than the source for long: each time, an eighth of the words that wait goes
    out as one item, and at least one word. So a source of `r` words an interval is followed with
    `r` words an interval, some eight intervals behind. At the source's end the rest goes on at
    this pace; before an error it goes out at once.

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
        interval: Seconds.
        scheduler: Whose time it is; by default where the chunks are delivered.

    Raises:
        InvalidInputError: `interval` is no time.
    """
    interval = require_seconds("interval", interval)

    def operator(source: Observable[object]) -> Observable[str]:
        def subscribe(
            observer: abc.ObserverBase[str], scheduler_: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            subscriber = Serialized(observer)
            pacer = _Pacer(subscriber, scheduler_for(scheduler, scheduler_), interval)
            subscriber.owns(pacer.timer)
            words = source.pipe(by_word())
            subscriber.owns(
                words.subscribe(
                    pacer.on_next, pacer.on_error, pacer.on_completed, scheduler=scheduler_
                )
            )
            return Disposable(subscriber.dispose)

        return Stream(subscribe)

    return operator


class _Pacer:
    """Words in as they come, out at their pace.

    Args:
        observer: Gets them.
        clock: Whose time it is.
        interval: Seconds between two items.
    """

    def __init__(
        self, observer: Serialized[str], clock: abc.SchedulerBase, interval: float
    ) -> None:
        self.timer = SerialDisposable()
        self._observer = observer
        self._clock = clock
        self._interval = interval
        self._lock = RLock()  # the timer's thread may be another one than the source's
        self._words: deque[str] = deque()
        self._paused = False
        self._ended = False

    def on_next(self, word: str) -> None:
        with self._lock:
            self._words.append(word)
            if not self._paused:
                self._release()

    def on_error(self, error: Exception) -> None:
        with self._lock:
            if self._words:
                self._observer.on_next(self._take(len(self._words)))
            self._observer.on_error(error)

    def on_completed(self) -> None:
        with self._lock:
            self._ended = True
            if not self._words:
                self._observer.on_completed()

    def _release(self, *_: Any) -> None:
        with self._lock:
            self._paused = bool(self._words)
            if not self._words:
                return
            text = self._take(-(-len(self._words) // CATCH_UP))
            # The next one first: an observer that raises, and so leaves, ends it.
            self.timer.disposable = self._clock.schedule_relative(self._interval, self._release)
            self._observer.on_next(text)
            if self._ended and not self._words:
                self._observer.on_completed()

    def _take(self, count: int) -> str:
        return "".join(self._words.popleft() for _ in range(count))
