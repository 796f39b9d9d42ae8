"""When a loop that reads bodies is busy."""

from __future__ import annotations

import asyncio
import time

from mellea_rx.wire.turns import BUSY, WINDOW, Turns


class Flushed:
    def __init__(self) -> None:
        self.times = 0

    def flush(self) -> None:
        self.times += 1


def test_bodies_that_follow_each_other_make_no_loop_busy_however_fast() -> None:
    async def follow() -> None:
        turns = Turns()
        served = 0
        until = time.monotonic() + 5 * WINDOW
        while time.monotonic() < until or served < BUSY:
            body = Flushed()
            turns.add(body)
            await asyncio.sleep(0)
            assert body.times == 1
            assert not turns.is_busy
            served += 1

    asyncio.run(follow())


def test_many_that_come_together_make_it_busy_until_they_come_alone() -> None:
    crowd = [Flushed() for _ in range(50)]

    async def together_then_alone() -> None:
        turns = Turns()
        while not turns.is_busy:
            for body in crowd:
                turns.add(body)
            await asyncio.sleep(0)
        while turns.is_busy:
            turns.add(crowd[0])
            await asyncio.sleep(0)

    asyncio.run(together_then_alone())
    assert crowd[0].times > crowd[1].times > 0
