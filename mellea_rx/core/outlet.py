"""Where consumers are called: their own event loop, a scheduler, or one delivery thread.

The engine marks a consumer as ready; the consumer's outlet is woken once for all that became ready
since (one `call_soon_threadsafe` per loop, not one per chunk), and calls each of them there.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol, TypeGuard

from reactivex import abc
from reactivex.scheduler import (
    CurrentThreadScheduler,
    EventLoopScheduler,
    ImmediateScheduler,
    TrampolineScheduler,
)
from reactivex.scheduler.eventloop import AsyncIOScheduler

from mellea_rx.core.engine import engine_loop
from mellea_rx.core.logs import FunctionRaised, log
from mellea_rx.core.waits import RUNNING

__all__ = [
    "Outlet",
    "Ready",
    "delivery_scheduler",
    "has_a_place",
    "loop_for",
    "loop_outlet",
    "outlet_for",
    "running_loop",
]

WAKE_PAUSE = 0.002
"""Seconds between two wake-ups of one loop, where several consumers are woken at a time.

A lone consumer is woken at once: a pause would gather nothing for it.
"""


class Ready(Protocol):
    """A consumer that can be called on its outlet."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come for it."""
        ...

    def deliver(self) -> None:
        """Hand over all that came since the last call."""
        ...

    def undeliverable(self) -> None:
        """The outlet is gone (its loop closed): nothing will be delivered any more."""
        ...


class Outlet:
    """Calls consumers in the order in which they became ready, always in one place.

    Args:
        post: Schedules a function there; raises RuntimeError when the place is gone.
        pause: Seconds between two wake-ups, while more than one consumer is woken at a time.
    """

    __slots__ = (
        "__weakref__",
        "_crowded",
        "_is_due",
        "_lock",
        "_next",
        "_pause",
        "_post",
        "_posted",
        "_ready",
        "_told",
        "_turning",
    )

    def __init__(
        self, post: Callable[[Callable[[], None]], object], pause: float = WAKE_PAUSE
    ) -> None:
        self._post = post
        self._pause = pause
        self._lock = threading.Lock()
        self._ready: list[Ready] = []
        self._posted = False
        self._is_due = False  # whether the engine's next turn posts what is ready
        self._told = False  # whether a last word was posted in this turn
        self._turning: asyncio.AbstractEventLoop | None = None  # whose next turn comes by here
        self._next = 0.0
        self._crowded = False  # whether the last wake-up was for more than one consumer

    def wake(self, consumer: Ready) -> None:
        """Have `consumer.deliver` called soon. Thread-safe, never blocks."""
        with self._lock:
            if not self._ready or self._ready[-1] is not consumer:
                self._ready.append(consumer)
            # There is nothing to gather: no other consumer, and nothing more for this one.
            is_last = consumer.has_ended and not self._crowded and len(self._ready) == 1
            if self._posted and not is_last:
                return
            posted, self._posted = self._posted, True
        here = engine_loop()
        if here is None:
            if not posted:
                self._post_drain()
        elif is_last and not self._told:
            self._post_last(here, posted)
        elif not posted:
            self._post_later(here)

    def _post_last(self, here: asyncio.AbstractEventLoop, posted: bool) -> None:
        # Once a turn: where many end together, only the first of them looks like the only one.
        self._told = True
        self._come_by(here)
        if self._is_due or not posted:
            self._is_due = False
            self._post_drain()

    def _post_later(self, here: asyncio.AbstractEventLoop) -> None:
        # On the engine: after all that is ready there now, and not before the pause of a crowd is
        # over.
        now = here.time()
        if now >= self._next or not self._crowded:
            self._next = now + self._pause
            self._is_due = True
            self._come_by(here)
        else:
            here.call_at(self._next, self._post_drain)
            self._next += self._pause

    def _come_by(self, here: asyncio.AbstractEventLoop) -> None:
        if self._turning is not here:
            self._turning = here
            here.call_soon(self._turn)

    def _turn(self) -> None:
        self._turning = None
        self._told = False
        if self._is_due:
            self._is_due = False
            self._post_drain()

    def _post_drain(self) -> None:
        try:
            self._post(self._drain)
        except RuntimeError:
            with self._lock:
                lost, self._ready, self._posted = self._ready, [], False
            for each in lost:
                each.undeliverable()

    def _drain(self) -> None:
        with self._lock:
            ready, self._ready = self._ready, []
            self._posted = False
        self._crowded = len(ready) > 1
        # Posted from within some call, which does not wait for what its consumers do.
        token = RUNNING.set(None)
        try:
            self._deliver(ready)
        finally:
            RUNNING.reset(token)

    def _deliver(self, ready: list[Ready]) -> None:
        for index, consumer in enumerate(ready):
            try:
                consumer.deliver()
            except Exception as error:
                log(FunctionRaised("a consumer of chunks raised; the others go on", error))
            except BaseException:  # Ctrl-C in a reader's step: the others go on in a later turn
                for waiting in ready[index + 1 :]:
                    self.wake(waiting)
                raise


