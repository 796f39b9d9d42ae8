"""A number of slots, taken without waiting where one is free, else in the order of asking."""

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
    """Half of the files that the process may have open; the other half is the program's own."""
    if resource is None:
        return _WITHOUT_A_LIMIT
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(1, soft // 2)


class Slots:
    """Slots of one loop. `asyncio.Semaphore` does as much, and takes a coroutine for each.

    Args:
        count: How many there are.
    """

    __slots__ = ("_free", "_waiters")

    def __init__(self, count: int) -> None:
        self._free = count
        # In order, and a waiter that is cancelled leaves in constant time.
        self._waiters: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    def take(self) -> bool:
        """Take a slot if one is free. None is while others wait: those go first."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    async def wait(self) -> None:
        """Wait for a slot, and take it. A wait that is cancelled takes none."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.give_back()  # it was given one in the moment that it was cancelled
            raise
        finally:
            self._waiters.pop(waiter, None)
            del waiter

    def give_back(self) -> None:
        """Let the one who has waited longest have the slot."""
        while self._waiters:
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1

    def fail(self, make_error: Callable[[], Exception]) -> None:
        """End every wait with an error of its own."""
        waiters, self._waiters = self._waiters, OrderedDict()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(make_error())
