"""Sources of combinators (thunks, other Observables, coroutines), and the Observable over them.

Every combinator (`merge`, `race`, `fallback`, ...) validates its arguments with
`combinator_sources` and returns a `CombinedObservable`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import Disposable, SingleAssignmentDisposable
from reactivex.notification import OnError

from mellea_rx.core.streams.buffers import ChunkAccumulator
from mellea_rx.core.streams.coroutine_source import CoroutineObservable, Emit
from mellea_rx.core.streams.observable import SerializedObserver, Stream
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.errors import InvalidInputError
from mellea_rx.operators.bridges import from_future
from mellea_rx.operators.items import Outcome, Tagged, as_chunk

T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S", bound=Observable[Any])

Source: TypeAlias = S | Coroutine[Any, Any, S] | asyncio.Future[S]
"""A thunk or another Observable of chunks or texts; or a coroutine or future that returns one."""

ReleasePolicy = Callable[[Observable[Any]], abc.DisposableBase]
"""Returns a disposable that releases a source when the combinator's subscription ends."""


def release_when_unused(source: Observable[Any]) -> abc.DisposableBase:
    """Keep a source until disposal, which cancels a thunk that nothing else uses."""
    return source.keep_alive() if isinstance(source, ModelOutputThunk) else Disposable()


def cancel_always(source: Observable[Any]) -> abc.DisposableBase:
    """Return a disposable that cancels a thunk, even if something else uses it."""
    if not isinstance(source, ModelOutputThunk):
        return Disposable()
    return Disposable(partial(source.cancel, "another source was chosen"))


@dataclass(frozen=True, slots=True)
class SubscriptionContext:
    """The settings with which one subscription to a combinator opens its sources.

    Attributes:
        release: The policy for sources when the subscription ends.
        scheduler: The subscriber's `scheduler=`.
    """

    release: ReleasePolicy
    scheduler: abc.SchedulerBase | None

    def bind(self, source: Observable[T]) -> Observable[T]:
        """Return the source as an Observable that is subscribed with the subscriber's scheduler.

        The operators between the sources and the subscriber are subscribed without a scheduler:
        they run on whatever thread a source calls them, and add no dispatch of their own.
        """
        return Observable(lambda observer, _: source.subscribe(observer, scheduler=self.scheduler))


class CombinatorSource(Generic[S]):
    """One source of a combinator.

    Args:
        index: Its position among the combinator's arguments, from 0.
        given: The source, or a coroutine or future that returns it.
    """

    def __init__(self, index: int, given: Source[S]) -> None:
        self.index = index
        self._given = given
        self._awaited = False

    def chunks(self, context: SubscriptionContext) -> Observable[Tagged[S]]:
        """Return the source's chunks, tagged, as they arrive."""
        return self._open(context, self._tag)

    def outcome(self, context: SubscriptionContext) -> Observable[Outcome[S]]:
        """Return the source's outcome as one item. A failure is an item too."""

        def failed(error: Exception, _: object) -> Observable[Outcome[S]]:
            return rx.just(Outcome(self.index, None, Chunk(), error))

        return self._open(context, self._fold).pipe(ops.catch(failed))

    def retain(self, context: SubscriptionContext) -> abc.DisposableBase:
        """Retain the source for a subscription, also before it is opened; disposal releases it."""
        given = self._given
        if isinstance(given, Observable):
            return context.release(given)
        return Disposable(self._discard) if isinstance(given, Coroutine) else Disposable()

    def _discard(self) -> None:
        if not self._awaited and isinstance(self._given, Coroutine):
            self._awaited = True
            self._given.close()

    def _open(
        self, context: SubscriptionContext, then: Callable[[S], Observable[R]]
    ) -> Observable[R]:
        given = self._given
        if isinstance(given, Observable):
            return context.bind(then(given))

        def opened(source: S) -> Observable[R]:
            if not isinstance(source, Observable):
                raise InvalidInputError(
                    f"source {self.index + 1} must return a thunk or another Observable; "
                    f"it returned {_described(source)}"
                )
            return rx.using(lambda: context.release(source), lambda _: context.bind(then(source)))

        pending = (
            from_future(given) if asyncio.isfuture(given) else CoroutineObservable(self._await)
        )
        return context.bind(pending).pipe(ops.flat_map(opened))

    async def _await(self, emit: Emit[S]) -> None:
        given = self._given
        if self._awaited or not isinstance(given, Coroutine):
            raise InvalidInputError(
                f"source {self.index + 1} is a coroutine, which can be awaited only once: for "
                "several subscriptions pass the thunk, or a cold call (session.cold.instruct(...))"
            )
        self._awaited = True
        await emit(await given)

    def _tag(self, source: S) -> Observable[Tagged[S]]:
        return source.pipe(ops.map(lambda item: Tagged(self.index, source, as_chunk(item))))

    def _fold(self, source: S) -> Observable[Outcome[S]]:
        def folded(_: object) -> Observable[Outcome[S]]:
            fold = ChunkAccumulator()
            return source.pipe(
                ops.do_action(lambda item: fold.join(as_chunk(item))),
                ops.ignore_elements(),
                ops.materialize(),
                ops.map(
                    lambda end: Outcome(
                        self.index,
                        source,
                        fold.take(),
                        end.exception if isinstance(end, OnError) else None,
                    )
                ),
            )

        return rx.defer(folded)


