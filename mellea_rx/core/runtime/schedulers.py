"""Schedulers for timed operators: the scheduler given, the running loop's, or the engine's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

from reactivex import abc, typing
from reactivex.disposable import Disposable, SerialDisposable, SingleAssignmentDisposable
from reactivex.scheduler import CatchScheduler, NewThreadScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

from mellea_rx.core.runtime.delivery import (
    Dispatcher,
    dispatcher_for,
    is_deferring,
    running_loop,
    worker_dispatcher,
)
from mellea_rx.core.runtime.engine import engine
from mellea_rx.core.runtime.logs import FunctionRaised, log
from mellea_rx.errors import EngineStoppedError

S = TypeVar("S")


def scheduler_for(*wanted: abc.SchedulerBase | None) -> abc.SchedulerBase:
    """The first of some schedulers, else one of the running event loop, or of the engine's timers.

    So timers fire on the loop or thread on which chunks are delivered.

    Args:
        wanted: The operator's own scheduler, then its subscription's. Schedulers that run work
            where they are called (immediate, current thread, trampoline) would sleep there: they
            count as none.
    """
    for scheduler in wanted:
        if isinstance(scheduler, AsyncIOScheduler):
            return LoopScheduler(scheduler._loop)
        if isinstance(scheduler, NewThreadScheduler):
            # It has a thread sleep for each timer, also for one that is disposed; a pool of few
            # threads would have none left for the chunks.
            return CatchScheduler(WorkerScheduler(dispatcher_for(scheduler)), _logged)
        if is_deferring(scheduler):
            return scheduler
    loop = running_loop()
    if loop is not None:
        return LoopScheduler(loop)
    return CatchScheduler(WorkerScheduler(worker_dispatcher()), _logged)


def _logged(error: Exception) -> bool:
    # One subscriber's fault must not end the thread that serves all.
    log(FunctionRaised("a subscriber raised in a timed operator", error))
    return True


class LoopScheduler(AsyncIOScheduler):
    """Timers of an event loop, by its own clock. Used from any thread; never blocks.

    RxPY's `AsyncIOScheduler` may be used on its loop's thread only, and its thread-safe sister
    may block another loop when a timer is disposed.

    Args:
        loop: Runs the work; nothing runs once it is closed.
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


class WorkerScheduler(PeriodicScheduler):
    """Timers of a subscription without an event loop; they fire where its chunks are delivered.

    The engine waits for them: they cost no thread.

    Args:
        dispatcher: Calls the subscriber.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__()
        self._dispatcher = dispatcher

    @property
    def now(self) -> datetime:
        """The engine's time; RxPY's is the wall clock, which may be set back."""
        return self.to_datetime(engine().clock())

    def schedule(
        self, action: typing.ScheduledAction[S], state: S | None = None
    ) -> abc.DisposableBase:
        """Run `action`, soon."""
        timer = _Timer(self, action, state)
        self._dispatcher.wake(timer)
        return Disposable(timer.cancel)

    def schedule_relative(
        self,
        duetime: typing.RelativeTime,
        action: typing.ScheduledAction[S],
        state: S | None = None,
    ) -> abc.DisposableBase:
        """Run `action`, `duetime` seconds from now."""
        seconds = self.to_seconds(duetime)
        if seconds <= 0:
            return self.schedule(action, state)
        timer = _Timer(self, action, state)
        timer.begin(seconds, self._dispatcher)
        return Disposable(timer.cancel)

    def schedule_absolute(
        self,
        duetime: typing.AbsoluteTime,
        action: typing.ScheduledAction[S],
        state: S | None = None,
    ) -> abc.DisposableBase:
        """Run `action` at a moment of `now`."""
        return self.schedule_relative(self.to_datetime(duetime) - self.now, action, state)


class _Timer:
    """One scheduled action."""

    def __init__(
        self, scheduler: WorkerScheduler, action: typing.ScheduledAction[Any], state: Any
    ) -> None:
        self._act: Callable[[], Any] | None = lambda: scheduler.invoke_action(action, state)
        self._engine = engine()
        self._handle: asyncio.TimerHandle | None = None
        self._follows = SerialDisposable()

    def begin(self, seconds: float, dispatcher: Dispatcher) -> None:
        """Schedule it in so many seconds."""

        def set_timer() -> None:
            if self._act is not None:
                self._handle = self._engine.loop.call_later(seconds, dispatcher.wake, self)

        self._engine.call(set_timer)

    def deliver(self) -> None:
        act, self._act = self._act, None
        if act is not None:
            self._follows.disposable = act()

    def on_target_closed(self) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Cancel it. From any thread; idempotent."""
        self._act = None
        self._follows.dispose()
        handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(EngineStoppedError):
                self._engine.call(handle.cancel)
