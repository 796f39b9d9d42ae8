"""Delivery: the event loop, scheduler or thread on which a subscriber is called.

The engine marks a deliverable as ready; its dispatcher wakes the target once for all that became
ready since, and calls them there. Subscriptions, readers and timers deliver through it.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

from reactivex import abc
from reactivex.scheduler import (
    CurrentThreadScheduler,
    ImmediateScheduler,
    TrampolineScheduler,
)
from reactivex.scheduler.eventloop import AsyncIOScheduler

from mellea_rx.core.runtime.engine import HERE, engine_loop
from mellea_rx.core.runtime.logs import FunctionRaised, log
from mellea_rx.core.runtime.user_functions import WorkerThreads
from mellea_rx.core.runtime.wait_graph import current_call
from mellea_rx.errors import CallerLoopClosedError

_threads = WorkerThreads(name="mellea-rx-delivery", prompt=1)
# One thread is enough as long as no subscriber blocks it: work that waits for 10 ms gets another.

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.forget_all)


class SerialPost:
    """Calls posted functions on delivery threads: one at a time, and each on any of the threads.

    Of the functions that are posted while one runs, only the last is called after it: an dispatcher
    always posts the same one, its `drain`.
    """

    __slots__ = ("_due", "_is_at_work", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: Callable[[], None] | None = None
        self._is_at_work = False

    def __call__(self, function: Callable[[], None]) -> None:
        """Have a function called soon. From any thread; never blocks.

        Raises:
            RuntimeError: No thread can be started.
        """
        # The lock keeps "is a thread at work?" and the decision to start one in one step: `_next`
        # may find nothing due in another thread, and end, between the two.
        with self._lock:
            self._due = function
            if self._is_at_work:
                return
            self._is_at_work = True
        try:
            _threads.submit(self._work)
        except RuntimeError:
            self._is_at_work = False
            raise

    def _work(self) -> None:
        while (function := self._next()) is not None:
            try:
                function()
            except BaseException as error:
                # SystemExit as well: it would end this thread, which serves other subscribers too.
                log(FunctionRaised("a subscriber raised; the others go on", error))
            if self._goes_on_elsewhere():
                return

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            function, self._due = self._due, None
            if function is None:
                self._is_at_work = False
            return function

    def _goes_on_elsewhere(self) -> bool:
        """Let other subscribers' work go first. Returns whether a job was queued for the rest."""
        with self._lock:
            if self._due is None:
                return False  # and `_next` finds the end
        try:
            _threads.submit(self._work)
        except RuntimeError:  # no thread can be started: then on this one
            return False
        return True


class Deliverable(Protocol):
    """A consumer that an dispatcher calls."""

    def deliver(self) -> None:
        """Deliver all items, or one, and have it woken again. Called in the dispatcher's place."""
        ...

    def on_target_closed(self) -> None:
        """The dispatcher's place is gone (its loop is closed): `deliver` is not called again."""
        ...


class Dispatcher:
    """Calls consumers in the order in which they became ready, always in one place.

    A wake-up is posted once for all consumers that become ready until it arrives. The engine's
    thread posts it after all that the engine reads in this iteration of its loop, so that a burst
    of chunks, or the ends of many calls, are one wake-up.

    Args:
        post: Schedules a function in that place; raises RuntimeError when the place is gone.
    """

    __slots__ = ("__weakref__", "_is_posted", "_ready", "post")

    def __init__(self, post: Callable[[Callable[[], None]], object]) -> None:
        self.post = post
        self._ready: deque[Deliverable] = deque()
        self._is_posted = False

    def wake(self, consumer: Deliverable) -> None:
        """Have `consumer.deliver` called soon. Thread-safe, never blocks."""
        # Without a lock. The order matters: this appends before it reads the mark, and `drain`
        # clears the mark before it looks into the queue. So a consumer whose thread finds the mark
        # set is seen by the drain that the mark stands for; in the other order it could be missed,
        # and nothing would wake it. Two threads that both find the mark unset post twice: then
        # the second drain finds nothing to do.
        self._ready.append(consumer)
        if self._is_posted:
            return
        self._is_posted = True
        here = engine_loop()
        if here is None:
            self._post_drain()
        else:
            here.call_soon(self._post_drain)

    def _post_drain(self) -> None:
        try:
            self.post(self.drain)
        except RuntimeError:
            self._is_posted = False
            self._lose()

    def drain(self) -> None:
        """Call the consumers that are ready now. Runs in the dispatcher's place."""
        self._is_posted = False
        # The wake-up may have been posted by code of some call: the consumers are no part of it.
        token = current_call.set(None)
        try:
            self._deliver()
        finally:
            current_call.reset(token)
            # Also where Ctrl-C interrupted one of them: the others are called in a later drain.
            if self._ready and not self._is_posted:
                self._is_posted = True
                self._post_drain()

    def _deliver(self) -> None:
        # Only as many as there were at the beginning: a consumer that is woken again by its own
        # delivery is called again in the next drain, so that it keeps no other one waiting.
        ready = self._ready
        for _ in range(len(ready)):
            try:
                consumer = ready.popleft()
            except IndexError:  # another thread of the same scheduler has taken it
                return
            try:
                consumer.deliver()
            except Exception as error:
                log(FunctionRaised("a consumer of chunks raised; the others go on", error))

    def _lose(self) -> None:
        """Tell all consumers that are ready that this place is gone."""
        with suppress(IndexError):  # raised when none is left
            while True:
                self._ready.popleft().on_target_closed()


