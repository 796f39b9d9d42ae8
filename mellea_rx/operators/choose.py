"""Operators that choose one answer of several sources: `race`, `fallback` and `hedge`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Generic, Literal, TypeVar

import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import (
    CompositeDisposable,
    SerialDisposable,
    SingleAssignmentDisposable,
)

from mellea_rx.core.runtime.schedulers import scheduler_for
from mellea_rx.core.streams.buffers import ChunkAccumulator
from mellea_rx.core.types.validation import (
    kind_of,
    require_choice,
    require_exceptions,
    require_seconds,
)
from mellea_rx.errors import BackendError, InvalidInputError, NoAnswerError
from mellea_rx.operators.items import Outcome, Tagged
from mellea_rx.operators.sources import (
    CombinatorSource,
    CombinedObservable,
    Source,
    SubscriptionContext,
    cancel_always,
    combinator_sources,
)


def no_answer(operator: str, errors: Mapping[int, Exception]) -> NoAnswerError:
    """Make the error for the case that no source had an acceptable answer.

    Args:
        operator: The operator's name, for the message.
        errors: The error of each source, by the source's index.
    """
    reasons = [
        f"{index + 1}. {type(error).__name__}: {error}" for index, error in sorted(errors.items())
    ]
    texts = [getattr(error, "text", "") for error in errors.values()]
    return NoAnswerError(
        f"{operator}: none of {len(errors)} sources gave an acceptable answer: "
        f"{'; '.join(reasons)}",
        errors=tuple(error for _, error in sorted(errors.items())),
        text=max(texts, key=len, default=""),
    )


S = TypeVar("S", bound=Observable[Any])


def race(
    *sources: Source[S], accept: Callable[[str], bool] | None = None
) -> Observable[Outcome[S]]:
    """Emit the first acceptable answer. The other calls are cancelled, on their servers too.

        a:            --1-----2-3---4-|
        b:            ----x-y-|
        race(a, b):   --------(xy|)

    It owns its sources: when its subscription ends, for whatever reason, those that still run are
    cancelled, even if they have other subscribers. A source that fails, or whose answer is not
    accepted, drops out.

    Example:
        >>> import reactivex as rx
        >>> str(race(rx.of("no"), rx.of("yes, ", "yes"), accept=lambda text: "yes" in text).run())
        'yes, yes'

    Args:
        sources: As in `merge`; at least one.
        accept: Returns whether a whole text is acceptable; by default, every text is.

    Returns:
        An Observable of one `Outcome`, the winner's. It fails with `NoAnswerError` when every
        source has dropped out, and with the exception of `accept` if that raises.

    Raises:
        InvalidInputError: An argument is not a source, there is none, or `accept` is no function.
    """
    opened = combinator_sources("race", sources, least=1)
    if accept is not None and not callable(accept):
        raise InvalidInputError(f"accept must be a function of the text, not {kind_of(accept)}")

    def make(context: SubscriptionContext) -> Observable[Outcome[S]]:
        failures: dict[int, Exception] = {}

        def wins(outcome: Outcome[S]) -> bool:
            text = str(outcome)
            if outcome.error is None and (accept is None or accept(text)):
                return True
            failures[outcome.index] = outcome.error or NoAnswerError("not accepted", text=text)
            return False

        ended = rx.merge(*(each.outcome(context) for each in opened))
        no_winner: Observable[Outcome[S]] = rx.defer(
            lambda _: rx.throw(no_answer("race", failures))
        )
        return rx.concat(ended.pipe(ops.filter(wins)), no_winner).pipe(ops.take(1))

    return CombinedObservable(opened, make, cancel_always)


AfterText = Literal["fail", "restart", "hold"]
"""The policies for a source that fails after its first text; see `fallback`."""


def fallback(
    *sources: Source[S],
    on: type[Exception] | tuple[type[Exception], ...] = BackendError,
    after_text: AfterText = "fail",
) -> Observable[Tagged[S]]:
    """Emit the chunks of the first source; when it fails, those of the next one, and so on.

        a:                --#
        b:                ----x-y---|
        fallback(a, b):   ------x-y---|

    `after_text` sets what happens when a source fails after its first text was emitted:

        a:                                      --1-2-#
        b:                                      -x-y-|
        fallback(a, b, after_text="fail"):      --1-2-#
        fallback(a, b, after_text="restart"):   --1-2--x-y-|
        fallback(a, b, after_text="hold"):      -----------(xy|)

    Cold calls and coroutines start when their turn comes. Thunks that are not needed, and that
    nothing else uses, are cancelled.

    Example:
        >>> import reactivex as rx
        >>> from mellea_rx import ServerError
        >>> down = rx.throw(ServerError("out of memory", status=500))
        >>> str(fallback(down, rx.of("Once upon")).run())
        'Once upon'

    Args:
        sources: As in `merge`; at least one.
        on: The error types after which the next source is tried; any other error is emitted.
        after_text: "fail": an error after the first text is emitted. "restart": the next source's
            text follows from its beginning, and the items' `index` changes. "hold": a source's text
            is emitted as one item when it is complete, so that the text of a failed source is never
            emitted.

    Returns:
        An Observable of `Tagged`. It fails with `NoAnswerError` when every source has failed.

    Raises:
        InvalidInputError: An argument is not a source, there is none, `on` has no exception
            classes, or `after_text` is unknown.
    """
    opened = combinator_sources("fallback", sources, least=1)
    require_choice("after_text", after_text, AfterText)
    require_exceptions("on", on)

    def make(context: SubscriptionContext) -> Observable[Tagged[S]]:
        failures: dict[int, Exception] = {}

        def attempt(index: int) -> Observable[Tagged[S]]:
            if index == len(opened):
                return rx.throw(no_answer("fallback", failures))
            has_content = False

            def note_content(item: Tagged[S]) -> None:
                nonlocal has_content
                has_content = has_content or bool(item.chunk)

            def failed(error: Exception, _: object) -> Observable[Tagged[S]]:
                if not isinstance(error, on) or (has_content and after_text == "fail"):
                    return rx.throw(error)
                failures[index] = error
                return attempt(index + 1)

            chunks = _chunks(opened[index], context, whole=after_text == "hold")
            return chunks.pipe(ops.do_action(note_content), ops.catch(failed))

        return attempt(0)

    return CombinedObservable(opened, make)


def _chunks(
    source: CombinatorSource[S], context: SubscriptionContext, *, whole: bool
) -> Observable[Tagged[S]]:
    return source.outcome(context).pipe(ops.map(_as_tagged)) if whole else source.chunks(context)


def _as_tagged(outcome: Outcome[S]) -> Tagged[S]:
    if outcome.error is not None or outcome.source is None:
        raise outcome.error or AssertionError(outcome)
    return Tagged(outcome.index, outcome.source, outcome.chunk)


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
        self._early = [ChunkAccumulator() for _ in sources]
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
                self._early[index].join(item.chunk)
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