_loop_outlets: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Outlet] = (
    weakref.WeakKeyDictionary()
)
_thread_scheduler: EventLoopScheduler | None = None
_thread_outlet: Outlet | None = None
_guard = threading.Lock()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, or None."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def loop_outlet(loop: asyncio.AbstractEventLoop) -> Outlet:
    """The one outlet of an event loop."""
    outlet = _loop_outlets.get(loop)
    if outlet is None:
        with _guard:
            outlet = _loop_outlets.get(loop)
            if outlet is None:
                # The outlet must not keep its loop alive: the table is keyed by it.
                reference = weakref.ref(loop)

                def post(function: Callable[[], None]) -> None:
                    target = reference()
                    if target is None:
                        raise RuntimeError("the event loop is gone")
                    target.call_soon_threadsafe(function)

                # The engine's own loop is awake when it wakes itself: there is nothing to spare.
                pause = 0.0 if loop is engine_loop() else WAKE_PAUSE
                outlet = _loop_outlets[loop] = Outlet(post, pause)
    return outlet


def outlet_for(scheduler: abc.SchedulerBase | None) -> Outlet:
    """A subscriber's outlet: its scheduler's, else its running loop's, else the delivery thread's.

    Args:
        scheduler: What Rx was given as `scheduler=`. Those that run work where they are called
            (immediate, current thread, trampoline) would run it on the engine, and count as none.
    """
    loop = loop_for(scheduler)
    if loop is not None:
        return loop_outlet(loop)
    if has_a_place(scheduler):
        return Outlet(lambda function: scheduler.schedule(lambda *_: function()))
    return _delivery_thread()


def loop_for(scheduler: abc.SchedulerBase | None) -> asyncio.AbstractEventLoop | None:
    """The event loop that a subscriber is called on; None for a thread without one."""
    if isinstance(scheduler, AsyncIOScheduler):  # its own `schedule` is not thread-safe
        return scheduler._loop
    return None if has_a_place(scheduler) else running_loop()


def has_a_place(scheduler: abc.SchedulerBase | None) -> TypeGuard[abc.SchedulerBase]:
    """Whether it runs work in a place of its own, and not where it is called."""
    return scheduler is not None and not isinstance(
        scheduler, (CurrentThreadScheduler, ImmediateScheduler, TrampolineScheduler)
    )


def delivery_scheduler() -> EventLoopScheduler:
    """The scheduler of the delivery thread."""
    global _thread_scheduler
    with _guard:
        if _thread_scheduler is None:
            _thread_scheduler = EventLoopScheduler(thread_factory=_named_daemon)
        return _thread_scheduler


def _delivery_thread() -> Outlet:
    global _thread_outlet
    scheduler = delivery_scheduler()
    with _guard:
        if _thread_outlet is None:
            _thread_outlet = Outlet(lambda function: scheduler.schedule(lambda *_: function()))
        return _thread_outlet


def _named_daemon(target: Callable[..., None]) -> threading.Thread:
    return threading.Thread(target=target, name="mellea-rx-delivery", daemon=True)


def _start_afresh_in_child() -> None:
    global _thread_scheduler, _thread_outlet, _guard, _loop_outlets
    _guard = threading.Lock()
    _thread_scheduler = _thread_outlet = None
    _loop_outlets = weakref.WeakKeyDictionary()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh_in_child)
