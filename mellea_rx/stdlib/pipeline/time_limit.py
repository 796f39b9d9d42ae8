"""A limit in seconds on a part of a call, whose end is a `TotalTimeoutError`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from mellea_rx.errors import TotalTimeoutError

T = TypeVar("T")


async def within(seconds: float | None, work: Awaitable[T], message: str) -> T:
    """Await work, and cancel it when the time is over.

    Args:
        seconds: The limit; None for no limit.
        work: What to await.
        message: The message of the error.

    Raises:
        TotalTimeoutError: The time is over, and the work has ended.
    """
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            return await work
    except TimeoutError:
        if not timer.expired():
            raise
        raise TotalTimeoutError(message) from None