class _LoopPost:
    """Calls an dispatcher's `drain` in a callback of its event loop, from any thread.

    asyncio's own wake-up writes a byte to a pair of sockets, and reads it with a buffer of 4 KiB.
    An eventfd is one number, written and read: 50 us less for a call and its answer.

    Args:
        loop: Not kept alive by this: the table of dispatchers is keyed by it, weakly.
    """

    __slots__ = ("_fd", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._fd: int | None = None

    def __call__(self, function: Callable[[], None]) -> None:
        # The reference keeps the loop alive while this runs. Without it, the loop could be
        # collected meanwhile and its eventfd closed, and the write would go to the file that gets
        # that number next.
        loop = self._loop()
        if loop is None or loop.is_closed():
            raise RuntimeError("the event loop is gone")
        if running_loop() is loop:
            loop.call_soon(function)
        elif self._fd is None:
            loop.call_soon_threadsafe(function)
        else:
            os.eventfd_write(self._fd, 1)

    def listen(self, loop: asyncio.AbstractEventLoop, dispatcher: Dispatcher) -> None:
        """Use an eventfd from here on, where the system has them. Called on the loop's thread.

        Only on asyncio's own loop: uvloop has an eventfd itself, and a loop of another kind may
        have to see each call from outside.
        """
        if self._fd is not None or type(loop) is not _EVENTFD_LOOP:
            return
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(loop, os.close, fd)
        drain = weakref.WeakMethod(dispatcher.drain)

        def come() -> None:
            os.eventfd_read(fd)
            now = drain()
            if now is not None:
                now()

        loop.add_reader(fd, come)
        self._fd = fd

    def forget(self) -> None:
        """Stop using the eventfd: in a forked child it is shared with the parent."""
        self._fd = None


_EVENTFD_LOOP: type | None = asyncio.SelectorEventLoop if hasattr(os, "eventfd") else None

_loop_dispatchers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Dispatcher] = (
    weakref.WeakKeyDictionary()
)
_guard = threading.Lock()


def _no_loop() -> None:
    return None


_latest: tuple[Callable[[], asyncio.AbstractEventLoop | None], Dispatcher | None] = _no_loop, None
"""The loop that was asked for last, weakly, and its dispatcher.

They are one tuple, so that no thread reads the loop of one and the dispatcher of another."""


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, or None."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def loop_dispatcher(loop: asyncio.AbstractEventLoop) -> Dispatcher:
    """The one dispatcher of an event loop."""
    global _latest
    latest_loop, latest_outlet = _latest
    if latest_loop() is loop and latest_outlet is not None:
        return latest_outlet  # nearly always: programs have one loop
    dispatcher = _loop_dispatchers.get(loop)
    if dispatcher is None:
        with _guard:
            dispatcher = _loop_dispatchers.get(loop)
            if dispatcher is None:
                post = _LoopPost(loop)
                dispatcher = _loop_dispatchers[loop] = LoopDispatcher(post)
                if running_loop() is loop:
                    post.listen(loop, dispatcher)
    _latest = weakref.ref(loop), dispatcher
    return dispatcher


def dispatcher_for(scheduler: abc.SchedulerBase | None) -> Dispatcher:
    """A subscriber's dispatcher: its scheduler's, else the running loop's, else one of its own.

    Args:
        scheduler: The argument `scheduler=` of Rx. Schedulers that run work where they are called
            (immediate, current thread, trampoline) would run it on the engine: they count as none.
    """
    loop = loop_for(scheduler)
    if loop is not None:
        return loop_dispatcher(loop)
    if is_deferring(scheduler):
        return Dispatcher(lambda function: scheduler.schedule(lambda *_: function()))
    return worker_dispatcher()


def loop_for(scheduler: abc.SchedulerBase | None) -> asyncio.AbstractEventLoop | None:
    """The event loop that calls a subscriber; None for one without an event loop."""
    if isinstance(scheduler, AsyncIOScheduler):  # its own `schedule` is not thread-safe
        return scheduler._loop
    return None if is_deferring(scheduler) else running_loop()


def is_deferring(scheduler: abc.SchedulerBase | None) -> TypeGuard[abc.SchedulerBase]:
    """Whether a scheduler runs work in a place of its own, and not in the thread that calls it."""
    return scheduler is not None and not isinstance(
        scheduler, (CurrentThreadScheduler, ImmediateScheduler, TrampolineScheduler)
    )


