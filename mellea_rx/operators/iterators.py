"""Observables to iterate: with `async for`, and with `for`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from reactivex import Observable

from mellea_rx.errors import InvalidInputError
from mellea_rx.operators.backlog import Overflow
from mellea_rx.operators.channel import END, Channel

__all__ = ["AsyncItems", "Items", "to_async_iterator", "to_iterator"]

T = TypeVar("T")


def to_async_iterator(
    source: Observable[T], *, overflow: Overflow = "coalesce", maxsize: int | None = None
) -> AsyncItems[T]:
    """An Observable to iterate with `async for`.

        source:                                 -a--b-c-d-|
        slowly(6, to_async_iterator(source)):   -a-----bc----d-----|

    (`slowly` stands for a reader that takes six seconds for each item.)

    The first step subscribes. Leaving it ends the subscription: by `async with`, `aclose()`, or by
    dropping it, as `break` does; then thunks under a combinator that nobody else takes are
    cancelled. One reader: a second one that waits at once gets `ConcurrentReaderError`.

    Example:
        >>> async for item in to_async_iterator(merge(a, b)):      # doctest: +SKIP
        ...     print(item.index, item)

    Args:
        source: Any Observable.
        overflow: The treatment of items that the reader does not take in time. "coalesce": texts,
            chunks, and chunks of one source are joined; other items wait. "block": the
            source waits, in a thread of its own. "drop_oldest": the newest are kept. "error": the
            reader gets the items that wait, then `BackpressureError`.
        maxsize: How many items may wait, for all but "coalesce"; None for any number.

    Returns:
        An async iterator and async context manager.

    Raises:
        InvalidInputError: An argument that cannot be used.
        Exception: (on reading) The source's error.
    """
    return AsyncItems(_channel("to_async_iterator", source, overflow, maxsize))


def to_iterator(
    source: Observable[T], *, overflow: Overflow = "coalesce", maxsize: int | None = None
) -> Items[T]:
    """An Observable to iterate with `for`, in code without an event loop.

    It blocks its thread; the source is called on a thread of its own, so it works where a loop runs
    too. The first step subscribes. Leaving it ends the subscription: by `with`, `close()`, or by
    dropping it, as `break` does.

    Example:
        >>> import reactivex as rx
        >>> [item for item in to_iterator(rx.of(1, 2, 3))]
        [1, 2, 3]

    Args:
        source: Any Observable.
        overflow: As that of `to_async_iterator`.
        maxsize: How many items may wait, for all but "coalesce"; None for any number.

    Returns:
        An iterator and context manager.

    Raises:
        InvalidInputError: An argument that cannot be used.
        Exception: (on reading) The source's error.
    """
    return Items(_channel("to_iterator", source, overflow, maxsize))


def _channel(
    name: str, source: Observable[T], overflow: Overflow, maxsize: int | None
) -> Channel[T]:
    if not isinstance(source, Observable):
        raise InvalidInputError(f"{name} takes an Observable, not a {type(source).__name__}")
    return Channel(source, overflow, maxsize)


class _Reader(Generic[T]):
    """A reader of a channel; dropping it ends the channel."""

    __slots__ = ("__weakref__", "_channel")

    def __init__(self, channel: Channel[T]) -> None:
        self._channel = channel

    def __del__(self) -> None:
        self._channel.abandon()


class AsyncItems(_Reader[T], AsyncIterator[T]):
    """The result of `to_async_iterator`: an async iterator and async context manager."""

    __slots__ = ()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        item = await self._channel
        if item is END:
            raise StopAsyncIteration
        return item

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the subscription. Idempotent."""
        self._channel.close()


class Items(_Reader[T], Iterator[T]):
    """The result of `to_iterator`: an iterator and context manager."""

    __slots__ = ()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        item = self._channel.read_blocking()
        if item is END:
            raise StopIteration
        return item

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the subscription. Idempotent."""
        self._channel.close()
