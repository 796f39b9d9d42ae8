"""The operator `coalesce`: fewer, larger chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reactivex import Observable, abc, compose
from reactivex import operators as ops

from mellea_rx.core.arguments import require_seconds
from mellea_rx.core.chunk import Chunk, as_chunk
from mellea_rx.core.fold import Fold
from mellea_rx.core.observers import SerializedObserver
from mellea_rx.operators.timed import TimedObserver, timed_operator

__all__ = ["coalesce"]


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
        self._fold = Fold()

    def on_next(self, item: Chunk) -> None:
        with self._lock:
            opens = not self._fold
            self._fold.add(item)
        if opens:
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
            if self._fold:
                self._observer.on_next(self._fold.take())
