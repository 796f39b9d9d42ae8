"""An event loop whose clock jumps: it never waits for a timer, it makes the timer's time be now."""

from __future__ import annotations

import asyncio
import itertools
import selectors
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import Context
from functools import partial
from typing import Any, TypeAlias, TypeVar, TypeVarTuple, Unpack

from mellea_rx.errors import VirtualTimeError

__all__ = ["VirtualLoop", "Work", "current_work"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_Events: TypeAlias = list[tuple[selectors.SelectorKey, int]]

_here = threading.local()

SHOWN = 10
"""How many of the tasks that wait an error names."""


class Work:
    """What a worker thread does for a loop: the clock stands still for it. Lives on the loop."""

    __slots__ = ("_is_done", "loop")

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self._is_done = False
        self.go_on()

    def go_on(self) -> None:
        """It works: the clock stands still. Not after its end: then nobody waits for it."""
        if not self._is_done:
            self.loop.at_work.add(self)

    def rest(self) -> None:
        """It waits for the loop: the clock goes on."""
        self.loop.at_work.discard(self)

    def end(self) -> None:
        """It has returned, or nobody waits for it any more."""
        self._is_done = True
        self.rest()


def current_work() -> Work | None:
    """The work that this thread does for a virtual loop; None in any other thread."""
    work: Work | None = getattr(_here, "work", None)
    return work


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual time, which begins at 0.

    When nothing is ready, its clock jumps to the next timer. While functions run in its worker
    threads (`asyncio.to_thread`) the clock stands still, and the loop really waits for them.

    Args:
        limit: Virtual seconds after which it gives up: something waits by polling.
        patience: Real seconds that it waits for worker threads while nothing else happens.
    """

    def __init__(self, limit: float, patience: float) -> None:
        self._now = 0.0
        self._limit = limit
        self._patience = patience
        self._order = itertools.count()
        self.at_work: set[Work] = set()
        """What the clock stands still for."""
        self._workers = ThreadPoolExecutor(thread_name_prefix="mellea-rx-virtual")
        self.is_stuck = False
        """Whether it gave up waiting for its worker threads."""
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio's; timers of the same moment fire in the order in which they were set."""
        return super().call_at(_Moment(when, next(self._order)), callback, *args, context=context)

    def run_in_executor(
        self,
        executor: Executor | None,
        func: Callable[[Unpack[Ts]], T],
        *args: *Ts,
    ) -> asyncio.Future[T]:
        """As asyncio's; the clock stands still until the function has returned."""
        work = Work(self)
        future = super().run_in_executor(executor or self._workers, partial(_do, work, func, *args))
        # It is done in a turn of this loop: no thread touches the set.
        future.add_done_callback(lambda _: work.end())
        return future

    def close(self) -> None:
        """Close the loop, and wait for its worker threads unless it is stuck in one."""
        self._workers.shutdown(wait=not self.is_stuck, cancel_futures=True)
        super().close()

    def jump(self, seconds: float | None) -> None:
        """Move the clock, where an ordinary loop would wait.

        Args:
            seconds: How far the next timer is away; None when there is none.

        Raises:
            VirtualTimeError: There is no timer, or the limit is reached.
        """
        if seconds is None:
            raise VirtualTimeError(
                f"nothing will ever happen: at {self._now:g} s of virtual time no timer is set and "
                "nothing is ready (what comes from a thread that the loop did not start does not "
                f"count); {self._waiting()}"
            )
        if self._now >= self._limit:
            raise VirtualTimeError(
                f"virtual time has come to its limit of {self._limit:g} s: something looks again "
                f"and again for what never comes (or give a larger limit=); {self._waiting()}"
            )
        self._now = min(self._now + seconds, self._limit)

    def wait_for_workers(self, select: Callable[[float], _Events]) -> _Events:
        """Really wait until a worker thread tells the loop of something.

        Raises:
            VirtualTimeError: None did, for too long.
        """
        events = select(self._patience)
        if events:
            return events
        self.is_stuck = True
        raise VirtualTimeError(
            f"virtual time stood still for {self._patience:g} real seconds: {len(self.at_work)} "
            "worker thread(s) did not return; a function in a thread may wait for what only the "
            f"clock brings (or give a larger patience=); {self._waiting()}"
        )

    def _waiting(self) -> str:
        stacks = [task.get_stack(limit=1) for task in asyncio.all_tasks(self)]
        frames = [stack[0] for stack in stacks if stack]
        places = sorted(
            f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
            for frame in frames
        )
        if len(places) > SHOWN:
            places[SHOWN:] = [f"and {len(places) - SHOWN} more"]
        return "waiting are: " + "; ".join(places) if places else "no task is left"


def _do(work: Work, func: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
    _here.work = work
    try:
        return func(*args)
    finally:
        _here.work = None


class _Moment(float):
    """A time of the loop's, and which of its timers was set first."""

    __slots__ = ("_place",)
    _place: int

    def __new__(cls, when: float, place: int) -> _Moment:
        self = super().__new__(cls, when)
        self._place = place
        return self

    def __lt__(self, other: float) -> bool:
        # How asyncio's heap of timers compares them.
        if isinstance(other, _Moment) and float(self) == float(other):
            return self._place < other._place
        return float(self) < float(other)


class _JumpingSelector(selectors.DefaultSelector):
    """Looks at the loop's own pipe, through which threads wake it, and never at anything else."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if self.get_map():
            raise VirtualTimeError(
                "real connections, pipes and processes do not belong in virtual time: its clock "
                "would not wait for them; use a ScriptedBackend, marbles() or replay()"
            )
        return super().register(fileobj, events, data)

    def select(self, timeout: float | None = None) -> _Events:
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if self._loop.at_work:
            return self._loop.wait_for_workers(super().select)
        self._loop.jump(timeout)
        return events
