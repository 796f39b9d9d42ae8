"""Limits on how long an answer may keep one waiting, each with an error of its own."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Any, NamedTuple, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable, SerialDisposable

from mellea_rx.core.arguments import require_seconds
from mellea_rx.core.chunk import Chunk
from mellea_rx.core.fold import TextBuffer
from mellea_rx.core.observers import Serialized
from mellea_rx.core.stream import Stream
from mellea_rx.core.timers import scheduler_for
from mellea_rx.errors import (
    FirstTokenTimeoutError,
    GenerationTimeoutError,
    IdleTimeoutError,
    InvalidInputError,
    TotalTimeoutError,
)

__all__ = ["chunk_timeout"]

T = TypeVar("T")


def chunk_timeout(
    *,
    first: float | None = None,
    idle: float | None = None,
    total: float | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Callable[[Observable[T]], Observable[T]]:
    """End a stream that takes too long, and its source with it.

    Only content counts (text, thinking, tool calls, and what is being written of one): a chunk
    without any neither begins an answer nor breaks a silence. The error has the text so far.

        source:                  -a--b-----------c-|
        chunk_timeout(idle=5):   -a--b----#

    Example:
        >>> import reactivex as rx
        >>> from reactivex.testing import TestScheduler
        >>> time = TestScheduler()
        >>> patient = chunk_timeout(first=30, scheduler=time)
        >>> _ = rx.never().pipe(patient).subscribe(print, print)
        >>> time.advance_by(30)
        nothing of the answer came within 30 s (chunk_timeout's `first`)

    Args:
        first: Seconds from the subscription to the first content.
        idle: Seconds from content to content, and to the end.
        total: Seconds from the subscription to the end.
        scheduler: Whose time it is; by default where the chunks are delivered.

    Returns:
        An operator that fails with `FirstTokenTimeoutError`, `IdleTimeoutError` or
        `TotalTimeoutError`; a limit that is not given is none.

    Raises:
        InvalidInputError: A limit is no time, or none is given.
    """
    limits = {"first": first, "idle": idle, "total": total}
    given = {
        name: require_seconds(name, value) for name, value in limits.items() if value is not None
    }
    if not given:
        raise InvalidInputError("chunk_timeout needs `first`, `idle` or `total`, in seconds")

    def operator(source: Observable[T]) -> Observable[T]:
        def subscribe(
            observer: abc.ObserverBase[T], scheduler_: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            subscriber = Serialized(observer)
            watch = _Watch(subscriber, scheduler_for(scheduler, scheduler_), given)
            subscriber.owns(watch.timer)
            watch.set()
            subscriber.owns(
                source.subscribe(
                    watch.on_next, watch.on_error, watch.on_completed, scheduler=scheduler_
                )
            )
            return Disposable(subscriber.dispose)

        return Stream(subscribe)

    return operator


class _Due(NamedTuple):
    """When a limit is over, and what it is."""

    at: float
    name: str


class _Watch:
    """One timer a stream, moved when it is due and not with each chunk.

    Args:
        observer: Gets what comes in time.
        clock: Whose time it is.
        limits: Seconds, by name.
    """

    def __init__(
        self, observer: Serialized[Any], clock: abc.SchedulerBase, limits: dict[str, float]
    ) -> None:
        self.timer = SerialDisposable()
        self._observer = observer
        self._clock = clock
        self._limits = limits
        self._lock = RLock()  # the timer's thread may be another one than the source's
        self._said = TextBuffer()
        self._began = False
        self._started = self._last = self._now()

    def _now(self) -> float:
        return self._clock.to_seconds(self._clock.now)

    def _due(self) -> _Due | None:
        """The limit that is over first, if nothing comes."""
        since = {"idle" if self._began else "first": self._last, "total": self._started}
        limits = self._limits
        dues = [_Due(at + limits[name], name) for name, at in since.items() if name in limits]
        return min(dues, default=None)

    def set(self) -> None:
        """Set the timer to what is due next."""
        due = self._due()
        if due is not None:
            self.timer.disposable = self._clock.schedule_relative(due.at - self._now(), self._ring)

    def _ring(self, *_: Any) -> None:
        with self._lock:
            due = self._due()
            if due is None or self._now() < due.at:
                self.set()
                return
            self._observer.on_error(self._error(due.name))

    def _error(self, name: str) -> GenerationTimeoutError:
        kind, what = _TOLD[name]
        limit = f"{self._limits[name]:g} s (chunk_timeout's `{name}`)"
        return kind(f"{what} within {limit}", text=str(self._said))

    def on_next(self, item: object) -> None:
        with self._lock:
            if item or (isinstance(item, Chunk) and item.arguments_size):
                try:
                    self._said.add(str(item))
                except Exception as error:
                    self._observer.on_error(error)
                    return
                self._alive()
            self._observer.on_next(item)

    def _alive(self) -> None:
        self._last = self._now()
        if not self._began:
            self._began = True
            self.set()

    def on_error(self, error: Exception) -> None:
        with self._lock:
            self._observer.on_error(error)

    def on_completed(self) -> None:
        with self._lock:
            self._observer.on_completed()


_TOLD: dict[str, tuple[type[GenerationTimeoutError], str]] = {
    "first": (FirstTokenTimeoutError, "nothing of the answer came"),
    "idle": (IdleTimeoutError, "the answer stopped coming: nothing more of it came"),
    "total": (TotalTimeoutError, "the answer did not end"),
}
