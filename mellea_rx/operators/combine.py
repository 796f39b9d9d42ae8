"""Operators that combine several sources into one Observable.

`merge`, `concat`, `as_completed`, `gather`, `zip` and `combine_latest` take thunks, cold calls,
other Observables and coroutines.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import CompositeDisposable, SingleAssignmentDisposable

from mellea_rx.core.runtime.stored_errors import raisable
from mellea_rx.core.types.validation import require_positive_int
from mellea_rx.operators.items import Outcome, Tagged
from mellea_rx.operators.sources import (
    CombinatorSource,
    CombinedObservable,
    Source,
    SubscriptionContext,
    combinator_sources,
)

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
        self._capacity = 0
        self._running = 0
        self._is_filling = False
        self._is_over = False

    def begin(self, limit: int) -> abc.DisposableBase:
        """Subscribe to the first `limit` sources; return the disposable of all subscriptions."""
        self._fill(limit)
        return self._group

    def _fill(self, capacity: int) -> None:
        # Only one thread at a time subscribes; sources that complete meanwhile, on this or another
        # thread, only raise `_capacity`, and this loop subscribes to their successors. So no source
        # is skipped, and a long row of sources that complete at once does not deepen the stack.
        with self._lock:
            self._capacity += capacity
            if self._is_filling:
                return
            self._is_filling = True
        while (source := self._next()) is not None:
            self._subscribe(source)

    def _next(self) -> Observable[T] | None:
        """Return the next source to subscribe to; None when there is no capacity, or none is left.

        `_is_filling` is cleared in the same locked step that finds nothing to do. Cleared later,
        a source that completes in between would rely on a loop that has already ended.
        """
        with self._lock:
            source = None
            if self._capacity and not self._group.is_disposed:
                source = next(self._waiting, None)
            if source is None:
                self._is_filling = False
                is_over = self._capacity > 0 and self._running == 0 and not self._is_over
                self._is_over = self._is_over or is_over
            else:
                self._capacity -= 1
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


def as_completed(*sources: Source[S], max_concurrent: int | None = None) -> Observable[Outcome[S]]:
    """Emit each source's outcome, in the order in which they end.

        a:                    --1-----2---|
        b:                    ----x-y-#
        as_completed(a, b):   --------xy--(12|)

    It never fails: a source that fails is an item too, with its `error` and the text that it
    emitted before. When the subscription ends early, thunks that nothing else uses are cancelled.

    Example:
        >>> import reactivex as rx
        >>> ended = as_completed(rx.of("Once ", "upon"), rx.throw(ValueError("no")))
        >>> ended.subscribe(lambda item: print(item.index, repr(str(item)), item.error)).dispose()
        1 '' no
        0 'Once upon' None

    Args:
        sources: As in `merge`.
        max_concurrent: The number of sources that are subscribed to at once; None for all.

    Returns:
        An Observable with one `Outcome` for each source.

    Raises:
        InvalidInputError: An argument is not a source, or `max_concurrent` is below 1.
    """
    return merged("as_completed", sources, max_concurrent, CombinatorSource.outcome)


def gather(
    *sources: Source[S], max_concurrent: int | None = None
) -> Observable[tuple[Outcome[S], ...]]:
    """Emit the outcomes of all sources in one tuple, in their order; failures are outcomes too.

        a:              --1-----2---|
        b:              ----x-y-#
        gather(a, b):   ------------(12+xy|)

    Example:
        >>> import reactivex as rx
        >>> a, b = gather(rx.of("Once ", "upon"), rx.throw(ValueError("no"))).run()
        >>> a.value, b.error
        ('Once upon', ValueError('no'))

    Args:
        sources: As in `merge`.
        max_concurrent: The number of sources that are subscribed to at once; None for all.

    Returns:
        An Observable of one tuple, which never fails. Without sources, the tuple is empty.

    Raises:
        InvalidInputError: An argument is not a source, or `max_concurrent` is below 1.
    """
    return as_completed(*sources, max_concurrent=max_concurrent).pipe(
        ops.to_list(), ops.map(_in_order)
    )


def zip(*sources: Source[S], max_concurrent: int | None = None) -> Observable[tuple[str, ...]]:
    """Emit the whole texts of all sources in one tuple, in their order.

        a:           --1-----2---|
        b:           ----x-y-|
        zip(a, b):   ------------(12+xy|)

    It fails with the first failure. When it fails, or its subscription ends early, thunks that
    nothing else uses are cancelled. `gather` waits for all sources instead.

    Example:
        >>> import reactivex as rx
        >>> zip(rx.of("Once ", "upon"), rx.of("a time")).run()
        ('Once upon', 'a time')

    Args:
        sources: As in `merge`.
        max_concurrent: The number of sources that are subscribed to at once; None for all.

    Returns:
        An Observable of one tuple. Without sources, the tuple is empty.

    Raises:
        InvalidInputError: An argument is not a source, or `max_concurrent` is below 1.
    """
    return as_completed(*sources, max_concurrent=max_concurrent).pipe(
        ops.do_action(_raise_failure), ops.to_list(), ops.map(_texts)
    )


def _in_order(outcomes: list[Outcome[S]]) -> tuple[Outcome[S], ...]:
    return tuple(sorted(outcomes, key=lambda each: each.index))


def _raise_failure(outcome: Outcome[S]) -> None:
    if outcome.error is not None:
        raise raisable(outcome.error)


def _texts(outcomes: list[Outcome[S]]) -> tuple[str, ...]:
    return tuple(map(str, _in_order(outcomes)))


def combine_latest(*sources: Source[Observable[Any]]) -> Observable[tuple[str, ...]]:
    """Emit the texts so far of all sources whenever one of them grows, as a screen shows them.

        a:                      --1------2---|
        b:                      -----x-----|
        combine_latest(a, b):   +-1+-1+x-12+x|

    The first item holds empty texts. Each item holds the whole texts, so a text of n characters in
    k chunks takes O(n * k) time; a subscriber that is slower than the models gets fewer items. It
    fails with the first failure. When it fails, or its subscription ends early, thunks that nothing
    else uses are cancelled.

    Example:
        >>> import reactivex as rx
        >>> combine_latest(rx.of("a", "b"), rx.of("x")).subscribe(print).dispose()
        ('', '')
        ('a', '')
        ('ab', '')
        ('ab', 'x')

    Args:
        sources: As in `merge`.

    Returns:
        An Observable of tuples, with one text for each source.

    Raises:
        InvalidInputError: An argument is not a source.
    """
    opened = combinator_sources("combine_latest", sources)
    empty = ("",) * len(sources)

    def grow(texts: tuple[str, ...], item: Tagged[Any]) -> tuple[str, ...]:
        at = item.index
        return (*texts[:at], texts[at] + str(item), *texts[at + 1 :])

    def make(context: SubscriptionContext) -> Observable[tuple[str, ...]]:
        chunks = rx.merge(*(each.chunks(context) for each in opened))
        with_text = chunks.pipe(ops.filter(lambda item: str(item) != ""))
        return rx.concat(rx.just(empty), with_text.pipe(ops.scan(grow, empty)))

    return CombinedObservable(opened, make)
