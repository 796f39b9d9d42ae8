"""A limit in seconds on a part of a call, whose end is a `TotalTimeoutError`.

The error names the work that the limit ended, where that is marked with `unfinished`: a user's
function that never returns would otherwise look like a slow server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from mellea_rx.errors import TotalTimeoutError

T = TypeVar("T")


class _Limit:
    """A running limit.

    Attributes:
        timer: Its timer.
        outer: The limit around it, if there is one.
        unfinished: The names of the work that it ended.
    """

    __slots__ = ("outer", "timer", "unfinished")

    def __init__(self, timer: asyncio.Timeout, outer: _Limit | None) -> None:
        self.timer = timer
        self.outer = outer
        self.unfinished: list[str] = []

    def note(self, describe: Callable[[], str]) -> None:
        """Note work that is cancelled, where a limit has ended it: it is also cancelled where a
        caller leaves, or where another attempt was first."""
        limit: _Limit | None = self
        while limit is not None:
            if limit.timer.expired() and (name := describe()):
                limit.unfinished.append(name)
            limit = limit.outer


# Tasks within the limit inherit it with their context.
_running: ContextVar[_Limit | None] = ContextVar("mellea_rx_time_limit", default=None)


async def within(seconds: float | None, work: Awaitable[T], message: str) -> T:
    """Await work, and cancel it when the time is over.

    Args:
        seconds: The limit; None for no limit.
        work: What to await.
        message: The message of the error.

    Raises:
        TotalTimeoutError: The time is over, and the work has ended.
    """
    if seconds is None:
        return await work
    limit = _Limit(asyncio.timeout(seconds), _running.get())
    before = _running.set(limit)
    try:
        async with limit.timer:
            return await work
    except TimeoutError:
        if not limit.timer.expired():
            raise
        names = tuple(dict.fromkeys(limit.unfinished))
        raise TotalTimeoutError(message, unfinished=names) from None
    finally:
        _running.reset(before)


@contextmanager
def unfinished(describe: Callable[[], str]) -> Iterator[None]:
    """Name the work in this block in the error of a time limit that ends it.

    Args:
        describe: Returns the name, a noun phrase, or "" where nothing is to be named; called only
            where the limit ends the work.
    """
    try:
        yield
    except asyncio.CancelledError:
        limit = _running.get()
        if limit is not None:
            limit.note(describe)
        raise
