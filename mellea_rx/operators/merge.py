"""The combinators `merge` and `concat`, and the merge with a limit that they are made of."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, SingleAssignmentDisposable

from mellea_rx.core.arguments import require_positive_int
from mellea_rx.operators.sources import (
    CombinatorSource,
    CombinedObservable,
    Source,
    SubscriptionContext,
    combinator_sources,
)
from mellea_rx.operators.tagged import Tagged

__all__ = ["concat", "merge", "merged"]

T = TypeVar("T")
S = TypeVar("S", bound=Observable[Any])


def merge(*sources: Source[S], max_concurrent: int | None = None) -> Observable[Tagged[S]]:
    """Emit the chunks of all sources as they arrive, each with its source.

        a:             --1-----2---|
        b:             ----x-y---z---|
        merge(a, b):   --1-x-y-2-z---|

    Chunks of one source keep their order, and none is lost. It fails with the first failure. When
    it fails, or its subscription ends early, thunks that nothing else uses are cancelled.

    Example:
        >>> import reactivex as rx
        >>> merge(rx.of("a", "b"), rx.of("c")).subscribe(lambda i: print(i.index, i)).dispose()
        0 a
        0 b
        1 c

    Args:
        sources: Thunks, cold calls and other Observables; also coroutines that return one, which
            the subscription starts.
        max_concurrent: The number of sources that are subscribed to at once; None for all. (A
            thunk's call runs anyway.)

    Returns:
        An Observable of `Tagged`, which completes when all sources have completed.

    Raises:
        InvalidInputError: An argument is not a source, or `max_concurrent` is below 1.
    """
    return merged("merge", sources, max_concurrent, CombinatorSource.chunks)


def concat(*sources: Source[S]) -> Observable[Tagged[S]]:
    """Emit the chunks of the first source, then those of the second, and so on.

        a:              --1---2---|
        b:              -x-y-|
        concat(a, b):   --1---2----x-y-|

    It is `merge(..., max_concurrent=1)`. Thunks run at once, and the text of a later one is kept
    for its turn; cold calls and coroutines start when their turn comes.

    Example:
        >>> import reactivex as rx
        >>> concat(rx.of("a"), rx.of("b")).subscribe(lambda item: print(item)).dispose()
        a
        b

    Args:
        sources: As in `merge`.

    Returns:
        An Observable of `Tagged`, which completes when all sources have completed.

    Raises:
        InvalidInputError: An argument is not a source.
    """
    return merged("concat", sources, 1, CombinatorSource.chunks)


def merged(
    name: str,
    sources: tuple[Source[S], ...],
    max_concurrent: int | None,
    view: Callable[[CombinatorSource[S], SubscriptionContext], Observable[T]],
) -> Observable[T]:
    """Merge one view of each source, with a limit on concurrent subscriptions.

    Args:
        name: The combinator's name, for messages.
        sources: The combinator's arguments.
        max_concurrent: The combinator's argument of this name; None for all sources at once.
        view: Opens a source: `CombinatorSource.chunks` or `CombinatorSource.outcome`.

    Raises:
        InvalidInputError: An argument is not a source, or `max_concurrent` is below 1.
    """
    opened = combinator_sources(name, sources)
    limit = max(1, len(opened))
    if max_concurrent is not None:
        limit = require_positive_int("max_concurrent", max_concurrent)

    def make(context: SubscriptionContext) -> Observable[T]:
        views = [view(each, context) for each in opened]
        return Observable(lambda observer, _: _LimitedMerge(views, observer).begin(limit))

    return CombinedObservable(opened, make)


class _LimitedMerge(Generic[T]):
    """One subscription to several sources, with a limit on those that run at once.

    When a source completes, the next one is subscribed to in the same call.

    Args:
        sources: Subscribed to in their order.
        observer: Gets the items. It has to serialize: sources may call it on several threads.
    """

    def __init__(self, sources: Sequence[Observable[T]], observer: abc.ObserverBase[T]) -> None:
        self._waiting = iter(sources)
        self._observer = observer
        self._group = CompositeDisposable()
        # The lock guards the counts below: sources may complete on several threads at a time. No
        # source or observer is called with it held, since such a call may take locks of its own.
        self._lock = threading.Lock()
        self._room = 0
        self._running = 0
        self._is_filling = False
        self._is_over = False

    def begin(self, limit: int) -> abc.DisposableBase:
        """Subscribe to the first `limit` sources; return the disposable of all subscriptions."""
        self._fill(limit)
        return self._group

    def _fill(self, room: int) -> None:
        # Only one thread at a time subscribes; sources that complete meanwhile, on this or another
        # thread, only raise `_room`, and this loop subscribes to their successors. So no source is
        # skipped, and a long row of sources that complete at once does not deepen the stack.
        with self._lock:
            self._room += room
            if self._is_filling:
                return
            self._is_filling = True
        while (source := self._next()) is not None:
            self._subscribe(source)

    def _next(self) -> Observable[T] | None:
        """Return the next source to subscribe to; None when there is no room, or none is left.

        `_is_filling` is cleared in the same locked step that finds nothing to do. Cleared later,
        a source that completes in between would rely on a loop that has already ended.
        """
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
        subscription = SingleAssignmentDisposable()
        self._group.add(subscription)

        def completed() -> None:
            self._group.remove(subscription)
            with self._lock:
                self._running -= 1
            self._fill(1)

        subscription.disposable = source.subscribe(
            self._observer.on_next, self._observer.on_error, completed
        )
