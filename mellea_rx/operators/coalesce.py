"""Fewer, larger chunks: what comes within a window is one."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Any

from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import Disposable, SerialDisposable

from mellea_rx.core.arguments import require_seconds
from mellea_rx.core.chunk import Chunk, as_chunk
from mellea_rx.core.fold import Fold
from mellea_rx.core.observers import Serialized
from mellea_rx.core.stream import Stream
from mellea_rx.core.timers import scheduler_for

__all__ = ["coalesce"]


def coalesce(
    window: float, *, scheduler: abc.SchedulerBase | None = None
) -> Callable[[Observable[object]], Observable[Chunk]]:
    """All chunks of a window as one: their text joined, and whatever else came with them.

    A window opens with a chunk and closes `window` seconds later, so no chunk is late by more, and
    when nothing comes no timer runs. What waits at the end, or before an error, goes out then.

        source:        -a-b-c--------d-e-|
        coalesce(6):   -------abc--------(de|)

    Example:
        >>> import reactivex as rx
        >>> _ = rx.of("a", "b").pipe(coalesce(0.1)).subscribe(lambda chunk: print(chunk.text))
        ab

    Args:
        window: Seconds.
        scheduler: Whose time it is; by default where the chunks are delivered.

    Raises:
        InvalidInputError: `window` is no time.
    """
    window = require_seconds("window", window)

    def operator(source: Observable[object]) -> Observable[Chunk]:
        def subscribe(
            observer: abc.ObserverBase[Chunk], scheduler_: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            clock = scheduler_for(scheduler, scheduler_)
            subscriber = Serialized(observer)
            fold = Fold()
            lock = RLock()  # the timer's thread may be another one than the source's
            timer = SerialDisposable()
            subscriber.owns(timer)

            def close(*_: Any) -> None:
                with lock:
                    if fold:
                        subscriber.on_next(fold.take())

            def on_next(chunk: Chunk) -> None:
                with lock:
                    opens = not fold
                    fold.add(chunk)
                if opens:
                    timer.disposable = clock.schedule_relative(window, close)

            def on_error(error: Exception) -> None:
                with lock:
                    close()
                    subscriber.on_error(error)

            def on_completed() -> None:
                with lock:
                    close()
                    subscriber.on_completed()

            chunks = source.pipe(ops.map(as_chunk))
            subscriber.owns(chunks.subscribe(on_next, on_error, on_completed, scheduler=scheduler_))
            return Disposable(subscriber.dispose)

        return Stream(subscribe)

    return operator
