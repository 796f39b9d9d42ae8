"""Calls of users' quick functions in a worker thread, many at a time.

A hand-over to a thread and back costs some 50 microseconds. Streaming validations are called for
each unit of each stream: their calls wait in one queue, one thread makes them, and the loop is
woken once for all results. A function that blocks holds up the others for `PATIENCE` at most: then
another thread takes the queue.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from mellea_rx.core.runtime.user_functions import PATIENCE, returned, worker_threads

Done = Callable[[Any, Exception | None], object]
"""Called on the loop with the function's result, or its exception."""


class BatchedCall:
    """One call.

    Attributes:
        done: See `BatchedCalls.call`; None once the call was given up.
        counts: Whether the thread that makes it now counts as one that serves the queue.
    """

    __slots__ = ("args", "asked_at", "context", "counts", "done", "error", "function", "result")

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        context: Context,
        done: Done,
        asked_at: float,
    ) -> None:
        self.function = function
        self.args = args
        self.context = context
        self.done: Done | None = done
        self.asked_at = asked_at
        self.counts = False
        self.result: Any = None
        self.error: Exception | None = None


class BatchedCalls:
    """The calls that wait for a thread, and their results, for one event loop.

    Args:
        loop: The event loop. All methods are called on it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[BatchedCall] = deque()
        self._ended: deque[BatchedCall] = deque()
        # The lock makes one step of "no call waits" and "the thread stops". Without it, a call
        # that is added in between would wait for a thread that is about to stop.
        self._lock = threading.Lock()
        self._threads = 0
        self._is_woken = False
        self._watch: asyncio.TimerHandle | None = None

    def call(
        self, function: Callable[..., Any], *args: Any, context: Context, done: Done
    ) -> BatchedCall:
        """Call a function in a worker thread.

        Args:
            function: The function.
            args: Its arguments.
            context: The context variables that it is called with; two calls with the same context
                must not run at once.
            done: Called on the loop with its result, or its exception.
        """
        call = BatchedCall(function, args, context, done, self._loop.time())
        with self._lock:
            self._waiting.append(call)
            starts = not self._threads
            if starts:
                self._threads = 1
        if starts:
            # In the next turn of the loop: the thread then finds all calls of this turn, instead
            # of ending and being started again between them.
            self._loop.call_soon(self._start_thread)
        if self._watch is None:
            self._watch = self._loop.call_later(PATIENCE, self._look)
        return call

    def give_up(self, call: BatchedCall) -> None:
        """Have `done` not called. A function that has begun goes on, and its thread counts no more:
        a function that never returns holds up no later call."""
        call.done = None
        with self._lock:
            self._threads -= call.counts
            call.counts = False

    def _start_thread(self) -> None:
        try:
            # By the loop, so that one in virtual time knows of it.
            self._loop.run_in_executor(worker_threads, self._serve)
        except RuntimeError as error:  # no thread can be started
            self._fail_all(error)

    def _fail_all(self, error: RuntimeError) -> None:
        with self._lock:
            self._threads -= 1
            waiting = list(self._waiting) if not self._threads else []
            if waiting:
                self._waiting.clear()
        for call in waiting:
            if call.done is not None:
                call.done(None, error)

    def _look(self) -> None:
        """Start one more thread where the oldest call has waited for too long."""
        self._watch = None
        with self._lock:
            if not self._waiting:
                return
            is_late = self._loop.time() - self._waiting[0].asked_at >= PATIENCE
            self._threads += is_late
        if is_late:
            self._start_thread()
        self._watch = self._loop.call_later(PATIENCE, self._look)

    # In a worker thread.

    def _serve(self) -> None:
        call: BatchedCall | None = None
        while (call := self._next(call)) is not None:
            try:
                call.result = call.context.run(returned, call.function, *call.args)
            except Exception as error:
                call.error = error
            self._post(call)

    def _next(self, last: BatchedCall | None) -> BatchedCall | None:
        """The next call for this thread; None where it has to stop."""
        with self._lock:
            if last is not None:
                if not last.counts:
                    return None  # another thread may have taken its place
                # It has ended. Its result may not be delivered yet: if it is given up now, this
                # thread counts on.
                last.counts = False
            while self._waiting:
                call = self._waiting.popleft()
                if call.done is not None:
                    call.counts = True
                    return call
            self._threads -= 1
            return None

    def _post(self, call: BatchedCall) -> None:
        # The call is added before the flag is read, and `_deliver` clears the flag before calls
        # are taken: one that finds a pending wake-up is taken by that one.
        self._ended.append(call)
        if not self._is_woken:
            self._is_woken = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:  # the loop is closed: nobody waits
                self._ended.clear()

    # On the loop.

    def _deliver(self) -> None:
        self._is_woken = False
        ended = self._ended
        while ended:
            call = ended.popleft()
            if call.done is not None:
                call.done(call.result, call.error)
