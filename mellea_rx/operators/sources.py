"""What combinators take: thunks, other Observables, and coroutines that give one."""

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

from mellea_rx.core.chunk import Chunk
from mellea_rx.core.emitter import CoroutineObservable, Emit
from mellea_rx.core.fold import Fold
from mellea_rx.core.observers import Serialized
from mellea_rx.core.stream import Stream
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.errors import InvalidInputError
from mellea_rx.operators.from_future import from_future
from mellea_rx.operators.tagged import Outcome, Tagged, as_chunk

__all__ = ["Branch", "Combined", "Opening", "Source", "branches", "held", "owned"]

T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S", bound=Observable[Any])

Source: TypeAlias = S | Coroutine[Any, Any, S] | asyncio.Future[S]
"""A thunk or another Observable of chunks or texts; or a coroutine or future that gives one."""

Hold = Callable[[Observable[Any]], abc.DisposableBase]


def held(source: Observable[Any]) -> abc.DisposableBase:
    """Wants a source; disposing ends a thunk that nobody else takes."""
    return source.hold() if isinstance(source, ModelOutputThunk) else Disposable()


def owned(source: Observable[Any]) -> abc.DisposableBase:
    """Owns a source; disposing ends a thunk, whoever else takes it."""
    if not isinstance(source, ModelOutputThunk):
        return Disposable()
    return Disposable(partial(source.cancel, "another source was chosen"))


@dataclass(frozen=True, slots=True)
class Opening:
    """How the sources of one subscription are opened.

    Attributes:
        hold: What becomes of a source that is left.
        scheduler: What the subscriber gave as `scheduler=`.
    """

    hold: Hold
    scheduler: abc.SchedulerBase | None

    def bind(self, source: Observable[T]) -> Observable[T]:
        """The source, subscribed with the subscriber's scheduler.

        What stands between sources and subscriber is subscribed without one: it runs where the
        sources call it, and takes no turns of its own.
        """
        return Observable(lambda observer, _: source.subscribe(observer, scheduler=self.scheduler))


class Branch(Generic[S]):
    """One source of a combinator.

    Args:
        index: Its place among the arguments.
        given: The source, or a coroutine or future that gives it.
    """

    def __init__(self, index: int, given: Source[S]) -> None:
        self.index = index
        self._given = given
        self._awaited = False

    def chunks(self, opening: Opening) -> Observable[Tagged[S]]:
        """What comes of it, as it comes."""
        return self._open(opening, self._tag)

    def outcome(self, opening: Opening) -> Observable[Outcome[S]]:
        """How it ended: one item, also when it failed."""

        def lost(error: Exception, _: object) -> Observable[Outcome[S]]:
            return rx.just(Outcome(self.index, None, Chunk(), error))

        return self._open(opening, self._fold).pipe(ops.catch(lost))

    def hold(self, opening: Opening) -> abc.DisposableBase:
        """Want it, also before it is opened."""
        given = self._given
        if isinstance(given, Observable):
            return opening.hold(given)
        return Disposable(self._drop) if isinstance(given, Coroutine) else Disposable()

    def _drop(self) -> None:
        if not self._awaited and isinstance(self._given, Coroutine):
            self._awaited = True
            self._given.close()

    def _open(self, opening: Opening, then: Callable[[S], Observable[R]]) -> Observable[R]:
        given = self._given
        if isinstance(given, Observable):
            return opening.bind(then(given))

        def came(source: S) -> Observable[R]:
            if not isinstance(source, Observable):
                raise InvalidInputError(
                    f"source {self.index + 1} has to give a thunk or another Observable; "
                    f"it gave {_a_kind(source)}"
                )
            return rx.using(lambda: opening.hold(source), lambda _: opening.bind(then(source)))

        coming = from_future(given) if asyncio.isfuture(given) else CoroutineObservable(self._await)
        return opening.bind(coming).pipe(ops.flat_map(came))

    async def _await(self, emit: Emit[S]) -> None:
        given = self._given
        if self._awaited or not isinstance(given, Coroutine):
            raise InvalidInputError(
                f"source {self.index + 1} is a coroutine, which can be awaited once: for more than "
                "one subscription give the thunk, or a cold call (session.cold.instruct(...))"
            )
        self._awaited = True
        await emit(await given)

    def _tag(self, source: S) -> Observable[Tagged[S]]:
        return source.pipe(ops.map(lambda item: Tagged(self.index, source, as_chunk(item))))

    def _fold(self, source: S) -> Observable[Outcome[S]]:
        def folded(_: object) -> Observable[Outcome[S]]:
            fold = Fold()
            return source.pipe(
                ops.do_action(lambda item: fold.add(as_chunk(item))),
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


def branches(name: str, sources: tuple[Source[S], ...], *, least: int = 0) -> tuple[Branch[S], ...]:
    """The sources of a combinator.

    Args:
        name: The combinator, for messages.
        sources: Its arguments.
        least: How many there have to be.

    Raises:
        InvalidInputError: Something that is no source, or too few of them.
    """
    if len(sources) < least:
        raise InvalidInputError(f"{name} needs at least {least} source, or there is no answer")
    for index, each in enumerate(sources):
        if not isinstance(each, (Observable, Coroutine)) and not asyncio.isfuture(each):
            raise InvalidInputError(
                f"{name} takes thunks, Observables, and coroutines or futures that give one; "
                f"source {index + 1} is {_a_kind(each)}"
            )
    return tuple(Branch(index, each) for index, each in enumerate(sources))


def _a_kind(value: object) -> str:
    many = isinstance(value, (list, tuple, set))
    return f"a {type(value).__name__}" + (": give them one by one, with a *" if many else "")


class Combined(Stream[T]):
    """An Observable over several sources, made anew for each subscription.

    Whatever threads the sources call on, the subscriber gets serial calls and one terminal. When
    the subscription ends, its sources are let go of.

    Args:
        sources: What it is over.
        make: Puts the opened sources together.
        hold: What becomes of sources that are left.
    """

    def __init__(
        self,
        sources: tuple[Branch[Any], ...],
        make: Callable[[Opening], Observable[T]],
        hold: Hold = held,
    ) -> None:
        super().__init__()
        self._sources = sources
        self._make = make
        self._hold = hold

    def _subscribe_core(
        self, observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        opening = Opening(self._hold, scheduler)
        subscriber = Serialized(observer)
        # Disposed before the holds are, so that they are the last who take the sources.
        subscription = SingleAssignmentDisposable()
        subscriber.owns(subscription)
        for source in self._sources:
            subscriber.owns(source.hold(opening))
        subscription.disposable = self._make(opening).subscribe(
            subscriber.on_next, subscriber.on_error, subscriber.on_completed
        )
        return Disposable(subscriber.dispose)
