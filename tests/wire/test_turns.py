"""Turns: bodies are served together; only a busy loop keeps its turns apart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from mellea_rx.wire.turns import BUSY, PACE, WINDOW, Turns, turns_of


class Noting:
    """A body that notes when it was served."""

    def __init__(self) -> None:
        self.served: list[float] = []

    def flush(self) -> None:
        self.served.append(time.monotonic())


def on_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on a loop of its own."""

    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


async def turn() -> None:
    """Let the loop serve what was added, and wait where it wants to."""
    for _ in range(3):
        await asyncio.sleep(0)


@on_a_loop
async def test_the_bodies_of_a_turn_are_served_at_its_end_in_order() -> None:
    turns, order = Turns(), []

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def flush(self) -> None:
            order.append(self.name)

    for name in "abc":
        turns.add(Named(name))
    assert order == []
    await turn()
    assert order == ["a", "b", "c"]


@on_a_loop
async def test_each_loop_has_its_own_turns() -> None:
    loop, other = asyncio.get_running_loop(), asyncio.new_event_loop()
    try:
        assert turns_of(loop) is turns_of(loop)
        assert turns_of(loop) is not turns_of(other)
    finally:
        other.close()


@on_a_loop
async def test_a_hundred_chunks_a_second_keep_no_turns_apart() -> None:
    turns = Turns()
    for _ in range(20):
        turns.add(Noting())
        await turn()
        assert not turns.is_busy
        await asyncio.sleep(0.01)


@on_a_loop
async def test_a_busy_loop_keeps_its_turns_apart_and_a_quiet_one_does_so_no_more() -> None:
    turns, body = Turns(), Noting()
    began = time.monotonic()
    while not turns.is_busy:
        assert time.monotonic() - began < 5
        for _ in range(10):
            turns.add(Noting())
        await turn()
    for _ in range(5):
        for _ in range(9):
            turns.add(Noting())
        turns.add(body)
        await turn()
    gaps = [b - a for a, b in zip(body.served[1:], body.served[2:], strict=False)]
    assert min(gaps) >= PACE * 0.9
    await asyncio.sleep(0.3)  # what was served until now is little for so long
    turns.add(body)
    await turn()
    assert not turns.is_busy


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


@on_a_loop
async def test_two_at_a_time_are_enough_to_make_a_loop_busy() -> None:
    turns = Turns()
    until = time.monotonic() + 5
    while not turns.is_busy:
        assert time.monotonic() < until
        turns.add(Flushed())
        turns.add(Flushed())
        await asyncio.sleep(0)
