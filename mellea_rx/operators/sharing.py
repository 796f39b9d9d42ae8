"""Operators that share one stream: `tee` for several readers, `observe` for a side channel."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar, cast

import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import Disposable, SingleAssignmentDisposable

from mellea_rx.core.runtime.delivery import dispatcher_for
from mellea_rx.core.runtime.logs import FunctionRaised, log
from mellea_rx.core.streams.buffers import ChunkBuffer
from mellea_rx.core.streams.chunk_broadcast import ChunkBroadcast
from mellea_rx.core.streams.generation import as_ours, drop_frames
from mellea_rx.core.streams.observable import Stream, is_for_the_loop, stream_of
from mellea_rx.core.streams.subscriptions import ObserverSubscription
from mellea_rx.core.types.chunk import Chunk, as_chunk
from mellea_rx.core.types.validation import require_positive_int
from mellea_rx.errors import GenerationCancelledError, InvalidInputError


def tee(
    n: int, *, scheduler: abc.SchedulerBase | None = None
) -> Callable[[Observable[object]], tuple[Observable[Chunk], ...]]:
    """`n` observables over one subscription of the source.

    The first subscription subscribes to the source, and disposing the last one disposes that; later
    subscribers get the text so far, then a `GenerationCancelledError`. A late subscriber gets the
    text so far as one chunk. A slow subscriber delays no other one: it gets chunks joined, so the
    memory is the text and not the chunks.

    Each subscriber is called on the loop or thread where it subscribed, like a thunk's subscribers.
    The source runs where the first one subscribed, but not on that one's scheduler, which may be
    slow.

        source:                        -a--b----c--|
        tee(2)(source)[0]:             -a--b----c--|
        second_at(5, tee(2))(source):  -----ab--c--|

    Example:
        >>> import reactivex as rx
        >>> left, right = rx.of("a", "b").pipe(tee(2))
        >>> str(left.run()), str(right.run())
        ('ab', 'ab')

    Args:
        n: Number of observables.
        scheduler: The scheduler of the subscription to the source.

    Returns:
        An operator for streams of chunks or strings. An error of the source that is not one of this
        library's becomes an `UnexpectedError` with its cause, as in a thunk.

    Raises:
        InvalidInputError: `n` is not an int of 1 or more.
    """
    n = require_positive_int("n", n)

    def operator(source: Observable[object]) -> tuple[Observable[Chunk], ...]:
        shared = _Shared(source.pipe(ops.map(as_chunk)), scheduler)
        return tuple(Stream(shared.subscribe) for _ in range(n))

    return operator


class _Shared:
    """One subscription to a source, shared by any number of subscribers.

    Args:
        source: Subscribed to once, with the first subscriber.
        scheduler: The scheduler of that subscription.
    """

    def __init__(self, source: Observable[Chunk], scheduler: abc.SchedulerBase | None) -> None:
        self._source = source
        self._scheduler = scheduler
        self._broadcast = ChunkBroadcast()
        self._subscription: SingleAssignmentDisposable | None = None
        # Guards the two below: of subscribers that come at once, on any threads, one is the first.
        self._lock = Lock()
        self._count = 0

    def subscribe(
        self, observer: abc.ObserverBase[Chunk], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        """Add a subscriber."""
        dispatcher = dispatcher_for(scheduler)
        pushed = ObserverSubscription(
            self._broadcast, observer, dispatcher, ChunkBuffer(), keep=self
        )
        with self._lock:
            self._count += 1
            is_first = self._subscription is None
            subscription = self._subscription = self._subscription or SingleAssignmentDisposable()
        if is_first:
            subscription.disposable = self._source.subscribe(
                self._broadcast.take, self._fail, self._complete, scheduler=self._scheduler
            )

        def leave() -> None:
            pushed.dispose()
            self._leave(subscription)

        return Disposable(leave)

    def _complete(self) -> None:
        self._broadcast.end()

    def _fail(self, error: Exception) -> None:
        ours = as_ours(error)
        drop_frames(ours)
        ours.text = ours.text or self._broadcast.answer().text
        self._broadcast.end(ours)

    def _leave(self, subscription: abc.DisposableBase) -> None:
        with self._lock:
            self._count -= 1
            is_last = not self._count
        if is_last:
            self._fail(
                GenerationCancelledError("everybody who took from this tee left before its end")
            )
            subscription.dispose()


T = TypeVar("T")


def observe(
    sink: abc.ObserverBase[Any] | Callable[[T], object],
) -> Callable[[Observable[T]], Observable[T]]:
    """Call `sink` with each item, and emit the stream unchanged.

    It is Rx's `do_action`, except that an exception of the sink does not end the stream: it is
    logged (logger `mellea_rx`), and the sink is not called any more for this subscription. The sink
    is called with an item before the subscriber is.

        source:           -a-b-c-|
        observe(print):   -a-b-c-|

    Example:
        >>> import reactivex as rx
        >>> seen = []
        >>> _ = rx.of("a", "b").pipe(observe(seen.append)).subscribe()
        >>> seen
        ['a', 'b']

    Args:
        sink: A function that takes items, or an observer (such as a `Subject`), which gets the
            terminal too.

    Returns:
        An operator on any stream.

    Raises:
        InvalidInputError: `sink` is neither a function nor an observer.
    """
    on_next = getattr(sink, "on_next", sink)
    if not callable(on_next):
        raise InvalidInputError(f"sink must be a function or an observer, not {sink!r}")
    on_error = getattr(sink, "on_error", None)
    on_completed = getattr(sink, "on_completed", None)

    def operator(source: Observable[T]) -> Observable[T]:
        def watched(_: abc.SchedulerBase) -> Observable[T]:
            guard = _Guard()
            actions = [guard.around(each) for each in (on_next, on_error, on_completed)]
            return source.pipe(cast("Any", ops.do_action(*actions)))

        return stream_of(rx.defer(watched))

    return operator


class _Guard:
    """Calls the functions of one sink until one of them raises."""

    def __init__(self) -> None:
        self._raised = False

    def around(self, function: Callable[..., object] | None) -> Callable[..., None] | None:
        """Return `function` with its exceptions logged; None for None."""
        if function is None:
            return None

        def call(*args: Any) -> None:
            if self._raised:
                return
            try:
                function(*args)
            except BaseException as error:
                self._raised = True
                text = "a sink raised in observe(); it gets nothing more of this stream"
                log(FunctionRaised(text, error))
                if is_for_the_loop(error):
                    raise

        return call
