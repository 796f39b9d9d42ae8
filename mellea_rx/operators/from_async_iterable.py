"""Iterables as Observables, pulled no faster than their items are taken."""

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

    The next item is asked for when the subscriber has taken the one before. It is iterated on the
    subscriber's event loop; without one, on a loop of its own. Leaving it closes the iterator.

    Example:
        >>> async def words():
        ...     yield "Once "
        ...     yield "upon"
        >>> list(to_iterator(from_async_iterable(words())))      # doctest: +SKIP
        ['Once ', 'upon']

    Args:
        iterable: An async iterable. (An async generator can be iterated once.)

    Returns:
        An Observable; it fails with what the iterable raises.

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
    """`inputs`, when it can be pulled from.

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
    """The inputs one by one, when they are asked for; closing it closes their iterator.

    An Observable pushes, so what it emits meanwhile waits. A plain iterator's steps run in a worker
    thread: they may block.
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
    """A plain iterator has nothing to close."""


async def _in_threads(iterable: Iterable[T]) -> AsyncGenerator[T, None]:
    iterator = await in_worker_thread(iter, iterable)
    try:
        while (item := await in_worker_thread(next, iterator, _END)) is not _END:
            yield item
    finally:
        # Cancelled within a step, a generator still runs in its thread, and cannot be closed.
        with suppress(ValueError):
            getattr(iterator, "close", _nothing)()