class LoopDispatcher(Dispatcher):
    """Calls consumers in callbacks of an event loop."""

    __slots__ = ()

    def drain(self) -> None:
        HERE.loop = running_loop()
        try:
            super().drain()
        finally:
            HERE.loop = None

    def _deliver(self) -> None:
        # A consumer may run this very loop from within its call (`nest_asyncio` does, in notebooks)
        # and wait there for one of the others: those get a drain of their own beforehand.
        if len(self._ready) > 1:
            self._is_posted = True
            self._post_drain()
        super()._deliver()


class WorkerDispatcher(Dispatcher):
    """Calls the subscribers of code without an event loop, on one thread at a time.

    Each subscription has its own dispatcher, so that a subscriber that blocks delays no other one.
    Subscriptions that are made within it (to the sources of an operator, or in an `on_next`) share
    it, as they would share a loop: so operators get serial calls.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(SerialPost())

    def drain(self) -> None:
        _here.dispatcher = self
        try:
            super().drain()
        finally:
            _here.dispatcher = None


class _Here(threading.local):
    dispatcher: WorkerDispatcher | None = None
    """The dispatcher that runs in this thread, or that of the subscription that it is making."""


_here = _Here()


def worker_dispatcher() -> WorkerDispatcher:
    """The dispatcher of a subscription that is made here, where no event loop runs."""
    dispatcher = _here.dispatcher
    if dispatcher is None:
        dispatcher = WorkerDispatcher()
        subscribing = CurrentThreadScheduler.singleton()
        # RxPY makes a whole subscription in one run of this thread's trampoline, so all that is
        # subscribed to in that run belongs to the same subscription. The function that is
        # scheduled here runs at its end.
        if not subscribing.schedule_required():
            _here.dispatcher = dispatcher
            subscribing.schedule(lambda *_: setattr(_here, "dispatcher", None))
    return dispatcher


def _start_afresh_in_child() -> None:
    global _guard, _latest, _loop_dispatchers
    for dispatcher in _loop_dispatchers.values():
        if isinstance(dispatcher.post, _LoopPost):
            dispatcher.post.forget()
    _guard = threading.Lock()
    _loop_dispatchers = weakref.WeakKeyDictionary()
    _latest = _no_loop, None
    HERE.loop = None  # forked within a drain: no loop runs in the child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh_in_child)


@dataclass(frozen=True, slots=True)
class DeliveryTarget:
    """The loop and dispatcher that a subscription runs on.

    Attributes:
        dispatcher: Calls the subscriber.
        loop: Runs the subscriber's async functions; None where the subscriber has no event loop.
    """

    dispatcher: Dispatcher
    loop: asyncio.AbstractEventLoop | None

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Future[None]:
        """Run a coroutine on the subscriber's loop, or on a new loop in a thread where it has none.

        Args:
            work: Makes the coroutine.

        Returns:
            A future that cancels the coroutine, from any thread.

        Raises:
            CallerLoopClosedError: The subscriber's loop is closed.
        """
        if self.loop is not None:
            return _run(work, self.loop)
        loop = asyncio.new_event_loop()
        threading.Thread(
            target=_serve, args=(loop,), name="mellea-rx-subscription", daemon=True
        ).start()
        future = _run(work, loop)

        def stop(_: Future[None]) -> None:
            loop.call_soon_threadsafe(loop.stop)

        # Added on the loop, so that it stands behind the callback by which a cancellation of the
        # future reaches the coroutine: they are called in order, and that one needs the loop open.
        loop.call_soon_threadsafe(future.add_done_callback, stop)
        return future

    def call(self, function: Callable[[], object], lost: Callable[[], object]) -> None:
        """Have the dispatcher call a function soon, with the context variables of this code.

        Args:
            function: The function.
            lost: Called instead, on any thread, when the dispatcher's place is gone.
        """
        self.dispatcher.wake(_ScheduledCall(function, lost, copy_context()))


@dataclass(frozen=True, slots=True)
class _ScheduledCall:
    """A function that a dispatcher calls; once, so its context is entered once."""

    function: Callable[[], object]
    lost: Callable[[], object]
    context: Context

    def deliver(self) -> None:
        self.context.run(self.function)

    def on_target_closed(self) -> None:
        self.lost()


def delivery_target_for(scheduler: abc.SchedulerBase | None) -> DeliveryTarget:
    """The loop and dispatcher of a subscription that is made here, now, with this scheduler."""
    return DeliveryTarget(dispatcher_for(scheduler), loop_for(scheduler))


def _run(
    work: Callable[[], Coroutine[Any, Any, None]], loop: asyncio.AbstractEventLoop
) -> Future[None]:
    coroutine = work()
    try:
        return asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError as error:
        coroutine.close()
        raise CallerLoopClosedError("the event loop of this subscription is closed") from error


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()
