"""Operators on the timing of chunks: `coalesce`, `smooth` and `chunk_timeout`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from threading import RLock
from typing import Any, Generic, NamedTuple, TypeVar

from reactivex import Observable, abc, compose
from reactivex import operators as ops
from reactivex.disposable import Disposable, SerialDisposable

from mellea_rx.core.runtime.schedulers import scheduler_for
from mellea_rx.core.streams.buffers import ChunkBuffer, TextBuffer
from mellea_rx.core.streams.observable import SerializedObserver, Stream
from mellea_rx.core.types.chunk import Chunk, as_chunk
from mellea_rx.core.types.validation import require_seconds
from mellea_rx.errors import (
    FirstTokenTimeoutError,
    GenerationTimeoutError,
    IdleTimeoutError,
    InvalidInputError,
    TotalTimeoutError,
)
from mellea_rx.operators.text import by_word

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


def coalesce(
    window: float, *, scheduler: abc.SchedulerBase | None = None
) -> Callable[[Observable[object]], Observable[Chunk]]:
    """Join all chunks of a time window into one: their text, and their other fields.

    A window opens with a chunk and closes `window` seconds later. So no chunk is delayed for
    longer, and no timer runs while nothing arrives. At the end of the source, and before its error,
    the open window is emitted at once.

        source:        -a-b-c--------d-e-|
        coalesce(6):   -------abc--------(de|)

    Example:
        >>> import reactivex as rx
        >>> _ = rx.of("a", "b").pipe(coalesce(0.1)).subscribe(lambda chunk: print(chunk.text))
        ab

    Args:
        window: The length of a window, in seconds.
        scheduler: The clock; by default, that of the place where chunks are delivered.

    Returns:
        An operator that takes chunks or strings.

    Raises:
        InvalidInputError: `window` is not a positive number of seconds.
    """
    window = require_seconds("window", window)
    windows: Callable[[Observable[Chunk]], Observable[Chunk]] = timed_operator(
        lambda observer, clock: _Windows(observer, clock, window), scheduler
    )
    return compose(ops.map(as_chunk), windows)


class _Windows(TimedObserver[Chunk, Chunk]):
    """Chunks in, one chunk for each window out."""

    def __init__(
        self, observer: SerializedObserver[Chunk], clock: abc.SchedulerBase, window: float
    ) -> None:
        super().__init__(observer, clock)
        self._window = window
        self._fold = ChunkBuffer()

    def on_next(self, item: Chunk) -> None:
        with self._lock:
            opens = not self._fold
            self._fold.join(item)
        if opens and self._fold:
            # Without the lock: a scheduler may hold its own lock while it calls `_close`, and
            # takes that lock here.
            self.timer.disposable = self._clock.schedule_relative(self._window, self._close)

    def on_error(self, error: Exception) -> None:
        with self._lock:
            self._close()
            super().on_error(error)

    def on_completed(self) -> None:
        with self._lock:
            self._close()
            super().on_completed()

    def _close(self, *_: Any) -> None:
        with self._lock:
            while self._fold:
                self._observer.on_next(self._fold.take())


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


T = TypeVar("T")


def chunk_timeout(
    *,
    first: float | None = None,
    idle: float | None = None,
    total: float | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Callable[[Observable[T]], Observable[T]]:
    """End a stream that exceeds a time limit, and dispose its source.

    Only content counts (text, thinking, tool calls, and the arguments of a tool call while they are
    generated): a chunk without content neither begins an answer nor ends a silence. The error has
    the text so far.

        source:                  -a--b-----------c-|
        chunk_timeout(idle=5):   -a--b----#

    Example:
        >>> import reactivex as rx
        >>> from reactivex.testing import TestScheduler
        >>> time = TestScheduler()
        >>> patient = chunk_timeout(first=30, scheduler=time)
        >>> _ = rx.never().pipe(patient).subscribe(print, print)
        >>> time.advance_by(30)
        no content arrived within 30 s (chunk_timeout's `first`)

    Args:
        first: Seconds from the subscription to the first content.
        idle: Seconds from content to content, and to the end.
        total: Seconds from the subscription to the end.
        scheduler: The clock; by default, that of the place where chunks are delivered.

    Returns:
        An operator that takes chunks or strings. It fails with `FirstTokenTimeoutError`,
        `IdleTimeoutError` or `TotalTimeoutError`. A limit of None does not apply.

    Raises:
        InvalidInputError: A limit is not a positive number of seconds, or all are None.
    """
    limits = {"first": first, "idle": idle, "total": total}
    given = {
        name: require_seconds(name, value) for name, value in limits.items() if value is not None
    }
    if not given:
        raise InvalidInputError("chunk_timeout needs `first`, `idle` or `total`, in seconds")

    return timed_operator(lambda observer, clock: _Limits(observer, clock, given), scheduler)


class _Deadline(NamedTuple):
    """The time at which a limit is exceeded, and the limit's name."""

    at: float
    name: str


class _Limits(TimedObserver[T, T]):
    """The limits of one subscription, with one timer.

    A chunk does not move the timer, which would cost more than the chunk does. When the timer fires
    early for that reason, it is set anew.

    Args:
        observer: The subscriber.
        clock: The scheduler of the timer.
        limits: Seconds, by the names of `chunk_timeout`'s parameters.
    """

    def __init__(
        self, observer: SerializedObserver[T], clock: abc.SchedulerBase, limits: dict[str, float]
    ) -> None:
        super().__init__(observer, clock)
        self._limits = limits
        self._text = TextBuffer()
        self._has_begun = False
        self._started = self._last = self._now()
        self._set_timer()

    def _now(self) -> float:
        return self._clock.to_seconds(self._clock.now)

    def _deadline(self) -> _Deadline | None:
        """The earliest deadline, if nothing more arrives."""
        since = {"idle" if self._has_begun else "first": self._last, "total": self._started}
        limits = self._limits
        deadlines = [
            _Deadline(at + limits[name], name) for name, at in since.items() if name in limits
        ]
        return min(deadlines, default=None)

    def _set_timer(self) -> None:
        deadline = self._deadline()
        if deadline is not None:
            pause = deadline.at - self._now()
            self.timer.disposable = self._clock.schedule_relative(pause, self._on_timer)

    def _on_timer(self, *_: Any) -> None:
        with self._lock:
            deadline = self._deadline()
            if deadline is None or self._now() < deadline.at:
                self._set_timer()
                return
            self._observer.on_error(self._error(deadline.name))

    def _error(self, name: str) -> GenerationTimeoutError:
        error, what = _ERRORS[name]
        limit = f"{self._limits[name]:g} s (chunk_timeout's `{name}`)"
        return error(f"{what} within {limit}", text=str(self._text))

    def on_next(self, item: T) -> None:
        with self._lock:
            if item or (isinstance(item, Chunk) and item.arguments_size):
                try:
                    self._text.add(str(item))
                except Exception as error:
                    self._observer.on_error(error)
                    return
                self._restart_silence()
            self._observer.on_next(item)

    def _restart_silence(self) -> None:
        self._last = self._now()
        if not self._has_begun:
            self._has_begun = True
            self._set_timer()


_ERRORS: dict[str, tuple[type[GenerationTimeoutError], str]] = {
    "first": (FirstTokenTimeoutError, "no content arrived"),
    "idle": (IdleTimeoutError, "the answer stalled: no further content arrived"),
    "total": (TotalTimeoutError, "the answer did not end"),
}
