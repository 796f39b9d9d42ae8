"""Whose clock a timed operator goes by, where it was given no scheduler of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from reactivex import abc, typing
from reactivex.disposable import Disposable, SingleAssignmentDisposable
from reactivex.scheduler import CatchScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler

from mellea_rx.core.logs import FunctionRaised, log
from mellea_rx.core.outlet import delivery_scheduler, has_a_place, running_loop

__all__ = ["LoopScheduler", "scheduler_for"]

S = TypeVar("S")


def scheduler_for(*wanted: abc.SchedulerBase | None) -> abc.SchedulerBase:
    """The first that is one, else the running event loop's, else the delivery thread's.

    So timers fire where chunks are delivered.

    Args:
        wanted: The operator's own scheduler, then its subscription's. Those that run work where
            they are called (immediate, current thread, trampoline) would sleep there, and count
            as none.
    """
    for scheduler in wanted:
        if isinstance(scheduler, AsyncIOScheduler):
            return LoopScheduler(scheduler._loop)
        if has_a_place(scheduler):
            return scheduler
    loop = running_loop()
    return (
        LoopScheduler(loop) if loop is not None else CatchScheduler(delivery_scheduler(), _logged)
    )


def _logged(error: Exception) -> bool:
    # One subscriber's fault must not end the thread that serves all.
    log(FunctionRaised("a subscriber raised in a timed operator", error))
    return True


class LoopScheduler(AsyncIOScheduler):
    """An event loop's timers, by its own clock, from any thread, and never blocking.

    RxPY's `AsyncIOScheduler` may be used on its loop's thread only, and its thread-safe sister
    may block another loop when a timer is disposed.

    Args:
        loop: Where the work runs. Once it is closed, nothing does.
    """

    @property
    def now(self) -> datetime:
        """The loop's time; RxPY's is the wall clock, which may be set back."""
        return self.to_datetime(self._loop.time())

    def schedule(
        self, action: typing.ScheduledAction[S], state: S | None = None
    ) -> abc.DisposableBase:
        """Run `action` on the loop, soon."""
        return self._set(lambda: AsyncIOScheduler.schedule(self, action, state))

    def schedule_relative(
        self,
        duetime: typing.RelativeTime,
        action: typing.ScheduledAction[S],
        state: S | None = None,
    ) -> abc.DisposableBase:
        """Run `action` on the loop, `duetime` seconds from now."""
        if self.to_seconds(duetime) <= 0:
            return self.schedule(action, state)
        return self._set(lambda: AsyncIOScheduler.schedule_relative(self, duetime, action, state))

    def _set(self, timer: Callable[[], abc.DisposableBase]) -> abc.DisposableBase:
        if running_loop() is self._loop:
            return timer()
        running = SingleAssignmentDisposable()

        def begin() -> None:
            running.disposable = timer()

        self._there(begin)
        return Disposable(lambda: self._there(running.dispose))

    def _there(self, work: Callable[[], None]) -> None:
        if running_loop() is self._loop:
            work()
            return
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:
            return  # the loop is closed
