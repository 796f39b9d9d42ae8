"""Subscribers of broadcasts: an Rx observer, a wait for the end, and others that take no items.

A thunk's `subscribe`, `avalue`, `wait`, `hold` and `when_ended` are made of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Generic, TypeVar

from reactivex import abc

from mellea_rx.core.runtime.delivery import Dispatcher, loop_dispatcher, running_loop
from mellea_rx.core.runtime.engine import asyncio_loop, engine, engine_loop
from mellea_rx.core.runtime.wait_graph import begin_wait, current_call, end_wait
from mellea_rx.core.runtime.waiting import LoopWait, Pending, ThreadWait
from mellea_rx.core.streams.broadcast import Broadcast, SubscriberBuffer
from mellea_rx.core.streams.generation import Generation, Notice
from mellea_rx.core.streams.observable import safe_on_next, safe_terminate
from mellea_rx.core.streams.retraction import Effect, Retraction
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.errors import (
    BlockingWaitError,
    MelleaRxError,
    WaitTimeoutError,
)

T = TypeVar("T")


def refuse_deadlock(generation: Generation) -> None:
    """Raise where a blocking wait for the generation would stop something that it depends on.

    Raises:
        BlockingWaitError: Functions of the user's that it calls run on this thread's event loop, or
            on one that does not run; or this is the engine's own thread.
    """
    if generation.has_ended:
        return
    if engine_loop() is not None:
        raise BlockingWaitError(
            "a blocking wait on the engine's own thread would stop every call that runs on it: "
            "here (in a backend, a function that one calls, or virtual time), use "
            "`await thunk.avalue()`"
        )
    here = running_loop()
    for loop in generation.needs:
        if loop is here:
            raise BlockingWaitError(
                "a blocking wait on the event loop that has to run this call's async functions "
                "(or its http_session) could never end: use `await thunk.avalue()` (or the verb "
                "with an a- prefix)"
            )
        if not loop.is_running():
            raise BlockingWaitError(
                "this call's async functions (or its http_session) run on an event loop that does "
                "not run now: "
                "wait inside it, with `await thunk.avalue()`"
            )


class ObserverSubscription(Generic[T]):
    """Pushes a broadcast's items to an Rx observer: serialized, with one terminal at most.

    Args:
        broadcast: The source of the items.
        observer: Called with them.
        dispatcher: The dispatcher that calls the observer.
        buffer: Keeps the items that were not delivered yet; it may join items into one.
        keep: Kept alive as long as the subscription lasts.
        map_error: Makes of the broadcast's error the one that the observer is given.
    """

    is_idle = False

    __slots__ = (
        "_broadcast",
        "_buffer",
        "_busy",
        "_context",
        "_dispatcher",
        "_done",
        "_failure",
        "_keep",
        "_map_error",
        "_observer",
        "has_ended",
    )

    def __init__(
        self,
        broadcast: Broadcast[T],
        observer: abc.ObserverBase[T],
        dispatcher: Dispatcher,
        buffer: SubscriberBuffer[T],
        keep: object,
        map_error: Callable[[Exception], Exception] = lambda error: error,
    ) -> None:
        self._broadcast = broadcast
        self._map_error = map_error
        self._observer = observer
        self._dispatcher = dispatcher
        self._buffer = buffer
        self._keep = keep
        self._busy = False
        self.has_ended = False
        self._done = False
        self._failure: MelleaRxError | None = None
        # The observer is called with the context variables of `subscribe`, whatever thread the
        # wake-up comes from; but not as a part of a call whose code subscribed: that call does not
        # wait for it.
        self._context = copy_context()
        self._context.run(current_call.set, None)
        broadcast.attach(self)

    def add(self, item: T) -> bool:
        self._buffer.add(item)
        return self._claim()

    def end(self) -> bool:
        self.has_ended = True
        return self._claim()

    def retract(self, retraction: Retraction) -> bool:
        effect = self._buffer.retract(retraction)
        if effect is Effect.FAILED:
            self._failure = retraction.error
            self.has_ended = True
            self._broadcast.forget(self)
        return effect is not Effect.NONE and self._claim()

    def _claim(self) -> bool:
        # Called with the lock held. Busy until `deliver` finds nothing left, so that no two threads
        # of a scheduler call the observer at once, and one wake-up is enough for many items.
        if self._busy or self._done:
            return False
        self._busy = True
        return True

    def wake(self) -> None:
        self._dispatcher.wake(self)

    def deliver(self) -> None:
        with self._broadcast.lock:
            if self._done:
                return
            has_item = bool(self._buffer)
            if not has_item and not self.has_ended:
                self._busy = False
                return
            item: Any = self._buffer.take() if has_item else None
        # Only one thread at a time may be inside a context. So it is entered for the observer's
        # call alone: as long as this is busy, no other thread gets here; as soon as it is woken
        # again, or not busy any more, another thread may, while this one is still returning.
        if not has_item:
            self._context.run(self._finish)
        elif self._context.run(self._hand_over, item):
            self._dispatcher.wake(self)

    def _hand_over(self, item: T) -> bool:
        """Call `on_next`. Returns whether the subscription goes on."""
        goes_on = False
        try:
            goes_on = safe_on_next(self._observer, item)
        finally:
            if not goes_on:
                self.dispose()
        return goes_on

    def _finish(self) -> None:
        broadcast, observer = self._broadcast, self._observer
        self.dispose()
        broadcast.end_delivered()
        error = self._failure or broadcast.error
        safe_terminate(observer, None if error is None else self._map_error(error))

    def on_target_closed(self) -> None:
        self.dispose()

    def dispose(self) -> None:
        """End the subscription.

        Called on the dispatcher's thread, nothing is delivered after it has returned.
        """
        self._done = True
        self._broadcast.detach(self)
        self._keep = None


class _EndSubscriber:
    """A subscriber that ignores all chunks, and is woken at the end."""

    __slots__ = ()

    is_idle = False

    def add(self, chunk: Chunk) -> bool:
        return False

    def end(self) -> bool:
        return True

    def retract(self, retraction: Retraction) -> bool:
        return False


class CompletionWaiter(_EndSubscriber):
    """Waits for the end of a generation; no chunk wakes it.

    Args:
        generation: Waited for.
    """

    __slots__ = ("_generation", "_notice", "_pending", "_waiting")

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._pending: Pending | None = None
        self._waiting: LoopWait | None = None
        self._notice: Notice | None = None

    def wake(self) -> None:
        if self._waiting is not None:
            self._waiting.dispatcher.wake(self)
        elif self._pending is not None:
            self._pending.wake()

    def deliver(self) -> None:
        if self._notice is not None:
            self._generation.end_observed = True
        if self._waiting is not None:
            self._waiting.deliver()

    def on_target_closed(self) -> None:
        if self._notice is not None:
            self._generation.end_observed = True

    async def wait(self) -> None:
        """Return when the generation has ended. Cancelling this wait ends nothing else.

        Raises:
            AsyncioRequiredError: No asyncio event loop runs here.
            DependencyCycleError: It waits for the very call that this wait is made in.
        """
        generation = self._generation
        asyncio_loop()  # also where it has ended: a wrong caller fails always, and not sometimes
        if not generation.has_ended:
            waiter = begin_wait(generation)
            self._waiting = waiting = LoopWait()
            # This wait delivers the notice as well: one wake-up of the loop for both.
            self._notice = generation.take_notice(waiting.dispatcher)
            generation.attach(self)
            try:
                await waiting
            finally:
                waiting.leave()
                generation.detach(self)
                generation.give_back(self._notice)
                end_wait(waiter, generation)

    def wait_blocking(self, timeout: float | None = None) -> None:
        """Block this thread until the generation has ended.

        Args:
            timeout: Seconds; None for ever.

        Raises:
            BlockingWaitError: The wait could never end.
            DependencyCycleError: It waits for the very call that this wait is made in.
            WaitTimeoutError: The time ran out; the generation goes on.
        """
        generation = self._generation
        refuse_deadlock(generation)
        if not generation.has_ended:
            waiter = begin_wait(generation)
            self._pending = pending = ThreadWait(engine().event())
            generation.attach(self)
            try:
                if not pending.wait(timeout):
                    raise WaitTimeoutError(
                        f"not computed after {timeout} s; the generation goes on",
                        text=generation.answer().text,
                    )
            finally:
                generation.detach(self)
                end_wait(waiter, generation)


class CompletionCallback(_EndSubscriber):
    """Calls a function once, when a generation has ended.

    Args:
        generation: Waited for; where a call's code makes this, that call counts as the waiter.
        dispatcher: Calls the function; never before this constructor has returned.
        callback: The function.
        lost: Called instead, on any thread, when the dispatcher's place is gone.

    Raises:
        DependencyCycleError: The generation waits for the very call that runs here.
    """

    __slots__ = ("_callback", "_dispatcher", "_generation", "_lost", "_waiter")

    def __init__(
        self,
        generation: Generation,
        dispatcher: Dispatcher,
        callback: Callable[[], object],
        lost: Callable[[], object],
    ) -> None:
        self._generation = generation
        self._dispatcher = dispatcher
        self._callback: Callable[[], object] | None = callback
        self._lost = lost
        self._waiter = begin_wait(generation)
        generation.attach(self)

    def wake(self) -> None:
        self._dispatcher.wake(self)

    def deliver(self) -> None:
        callback = self._callback
        self.dispose()
        if callback is not None:
            callback()

    def on_target_closed(self) -> None:
        self.dispose()
        self._lost()

    def dispose(self) -> None:
        """Call nothing from now on. Idempotent."""
        self._callback = None
        self._generation.detach(self)
        waiter, self._waiter = self._waiter, None
        end_wait(waiter, self._generation)


class KeepAlive(_EndSubscriber):
    """Keeps a generation running without consuming it.

    Args:
        generation: Kept running.
        keep: Kept alive meanwhile.
    """

    __slots__ = ("_generation", "_keep")

    def __init__(self, generation: Generation, keep: object) -> None:
        self._generation = generation
        self._keep = keep
        generation.attach(self)

    def wake(self) -> None:
        pass

    def dispose(self) -> None:
        """Stop keeping it; the last subscriber that leaves ends the generation."""
        self._generation.leave(self, "nobody takes it any more")
        self._keep = None


class CompletionNotice(_EndSubscriber):
    """Notes on the caller's loop, in a callback of it, that a generation has ended.

    So a thunk is never computed in the very iteration of the loop in which its verb returned, even
    with a backend that answers at once. A wait for the end on the same loop does it instead.
    """

    __slots__ = ("_generation", "dispatcher")

    def __init__(self, generation: Generation, loop: asyncio.AbstractEventLoop) -> None:
        self._generation = generation
        self.dispatcher = loop_dispatcher(loop)
        generation.notice = self

    def wake(self) -> None:
        self.dispatcher.wake(self)

    def deliver(self) -> None:
        self._generation.end_observed = True

    def on_target_closed(self) -> None:
        self._generation.end_observed = True
