"""Calls of users' functions that wait in one queue, in virtual time."""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from typing import Any

from mellea_rx.core.runtime.batched_calls import BatchedCall, BatchedCalls
from mellea_rx.testing import VirtualTime

SOON = 10.0
"""Real seconds for which the loop waits for a thread."""


class _Asked:
    """A call, and a future of its result."""

    def __init__(self, calls: BatchedCalls, function: Any) -> None:
        self.result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.call: BatchedCall = calls.call(function, context=copy_context(), done=self._done)

    def _done(self, value: Any, error: Exception | None) -> None:
        assert error is None
        self.result.set_result(value)


async def test_a_call_that_is_given_up_after_its_end_holds_up_no_later_one(
    virtual_time: VirtualTime,
) -> None:
    """Its thread serves the queue: it must not be taken for one that a function holds up."""
    calls = BatchedCalls(asyncio.get_running_loop())
    is_second, may_end = threading.Event(), threading.Event()

    def second() -> bool:
        is_second.set()
        return may_end.wait(SOON)

    ended = _Asked(calls, lambda: 1)
    running = _Asked(calls, second)
    await asyncio.sleep(0)  # the thread starts
    assert is_second.wait(SOON)  # blocks the loop: the first result is not delivered
    calls.give_up(ended.call)
    may_end.set()
    assert await running.result
    assert not ended.result.done()
    await asyncio.sleep(1)  # the clock stands still until the thread has stopped

    begun = virtual_time.now
    assert await _Asked(calls, lambda: 3).result == 3
    assert virtual_time.now == begun  # at once, and not when the queue is looked at


async def test_a_call_that_is_given_up_while_it_runs_holds_up_no_later_one(
    virtual_time: VirtualTime,
) -> None:
    calls = BatchedCalls(asyncio.get_running_loop())
    is_begun, may_end = threading.Event(), threading.Event()

    def first() -> bool:
        is_begun.set()
        return may_end.wait(SOON)

    running = _Asked(calls, first)
    await asyncio.sleep(0)
    assert is_begun.wait(SOON)
    calls.give_up(running.call)
    begun = virtual_time.now
    assert await _Asked(calls, lambda: 2).result == 2
    assert virtual_time.now == begun
    may_end.set()
    await asyncio.sleep(1)
    assert not running.result.done()
    assert await _Asked(calls, lambda: 3).result == 3
