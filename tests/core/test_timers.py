"""The clock of timed operators."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import reactivex as rx
from reactivex import operators as ops
from reactivex.scheduler import CurrentThreadScheduler, ImmediateScheduler, TimeoutScheduler
from reactivex.scheduler.eventloop import AsyncIOScheduler
from reactivex.testing import TestScheduler

from mellea_rx.core.runtime.schedulers import scheduler_for
from mellea_rx.testing import LoopScheduler
from tests.core.hand import soon


def name_of(_: Any) -> str:
    return threading.current_thread().name


def where(scheduler: Any) -> str:
    """The thread on which its timers fire."""
    return str(rx.timer(0.001, scheduler=scheduler).pipe(ops.map(name_of)).run())


def test_a_scheduler_that_is_given_goes_first() -> None:
    own, subscribed = TestScheduler(), TimeoutScheduler()
    assert scheduler_for(own, subscribed) is own
    assert scheduler_for(None, subscribed) is subscribed


def test_one_that_would_sleep_where_it_is_called_counts_as_none() -> None:
    blocking = scheduler_for(ImmediateScheduler(), CurrentThreadScheduler())
    assert where(blocking) == "mellea-rx-delivery"
    assert where(scheduler_for()) == "mellea-rx-delivery"


def test_on_an_event_loop_timers_are_the_loops_and_by_its_clock() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for scheduler in (scheduler_for(), scheduler_for(AsyncIOScheduler(loop))):
            assert isinstance(scheduler, LoopScheduler)
            before = loop.time()
            now = scheduler.to_seconds(scheduler.now)
            assert before - 0.001 <= now <= loop.time() + 0.001
            fired: asyncio.Queue[str] = asyncio.Queue()
            put = fired.put_nowait
            scheduler.schedule_relative(0.001, lambda *_, put=put: put(name_of(None)))
            assert await soon(fired.get()) == threading.current_thread().name

    asyncio.run(main())


def test_a_loops_timers_can_be_set_and_disposed_from_any_thread() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        scheduler = LoopScheduler(loop)
        fired: list[str] = []
        done = asyncio.Event()

        def elsewhere() -> None:
            scheduler.schedule_relative(0.001, lambda *_: fired.append("disposed")).dispose()
            scheduler.schedule_relative(0, lambda *_: fired.append("at once"))
            scheduler.schedule_relative(0.005, lambda *_: (fired.append("soon"), done.set()))

        await asyncio.to_thread(elsewhere)
        await soon(done.wait())
        assert fired == ["at once", "soon"]

    asyncio.run(main())


def test_timers_of_a_closed_loop_do_nothing() -> None:
    loop = asyncio.new_event_loop()
    scheduler = LoopScheduler(loop)
    timer = scheduler.schedule_relative(1, lambda *_: None)
    loop.close()
    timer.dispose()
    fired: list[int] = []
    scheduler.schedule_relative(0.001, lambda *_: fired.append(1)).dispose()
    assert fired == []
