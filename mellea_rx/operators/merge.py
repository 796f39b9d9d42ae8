"""Several sources as one stream."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, SingleAssignmentDisposable

from mellea_rx.core.arguments import require_positive_int
from mellea_rx.operators.sources import Combined, Opening, Source, branches
from mellea_rx.operators.tagged import Tagged

__all__ = ["concat", "lanes", "merge"]

T = TypeVar("T")
S = TypeVar("S", bound=Observable[Any])


def merge(*sources: Source[S], max_concurrent: int | None = None) -> Observable[Tagged[S]]:
    """Chunks of all sources as they come, each with whose it is.

        a:             --1-----2---|
        b:             ----x-y---z---|
        merge(a, b):   --1-x-y-2-z---|

    Each source keeps its order, and nothing is lost. It fails with the first failure. When it is
    left, or fails, thunks that nobody else takes are cancelled.

    Example:
        >>> import reactivex as rx
        >>> merge(rx.of("a", "b"), rx.of("c")).subscribe(lambda i: print(i.index, i)).dispose()
        0 a
        0 b
        1 c

    Args:
        sources: Thunks, cold calls and other Observables; coroutines that give one, which are
            started by the subscription.
        max_concurrent: How many are subscribed to at once; None for all. (A thunk runs anyway.)

    Returns:
        An Observable of `Tagged`; complete when all are.

    Raises:
        InvalidInputError: Something that is no source, or `max_concurrent` below 1.
    """
    opened = branches("merge", sources)
    limit = (
        None if max_concurrent is None else require_positive_int("max_concurrent", max_concurrent)
    )

    def make(opening: Opening) -> Observable[Tagged[S]]:
        return lanes([each.chunks(opening) for each in opened], limit)

    return Combined(opened, make)


def concat(*sources: Source[S]) -> Observable[Tagged[S]]:
    """Chunks of the first source, then those of the second, and so on, each with whose it is.

        a:              --1---2---|
        b:              -x-y-|
        concat(a, b):   --1---2----x-y-|

    Thunks run at once, and a later one's text waits for its turn; cold calls and coroutines start
    in their turn. It is `merge(..., max_concurrent=1)`.

    Example:
        >>> import reactivex as rx
        >>> concat(rx.of("a"), rx.of("b")).subscribe(lambda item: print(item)).dispose()
        a
        b

    Args:
        sources: As those of `merge`.

    Returns:
        An Observable of `Tagged`; complete when all are.

    Raises:
        InvalidInputError: Something that is no source.
    """
    opened = branches("concat", sources)

    def make(opening: Opening) -> Observable[Tagged[S]]:
        return lanes([each.chunks(opening) for each in opened], 1)

    return Combined(opened, make)


def lanes(sources: Sequence[Observable[T]], limit: int | None) -> Observable[T]:
    """All of them merged, so many at once; each end starts the next one there and then.

    The observer has to serialize: sources may call it on several threads.

    Args:
        sources: Subscribed to in their order.
        limit: How many at once; None for all.
    """

    def subscribe(
        observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        return _Lanes(sources, observer, scheduler).begin(limit or max(1, len(sources)))

    return Observable(subscribe)


class _Lanes(Generic[T]):
    """One subscription to several sources, so many at once."""

    def __init__(
        self,
        sources: Sequence[Observable[T]],
        observer: abc.ObserverBase[T],
        scheduler: abc.SchedulerBase | None,
    ) -> None:
        self._waiting = iter(sources)
        self._observer = observer
        self._scheduler = scheduler
        self._group = CompositeDisposable()
        # The lock keeps the counts of sources that end on several threads at a time. Nobody is
        # called with it.
        self._lock = threading.Lock()
        self._room = 0
        self._running = 0
        self._is_filling = False
        self._is_over = False

    def begin(self, limit: int) -> abc.DisposableBase:
        """Subscribe to the first of them; returns what ends it."""
        self._fill(limit)
        return self._group

    def _fill(self, room: int) -> None:
        # Whoever is at it goes on for those that end meanwhile, in a loop: no source is lost, and
        # no number of sources that end at once makes the stack deeper.
        with self._lock:
            self._room += room
            if self._is_filling:
                return
            self._is_filling = True
        while (source := self._next()) is not None:
            self._subscribe(source)

    def _next(self) -> Observable[T] | None:
        """The source to subscribe to now; None when there is no room, or no more of them."""
        with self._lock:
            source = None
            if self._room and not self._group.is_disposed:
                source = next(self._waiting, None)
            if source is None:
                self._is_filling = False
                is_over = self._room > 0 and self._running == 0 and not self._is_over
                self._is_over = self._is_over or is_over
            else:
                self._room -= 1
                self._running += 1
                is_over = False
        if is_over and not self._group.is_disposed:
            self._observer.on_completed()
        return source

    def _subscribe(self, source: Observable[T]) -> None:
        lane = SingleAssignmentDisposable()
        self._group.add(lane)

        def completed() -> None:
            self._group.remove(lane)
            with self._lock:
                self._running -= 1
            self._fill(1)

        lane.disposable = source.subscribe(
            self._observer.on_next, self._observer.on_error, completed, scheduler=self._scheduler
        )
