"""A wait for the first of several futures. Attempts use it."""

from __future__ import annotations

import asyncio
from typing import Any


async def first_done(*futures: asyncio.Future[Any]) -> None:
    """Wait until one of some futures is done; none is cancelled, or asked for its result.

    (`asyncio.wait` does the same in three times the time, which each attempt would pay.)
    """
    done = asyncio.get_running_loop().create_future()

    def note(_: asyncio.Future[Any]) -> None:
        if not done.done():
            done.set_result(None)

    for each in futures:
        each.add_done_callback(note)
    try:
        await done
    finally:
        for each in futures:
            each.remove_done_callback(note)
