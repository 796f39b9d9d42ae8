"""Bridges from other kinds of streams: async iterables, futures, and Observables as thunks."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import aclosing, suppress
from typing import Any, TypeAlias, TypeVar, overload

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from mellea_rx.core.runtime.delivery import delivery_target_for, running_loop
from mellea_rx.core.runtime.user_functions import in_worker_thread
from mellea_rx.core.streams.chunk_source import drain_at
from mellea_rx.core.streams.cold_call import ColdCall
from mellea_rx.core.streams.coroutine_source import AckChannel, CoroutineObservable, Emit
from mellea_rx.core.streams.generation import Generation
from mellea_rx.core.streams.observable import Stream
from mellea_rx.core.streams.subscriptions import ObserverSubscription
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.errors import GenerationCancelledError, InvalidInputError
from mellea_rx.operators.items import as_chunk
from mellea_rx.operators.iterators import to_async_iterator

T = TypeVar("T")

Inputs: TypeAlias = Iterable[T] | AsyncIterable[T] | Observable[T]
"""A stream of inputs: a list, a generator, an async generator, an Observable, …"""

_END: Any = object()


def from_async_iterable(iterable: AsyncIterable[T]) -> Observable[T]:
    """The items of an async iterable, which is iterated anew for each subscription.

        source:                                           -a--b-c-|
        from_async_iterable(to_async_iterator(source)):   -a--b-c-|

    The iterator is asked for the next item when the one before has been delivered. It runs on the
    subscriber's event loop; without one, on a loop of its own. Disposing closes the iterator.

    Example:
        >>> async def words():
        ...     yield "Once "
        ...     yield "upon"
        >>> list(to_iterator(from_async_iterable(words())))      # doctest: +SKIP
        ['Once ', 'upon']

    Args:
        iterable: An async iterable. (An async generator can be iterated once.)

    Returns:
        An Observable; it fails with the iterable's exception.

    Raises:
        InvalidInputError: It is no async iterable.
    """
    if not isinstance(iterable, AsyncIterable):
        raise InvalidInputError(
            f"from_async_iterable takes an async iterable, not a {type(iterable).__name__}"
        )

    async def produce(emit: Emit[T]) -> None:
        async with aclosing(pull(iterable)) as items:
            async for item in items:
                await emit(item)

    return CoroutineObservable(produce)


def inputs_of(name: str, inputs: Inputs[T]) -> Inputs[T]:
    """Check a stream of inputs, and return it.

    Raises:
        InvalidInputError: It is no stream of inputs.
    """
    if isinstance(inputs, (str, bytes)) or not isinstance(
        inputs, (Observable, AsyncIterable, Iterable)
    ):
        raise InvalidInputError(
            f"{name} takes a stream of inputs (a list, a generator, an async generator, an "
            f"Observable), not a {type(inputs).__name__}"
        )
    return inputs


async def pull(inputs: Inputs[T]) -> AsyncGenerator[T, None]:
    """The inputs one by one, as an async generator; closing it closes their iterator.

    An Observable pushes, so its items wait in a queue. The steps of a plain iterator run in a
    worker thread: they may block.
    """
    iterator = _async_iterator(inputs)
    try:
        async for item in iterator:
            yield item
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()


def _async_iterator(inputs: Inputs[T]) -> AsyncIterator[T]:
    if isinstance(inputs, Observable):
        return to_async_iterator(inputs, overflow="error")
    if isinstance(inputs, AsyncIterable):
        return aiter(inputs)
    return _in_threads(inputs)


def _nothing() -> None:
    """Closes nothing: a plain iterator has no `close`."""


async def _in_threads(iterable: Iterable[T]) -> AsyncGenerator[T, None]:
    iterator = await in_worker_thread(iter, iterable)
    try:
        while (item := await in_worker_thread(next, iterator, _END)) is not _END:
            yield item
    finally:
        # When this is cancelled within a step, a generator still runs in its thread: it cannot be
        # closed, and says so with a ValueError.
        with suppress(ValueError):
            getattr(iterator, "close", _nothing)()


def from_future(
    future: asyncio.Future[T] | concurrent.futures.Future[T],
) -> Observable[T]:
    """The result of a future or task: one item.

        from_future(later(3, "x")):   ---(x|)

    (`later` stands for a future that is done after three seconds.)

    Any number of subscribers share it, on any threads; a late one gets the result at once.
    Disposing a subscription does not cancel the future. (`reactivex.from_future` cancels it for all
    subscribers when one leaves.)

    Example:
        >>> from concurrent.futures import Future
        >>> future: Future[str] = Future()
        >>> future.set_result("done")
        >>> from_future(future).run()
        'done'

    Args:
        future: A future of asyncio (of any loop), or of a thread pool.

    Returns:
        An Observable of its result; it fails with the future's exception, and with
        `GenerationCancelledError` when the future is cancelled.

    Raises:
        InvalidInputError: It is no future.
    """
    if not (asyncio.isfuture(future) or isinstance(future, concurrent.futures.Future)):
        raise InvalidInputError(
            f"from_future takes a future or task, not a {type(future).__name__}"
        )

    def subscribe(
        observer: abc.ObserverBase[T], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        channel: AckChannel[T] = AckChannel()
        dispatcher = delivery_target_for(scheduler).dispatcher
        subscriber = ObserverSubscription(
            channel, observer, dispatcher, channel.buffer, keep=future
        )
        _when_done(future, lambda done: _tell(channel, done))
        return Disposable(subscriber.dispose)

    return Stream(subscribe)


def _tell(channel: AckChannel[T], done: Any) -> None:
    if done.cancelled():
        channel.end(GenerationCancelledError("the future was cancelled"))
    elif (error := done.exception()) is not None:
        channel.end(error)
    else:
        channel.post(done.result())
        channel.end(None)


def _when_done(future: Any, callback: Any) -> None:
    """Call back with the future, from any thread: asyncio's futures belong to their loop."""
    if isinstance(future, concurrent.futures.Future) or future.get_loop() is running_loop():
        future.add_done_callback(callback)
    elif future.done():
        callback(future)
    else:
        future.get_loop().call_soon_threadsafe(future.add_done_callback, callback)


