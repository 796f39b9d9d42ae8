"""Iterables as Observables, which are iterated no faster than their items are delivered."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import aclosing, suppress
from typing import Any, TypeAlias, TypeVar

from reactivex import Observable

from mellea_rx.core.emitter import CoroutineObservable, Emit
from mellea_rx.core.worker_threads import in_worker_thread
from mellea_rx.errors import InvalidInputError
from mellea_rx.operators.iterators import to_async_iterator

__all__ = ["Inputs", "from_async_iterable", "inputs_of", "pull"]

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
