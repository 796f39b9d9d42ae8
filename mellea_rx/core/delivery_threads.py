"""Threads that call the subscribers of code without an event loop."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from mellea_rx.core.logs import FunctionRaised, log
from mellea_rx.core.worker_threads import WorkerThreads

__all__ = ["SerialPost"]

_threads = WorkerThreads(name="mellea-rx-delivery", prompt=1)
# One thread is enough as long as no subscriber blocks it: work that waits for 10 ms gets another.

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.forget_all)


class SerialPost:
    """Calls posted functions on delivery threads: one at a time, and each on any of the threads.

    Of the functions that are posted while one runs, only the last is called after it: an outlet
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
