"""Waits of one coroutine or one thread that any thread may end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from contextvars import Context, copy_context
from typing import Any, Protocol

from mellea_rx.core.runtime.delivery import loop_dispatcher
from mellea_rx.core.runtime.engine import asyncio_loop
from mellea_rx.core.runtime.held_loop import HeldLoop


class Pending(Protocol):
    """A wait that has begun.

    Attributes:
        blocks: Whether it holds up its whole thread.
    """

    blocks: bool

    @property
    def is_void(self) -> bool:
        """Whether its coroutine was cancelled or resumed, or can never be resumed."""
        ...

    def wake(self) -> None:
        """End the wait. From any thread; idempotent; never blocks."""
        ...

    def pause(self) -> object | None:
        """Wait: a thread is blocked at once, and a coroutine has to yield the result."""
        ...

    def leave(self) -> None:
        """Note that the waiter has gone on: from here on the wait is void."""
        ...


class LoopWait:
    """A coroutine's wait, on the running loop: awaitable once, by one task.

    It is a future to asyncio (a task waits for any object that has `_asyncio_future_blocking`),
    with one difference: its loop's dispatcher resumes the task itself, where a future would
    schedule that for the loop's next iteration. Each wait is an object of its own, so a wake-up
    that arrives after its reader was cancelled, or went on in another loop, finds this wait over
    and resumes no task.

    Raises:
        AsyncioRequiredError: No asyncio event loop runs here.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_cancelled",
        "_context",
        "_is_over",
        "_is_woken",
        "_loop",
        "_resume",
        "dispatcher",
    )

    blocks = False

    def __init__(self) -> None:
        self._loop = loop = asyncio_loop()
        self.dispatcher = loop_dispatcher(loop)
        self._asyncio_future_blocking = False
        self._is_woken = self._is_over = False
        self._resume: Callable[[LoopWait], object] | None = None
        self._context: Context | None = None
        self._cancelled: asyncio.CancelledError | None = None

    @property
    def is_void(self) -> bool:
        return self._is_over or self._loop.is_closed()

    def wake(self) -> None:
        if not self._is_woken:  # once, however many chunks come before the loop's turn
            self._is_woken = True
            self.dispatcher.wake(self)

    def deliver(self) -> None:
        """Resume the task; called in a callback of its loop."""
        resume, context = self._resume, self._context
        if resume is not None and context is not None:
            self._resume = None
            try:
                context.run(resume, self)
            finally:
                # The frames of an error that the task raises lead back to this one (on Python 3.13
                # even after it has returned): with the task in it they would be a circle.
                del resume, context

    def on_target_closed(self) -> None:
        """Its loop is closed: there is nothing to resume."""

    def pause(self) -> LoopWait:
        self._asyncio_future_blocking = True
        return self

    def __await__(self) -> Generator[LoopWait, None, None]:
        yield self.pause()

    def leave(self) -> None:
        self._is_over = True
        # A buffer may still refer to this wait: it must not keep the task, or what its context has.
        self._resume = self._context = None

    # A task's side: the part of a future's interface that asyncio calls.

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(
        self, resume: Callable[[LoopWait], object], *, context: Context | None = None
    ) -> None:
        self._context = copy_context() if context is None else context
        self._resume = resume

    def cancel(self, msg: Any = None) -> bool:
        """End the wait with a `CancelledError`, in a later callback of the loop."""
        resume, self._resume = self._resume, None
        if resume is None:
            return False  # the task runs already: asyncio cancels it at its next wait
        self._is_over = True
        self._cancelled = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        self._loop.call_soon(resume, self, context=self._context)
        return True

    def result(self) -> None:
        """Called by the task when it is resumed."""
        cancelled, self._cancelled = self._cancelled, None
        if cancelled is not None:
            try:
                raise cancelled
            finally:
                del cancelled  # it holds this frame


class ThreadWait:
    """A thread's wait, which blocks it.

    Args:
        event: Blocked on; `Engine.event` where only the engine sets it.
    """

    __slots__ = ("_event", "is_void")

    blocks = True

    def __init__(self, event: threading.Event) -> None:
        self._event = event
        self.is_void = False

    def wake(self) -> None:
        self._event.set()

    def pause(self) -> None:
        self.wait(None)

    def leave(self) -> None:
        self.is_void = True

    def wait(self, timeout: float | None) -> bool:
        """Block this thread.

        Args:
            timeout: Seconds; None for ever.

        Returns:
            False when the time ran out.
        """
        with HeldLoop():
            return self._event.wait(timeout)
