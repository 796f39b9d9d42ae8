"""Several readers of one stream, each at its own pace."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import Disposable, SingleAssignmentDisposable

from mellea_rx.core.arguments import require_positive_int
from mellea_rx.core.chunk import Chunk, as_chunk
from mellea_rx.core.consumers import Subscriber
from mellea_rx.core.fold import Fold
from mellea_rx.core.generation import Generation, as_ours
from mellea_rx.core.outlet import outlet_for
from mellea_rx.core.stream import Stream

__all__ = ["tee"]


def tee(
    n: int, *, scheduler: abc.SchedulerBase | None = None
) -> Callable[[Observable[object]], tuple[Observable[Chunk], ...]]:
    """`n` observables over one subscription of the source.

    The source is subscribed to with the first of them, and left when the last subscription is
    disposed; who subscribes after that gets the text so far, then a `GenerationCancelledError`. Who
    subscribes late gets the text so far as one chunk. Nobody waits for a slow one: it gets chunks
    joined, so the memory is the text and not the chunks.

    Each is called where it subscribed, as a thunk's subscribers are; the source is where the first
    one subscribed, but not on a scheduler of that one's own, which may be slow.

        source:                        -a--b----c--|
        tee(2)(source)[0]:             -a--b----c--|
        second_at(5, tee(2))(source):  -----ab--c--|

    Example:
        >>> import reactivex as rx
        >>> left, right = rx.of("a", "b").pipe(tee(2))
        >>> str(left.run()), str(right.run())
        ('ab', 'ab')

    Args:
        n: How many.
        scheduler: What the source is subscribed to with.

    Returns:
        An operator that takes chunks or strings. An error of the source that is not one of this
        library's comes as an `UnexpectedError` with its cause, as from a thunk.

    Raises:
        InvalidInputError: `n` is not an int of 1 or more.
    """
    n = require_positive_int("n", n)

    def operator(source: Observable[object]) -> tuple[Observable[Chunk], ...]:
        shared = _Shared(source.pipe(ops.map(as_chunk)), scheduler)
        return tuple(Stream(shared.subscribe) for _ in range(n))

    return operator


class _Shared:
    """One subscription of a source, and who takes from it.

    Args:
        source: Subscribed to once, with the first taker.
        scheduler: What it is subscribed to with.
    """

    def __init__(self, source: Observable[Chunk], scheduler: abc.SchedulerBase | None) -> None:
        self._source = source
        self._scheduler = scheduler
        self._generation = Generation(live=True)
        self._subscription: SingleAssignmentDisposable | None = None
        self._lock = Lock()
        self._takers = 0

    def subscribe(
        self, observer: abc.ObserverBase[Chunk], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        """One more taker."""
        outlet = outlet_for(scheduler)
        subscriber = Subscriber(self._generation, observer, outlet, Fold(), keep=self)
        with self._lock:
            self._takers += 1
            first = self._subscription is None
            subscription = self._subscription = self._subscription or SingleAssignmentDisposable()
        if first:
            subscription.disposable = self._source.subscribe(
                self._generation.push, self._fail, self._complete, scheduler=self._scheduler
            )

        def leave() -> None:
            subscriber.dispose()
            self._leave(subscription)

        return Disposable(leave)

    def _fail(self, error: Exception) -> None:
        self._generation.end(as_ours(error))

    def _complete(self) -> None:
        self._generation.end(None)

    def _leave(self, subscription: abc.DisposableBase) -> None:
        with self._lock:
            self._takers -= 1
            last = not self._takers
        if last:
            self._generation.cancel("everybody who took from this tee left before its end")
            subscription.dispose()
