"""The operator `chunk_timeout`: time limits on a stream, each with an error type of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from reactivex import Observable, abc

from mellea_rx.core.arguments import require_seconds
from mellea_rx.core.chunk import Chunk
from mellea_rx.core.fold import TextBuffer
from mellea_rx.core.observers import SerializedObserver
from mellea_rx.errors import (
    FirstTokenTimeoutError,
    GenerationTimeoutError,
    IdleTimeoutError,
    InvalidInputError,
    TotalTimeoutError,
)
from mellea_rx.operators.timed import TimedObserver, timed_operator

__all__ = ["chunk_timeout"]

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
