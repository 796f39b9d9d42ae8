"""The graph of calls that wait for each other: a wait that would close a circle is refused.

A pipeline runs with its own call in the context variable `current_call`, which reaches all that it
awaits or calls: a worker thread, the caller's loop, tasks made there. So a wait knows which call
it holds up, and adds an edge to the graph as long as it lasts. A wait that would close a circle
could never end: it raises instead. A wait outside of every call costs one look at a context
variable.
"""

from __future__ import annotations

import weakref
from contextvars import ContextVar
from typing import Protocol

from mellea_rx.core.runtime.fork import ForkSafeLock
from mellea_rx.errors import DependencyCycleError


class Waiter(Protocol):
    """A call that may wait for others, and be waited for.

    Attributes:
        waits_for: The calls whose end it waits for just now.
        number: Its number in this process, for the log.
    """

    waits_for: tuple[Waiter, ...]

    number: int

    @property
    def name(self) -> str:
        """Its name in messages."""
        ...

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, so that a wait for it returns at once."""
        ...


current_call: ContextVar[weakref.ref[Waiter] | None] = ContextVar("mellea_rx_running", default=None)
"""The call whose pipeline this code is a part of; None outside of every call.

(Weak: a context outlives its call wherever something keeps it, such as a pooled connection.)
"""

_lock = ForkSafeLock()


def enter_call(call: Waiter) -> None:
    """Note that this context belongs to `call` from here on."""
    current_call.set(weakref.ref(call))


def running_number() -> int:
    """The number of the call whose pipeline this code is a part of; 0 outside of every call."""
    running = current_call.get()
    call = None if running is None else running()
    return 0 if call is None else call.number


def begin_wait(target: Waiter) -> Waiter | None:
    """Note that the call which runs here, if one does, waits for `target` from now on.

    Returns:
        That call, for `end_wait`; None where no call runs, or nothing is left to wait for.

    Raises:
        DependencyCycleError: `target` waits for that very call, directly or by way of others.
    """
    running = current_call.get()
    waiter = None if running is None else running()
    if waiter is None or waiter.has_ended or target.has_ended:
        return None
    with _lock:
        way = _way(target, waiter)
        if way is None:
            waiter.waits_for = (*waiter.waits_for, target)
            return waiter
    names = " → ".join(each.name for each in (waiter, *way))
    raise DependencyCycleError(
        f"this wait could never end, since these calls wait for each other: {names}"
    )


def end_wait(waiter: Waiter | None, target: Waiter) -> None:
    """Remove the edge of a wait that is over."""
    if waiter is None:
        return
    with _lock:
        left = list(waiter.waits_for)
        left.remove(target)
        waiter.waits_for = tuple(left)


def _way(start: Waiter, goal: Waiter) -> list[Waiter] | None:
    """A path from one call to another along the graph's edges; None where there is none."""
    came_from: dict[Waiter, Waiter | None] = {start: None}
    open_ends = [start]
    while open_ends:
        here = open_ends.pop()
        if here is goal:
            way = []
            step: Waiter | None = here
            while step is not None:
                way.append(step)
                step = came_from[step]
            return way[::-1]
        for following in here.waits_for:
            if following not in came_from and not following.has_ended:
                came_from[following] = here
                open_ends.append(following)
    return None
