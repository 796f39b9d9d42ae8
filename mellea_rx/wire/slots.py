"""A semaphore with first-in, first-out waiters that takes a free slot without a coroutine.

Both transports use one to limit the number of their connections.
"""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Callable

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

__all__ = ["Slots", "default_connections"]

_WITHOUT_A_LIMIT = 4096


def default_connections() -> int:
    """Half of the files that the process may have open; the other half is left to the program."""
    if resource is None:
        return _WITHOUT_A_LIMIT
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(1, soft // 2)


class Slots:
    """A counting semaphore on one event loop. Not thread-safe.

    `asyncio.Semaphore` does the same, but its `acquire` needs a coroutine even if a slot is free.

    Args:
        count: The number of slots.
    """

    __slots__ = ("_free", "_waiters")

    def __init__(self, count: int) -> None:
        self._free = count
        # Ordered by the time of the call; a cancelled waiter is removed in constant time.
        self._waiters: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    def take(self) -> bool:
        """Take a slot if one is free; returns whether it was. While others wait, none is free:
        `give_back` passes a slot to them directly, so that no later caller overtakes them."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    async def wait(self) -> None:
        """Wait for a slot, and take it. A cancelled wait takes none."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # `give_back` chose this waiter, and the task was cancelled before it ran again. Its
                # slot goes on to the next waiter; else it would be lost for good.
                self.give_back()
            raise
        finally:
            self._waiters.pop(waiter, None)
            del waiter  # an exception that it holds refers to this frame: that would be a cycle

    def give_back(self) -> None:
        """Pass the slot to the waiter that has waited longest, or free it if nobody waits."""
        while self._waiters:
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done():  # a cancelled one is done, and still listed until its task runs
                waiter.set_result(None)
                return
        self._free += 1

    def fail(self, make_error: Callable[[], Exception]) -> None:
        """End every wait with a separate error."""
        waiters, self._waiters = self._waiters, OrderedDict()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(make_error())