@overload
def to_thunk(source: ModelOutputThunk[T]) -> ModelOutputThunk[T]: ...
@overload
def to_thunk(source: ColdCall[T]) -> ModelOutputThunk[T]: ...
@overload
def to_thunk(source: Observable[Any]) -> ModelOutputThunk[Any]: ...
def to_thunk(source: Observable[Any]) -> ModelOutputThunk[Any]:
    """Subscribe to a stream of text now, and have it as a thunk: one value, one reader, replay.

        source:             -a--b-c-|
        to_thunk(source):   -a--b-c-|

    So the result of operators on a call can be used like a call: awaited, read with `astream()`,
    cancelled, and put into a prompt.

    Example:
        >>> import reactivex as rx
        >>> to_thunk(rx.of("Once ", "upon")).wait().value
        'Once upon'

    Args:
        source: A stream of chunks, texts or items of combinators. A cold call is started, a thunk
            returned unchanged.

    Returns:
        The thunk. Cancelling or dropping it ends the subscription.

    Raises:
        InvalidInputError: It is no Observable.
    """
    if isinstance(source, ModelOutputThunk):
        return source
    if isinstance(source, ColdCall):
        return source.start()
    if not isinstance(source, Observable):
        raise InvalidInputError(f"to_thunk takes an Observable, not a {type(source).__name__}")
    target = delivery_target_for(None)

    async def run(generation: Generation) -> None:
        await drain_at(target, source, lambda item: generation.take(as_chunk(item)))

    needs = () if target.loop is None else (target.loop,)
    return ModelOutputThunk(run, live=True, needs=needs)