def combinator_sources(
    name: str, sources: tuple[Source[S], ...], *, least: int = 0
) -> tuple[CombinatorSource[S], ...]:
    """Validate a combinator's arguments and wrap each one.

    Args:
        name: The combinator's name, for messages.
        sources: Its arguments.
        least: The smallest allowed number of sources.

    Raises:
        InvalidInputError: An argument is not a source, or there are fewer than `least`.
    """
    if len(sources) < least:
        raise InvalidInputError(f"{name} needs at least {least} source to have an answer")
    for index, each in enumerate(sources):
        if not isinstance(each, (Observable, Coroutine)) and not asyncio.isfuture(each):
            raise InvalidInputError(
                f"{name} takes thunks, Observables, and coroutines or futures that return one; "
                f"source {index + 1} is {_described(each)}"
            )
    return tuple(CombinatorSource(index, each) for index, each in enumerate(sources))


def _described(value: object) -> str:
    is_collection = isinstance(value, (list, tuple, set))
    hint = ": pass its items one by one, with a *" if is_collection else ""
    return f"a {type(value).__name__}{hint}"


class CombinedObservable(Stream[T]):
    """An Observable over several sources, which it opens anew for each subscription.

    The subscriber gets serial calls and one terminal, whatever threads the sources call on. When
    the subscription ends, its sources are released.

    Args:
        sources: The sources to retain for each subscription.
        make: Combines the sources of one subscription into an Observable.
        release: The policy for sources when a subscription ends.
    """

    def __init__(
        self,
        sources: tuple[CombinatorSource[Any], ...],
        make: Callable[[SubscriptionContext], Observable[T]],
        release: ReleasePolicy = release_when_unused,
    ) -> None:
        super().__init__()
        self._sources = sources
        self._make = make
        self._release = release

    def _subscribe_core(
        self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        context = SubscriptionContext(self._release, scheduler)
        subscriber = SerializedObserver(observer)
        # Resources are disposed in the order in which they are added: first the subscription, then
        # the retained sources. In the other order a release would still find its thunk in use, by
        # this very subscription, and would not cancel it.
        subscription = SingleAssignmentDisposable()
        subscriber.owns(subscription)
        for source in self._sources:
            subscriber.owns(source.retain(context))
        subscription.disposable = self._make(context).subscribe(
            subscriber.on_next, subscriber.on_error, subscriber.on_completed
        )
        return Disposable(subscriber.dispose)
