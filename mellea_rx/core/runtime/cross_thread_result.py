"""The result of work that ends in another thread, for a coroutine that waits for it.

The engine's work for a caller, and the sources of users that the engine drains, end this way.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class CrossThreadResult(Generic[T]):
    """One result or one error: set by any thread, and awaited on any event loop.

    The first call of `succeed`, `fail` or `cancel` counts; later ones are ignored.
    """

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: concurrent.futures.Future[T] = concurrent.futures.Future()

    @property
    def is_set(self) -> bool:
        """Whether there is a result or an error, or it was cancelled."""
        return self._future.done()

    def succeed(self, result: T) -> None:
        """Set the result."""
        # The future itself decides which of two threads was first.
        with suppress(concurrent.futures.InvalidStateError):
            self._future.set_result(result)

    def fail(self, error: BaseException) -> None:
        """Set the error that the wait raises."""
        with suppress(concurrent.futures.InvalidStateError):
            self._future.set_exception(error)

    def cancel(self) -> None:
        """Have the wait raise `asyncio.CancelledError`."""
        self._future.cancel()

    def on_loop(self) -> asyncio.Future[T]:
        """A future of the running event loop that ends as this does. Cancelling it cancels this."""
        return asyncio.wrap_future(self._future)
