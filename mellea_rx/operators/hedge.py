"""The combinator `hedge`: a second request when the first is slow."""

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
from mellea_rx.operators.sources import (
    CombinatorSource,
    CombinedObservable,
    Source,
    SubscriptionContext,
    cancel_always,
    combinator_sources,
)
from mellea_rx.operators.tagged import Tagged

__all__ = ["hedge"]

S = TypeVar("S", bound=Observable[Any])


def hedge(
    *sources: Source[S], after: float, scheduler: abc.SchedulerBase | None = None
) -> Observable[Tagged[S]]:
    """Emit the first source with content; start the next one after each period of silence.

        a:                      ----------1-2-|
        b:                      --x-y-|
        hedge(a, b, after=4):   ------x-y-|

    The first source with content is chosen, and the others are cancelled, on their servers too.
    When a source fails before that, the next one is started at once; when the chosen one fails, the
    stream fails. It owns its sources: when its subscription ends, for whatever reason, those that
    still run are cancelled.

    Pass cold calls or coroutines, so that the second request is made only when it is needed: a
    thunk runs already. Without `ModelOption.STREAM`, a thunk has its first content when it is
    complete.

    Example:
        >>> import reactivex as rx
        >>> str(hedge(rx.never(), rx.of("Here."), after=0.01).run())
        'Here.'

    Args:
        sources: As in `merge`; at least one.
        after: The seconds without content after which the next source is started.
        scheduler: The clock; by default the scheduler of the subscription, else the event loop.

    Returns:
        An Observable of `Tagged`, all of one source. It fails with `NoAnswerError` when every
        source has failed before its first content.

    Raises:
        InvalidInputError: An argument is not a source, there is none, or `after` is not a positive
            number of seconds.
    """
    opened = combinator_sources("hedge", sources, least=1)
    pause = require_seconds("after", after)

    def make(context: SubscriptionContext) -> Observable[Tagged[S]]:
        silence = rx.timer(pause, scheduler=scheduler_for(scheduler, context.scheduler))
        return Observable(lambda observer, _: _Hedge(opened, context, silence, observer).begin())

    return CombinedObservable(opened, make, cancel_always)


class _Hedge(Generic[S]):
    """One subscription: starts sources, and forwards the first one with content.

    Args:
        sources: The sources, in the order in which they are started.
        context: The settings with which sources are opened.
        silence: Emits once, when the next source is due; subscribed to with each start.
        observer: Gets the chunks of the chosen source.
    """

    def __init__(
        self,
        sources: tuple[CombinatorSource[S], ...],
        context: SubscriptionContext,
        silence: Observable[int],
        observer: abc.ObserverBase[Tagged[S]],
    ) -> None:
        self._sources = sources
        self._context = context
        self._silence = silence
        self._observer = observer
        # Sources and the timer may call on several threads. The lock makes the choice of a source,
        # the start of the next one, and the calls of the observer serial: without it, two sources
        # could both be chosen. It is re-entrant, since a source may emit from within its
        # subscription.
        self._lock = threading.RLock()
        self._started: list[SingleAssignmentDisposable] = []
        self._timer = SerialDisposable()
        self._all = CompositeDisposable(self._timer)
        self._early = [Fold() for _ in sources]
        self._failures: dict[int, Exception] = {}
        self._chosen: int | None = None

    def begin(self) -> abc.DisposableBase:
        """Start the first source; return the disposable of all subscriptions and the timer."""
        self._start_next()
        return self._all

    def _start_next(self) -> None:
        with self._lock:
            index = len(self._started)
            is_decided = self._chosen is not None or self._all.is_disposed
            if is_decided or index == len(self._sources):
                return
            subscription = SingleAssignmentDisposable()
            self._started.append(subscription)
            self._all.add(subscription)
            # The timer is set before the source is subscribed to: a source that fails within
            # `subscribe` starts its successor, whose timer this one would replace if set later.
            if index + 1 < len(self._sources):
                self._timer.disposable = self._silence.subscribe(lambda _: self._start_next())
            subscription.disposable = (
                self._sources[index]
                .chunks(self._context)
                .subscribe(
                    partial(self._on_next, index),
                    partial(self._on_error, index),
                    partial(self._on_completed, index),
                )
            )

    def _on_next(self, index: int, item: Tagged[S]) -> None:
        with self._lock:
            if self._chosen is None:
                # A chunk without content (a model's name, usage) is kept for the first with some.
                self._early[index].add(item.chunk)
                if not item.chunk:
                    return
                self._choose(index)
                item = Tagged(index, item.source, self._early[index].take())
            if self._chosen == index:
                self._observer.on_next(item)

    def _on_error(self, index: int, error: Exception) -> None:
        with self._lock:
            if self._chosen == index:
                self._observer.on_error(error)
            elif self._chosen is None:
                self._failures[index] = error
                if len(self._failures) == len(self._sources):
                    self._observer.on_error(no_answer("hedge", self._failures))
                self._start_next()

    def _on_completed(self, index: int) -> None:
        with self._lock:
            if self._chosen is None:
                self._choose(index)
            if self._chosen == index:
                self._observer.on_completed()

    def _choose(self, index: int) -> None:
        self._chosen = index
        self._timer.dispose()
        for other, subscription in enumerate(self._started):
            if other != index:
                subscription.dispose()
        for source in self._sources:
            if source.index != index:
                source.retain(self._context).dispose()
