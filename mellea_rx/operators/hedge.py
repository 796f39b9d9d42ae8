"""A second request when the first is slow."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any, Generic, TypeVar

import reactivex as rx
from reactivex import Observable, abc
from reactivex.disposable import (
    CompositeDisposable,
    SerialDisposable,
    SingleAssignmentDisposable,
)

from mellea_rx.core.arguments import require_seconds
from mellea_rx.core.fold import Fold
from mellea_rx.core.timers import scheduler_for
from mellea_rx.operators.answers import no_answer
from mellea_rx.operators.sources import Branch, Combined, Opening, Source, branches, owned
from mellea_rx.operators.tagged import Tagged

__all__ = ["hedge"]

S = TypeVar("S", bound=Observable[Any])


def hedge(
    *sources: Source[S], after: float, scheduler: abc.SchedulerBase | None = None
) -> Observable[Tagged[S]]:
    """The first source to speak; each next one is asked when nobody has spoken for a while.

        a:                      ----------1-2-|
        b:                      --x-y-|
        hedge(a, b, after=4):   ------x-y-|

    The first content decides, and the others are cancelled, on their servers too. A source that
    fails before it is out, and the next one is asked at once; a failure after it ends the stream.
    It owns its sources: whatever ends it cancels those that run.

    For a second request to be made only when it is needed, give cold calls or coroutines: a thunk
    runs already. Without `ModelOption.STREAM` a thunk speaks when it is complete.

    Example:
        >>> import reactivex as rx
        >>> str(hedge(rx.never(), rx.of("Here."), after=0.01).run())
        'Here.'

    Args:
        sources: As those of `merge`; one at least.
        after: Seconds of silence after which the next one is asked.
        scheduler: Whose clock; by default the scheduler of the subscription, else the event loop.

    Returns:
        An Observable of `Tagged`, all of one source. It fails with `NoAnswerError` when every
        source has failed before it spoke.

    Raises:
        InvalidInputError: Something that is no source, none at all, or `after` is no time.
    """
    opened = branches("hedge", sources, least=1)
    pause = require_seconds("after", after)

    def make(opening: Opening) -> Observable[Tagged[S]]:
        slow = rx.timer(pause, scheduler=scheduler_for(scheduler, opening.scheduler))
        return Observable(lambda observer, _: _Hedge(opened, opening, slow, observer).begin())

    return Combined(opened, make, owned)


class _Hedge(Generic[S]):
    """One subscription: asks, and forwards the one that speaks first.

    Args:
        sources: In the order in which they are asked.
        opening: How.
        slow: Emits when it is time to ask the next one.
        observer: Gets the chunks of the one that speaks.
    """

    def __init__(
        self,
        sources: tuple[Branch[S], ...],
        opening: Opening,
        slow: Observable[int],
        observer: abc.ObserverBase[Tagged[S]],
    ) -> None:
        self._sources = sources
        self._opening = opening
        self._slow = slow
        self._observer = observer
        self._lock = threading.RLock()
        self._asked: list[SingleAssignmentDisposable] = []
        self._timer = SerialDisposable()
        self._all = CompositeDisposable(self._timer)
        self._unspoken = [Fold() for _ in sources]
        self._failures: dict[int, Exception] = {}
        self._chosen: int | None = None

    def begin(self) -> abc.DisposableBase:
        """Ask the first one; what ends it all."""
        self._ask_next()
        return self._all

    def _ask_next(self) -> None:
        with self._lock:
            index = len(self._asked)
            decided = self._chosen is not None or self._all.is_disposed
            if decided or index == len(self._sources):
                return
            asked = SingleAssignmentDisposable()
            self._asked.append(asked)
            self._all.add(asked)
            if index + 1 < len(self._sources):
                self._timer.disposable = self._slow.subscribe(lambda _: self._ask_next())
            asked.disposable = (
                self._sources[index]
                .chunks(self._opening)
                .subscribe(
                    partial(self._heard, index),
                    partial(self._failed, index),
                    partial(self._completed, index),
                )
            )

    def _heard(self, index: int, item: Tagged[S]) -> None:
        with self._lock:
            if self._chosen is None:
                self._unspoken[index].add(item.chunk)
                if not item.chunk:
                    return
                self._choose(index)
                item = Tagged(index, item.source, self._unspoken[index].take())
            if self._chosen == index:
                self._observer.on_next(item)

    def _failed(self, index: int, error: Exception) -> None:
        with self._lock:
            if self._chosen == index:
                self._observer.on_error(error)
            elif self._chosen is None:
                self._failures[index] = error
                if len(self._failures) == len(self._sources):
                    self._observer.on_error(no_answer("hedge", self._failures))
                self._ask_next()

    def _completed(self, index: int) -> None:
        with self._lock:
            if self._chosen is None:
                self._choose(index)
            if self._chosen == index:
                self._observer.on_completed()

    def _choose(self, index: int) -> None:
        self._chosen = index
        self._timer.dispose()
        for other, asked in enumerate(self._asked):
            if other != index:
                asked.dispose()
        for source in self._sources:
            if source.index != index:
                source.hold(self._opening).dispose()
