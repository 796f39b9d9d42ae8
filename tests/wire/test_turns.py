"""Turns: only a busy loop keeps them apart."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from mellea_rx.wire.turns import BUSY, PACE, WINDOW, Turns, turns_of


def on_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on a loop of its own."""

    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


async def turn(turns: Turns, bodies: int) -> None:
    """A turn that brings something for so many bodies; let the loop wait where it wants to."""
    for _ in range(bodies):
        turns.took()
    for _ in range(3):
        await asyncio.sleep(0)


async def busy() -> Turns:
    """Turns of a loop that has read many bodies at a time."""
    turns, until = Turns(), time.monotonic() + 5
    while not turns.is_busy:
        assert time.monotonic() < until
        await turn(turns, 10)
    return turns


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
        await turn(turns, 1)
        assert not turns.is_busy
        await asyncio.sleep(0.01)


@on_a_loop
async def test_a_busy_loop_keeps_its_turns_apart_and_a_quiet_one_does_so_no_more() -> None:
    turns = await busy()
    ended = []
    for _ in range(6):
        await turn(turns, 10)
        ended.append(time.monotonic())
    # The first pause may have begun before.
    gaps = [b - a for a, b in itertools.pairwise(ended[1:])]
    assert min(gaps) >= PACE * 0.9
    await asyncio.sleep(0.3)  # what was read until now is little for so long
    await turn(turns, 1)
    assert not turns.is_busy


@on_a_loop
async def test_what_is_read_is_told_of_before_a_busy_loop_waits() -> None:
    turns = await busy()
    told = []
    turns.took()
    asyncio.get_running_loop().call_soon(lambda: told.append(time.monotonic()))
    began = time.monotonic()
    await turn(turns, 9)
    assert told[0] - began < PACE / 2 < time.monotonic() - began


@on_a_loop
async def test_bodies_that_follow_each_other_make_no_loop_busy_however_fast() -> None:
    turns, read = Turns(), 0
    until = time.monotonic() + 5 * WINDOW
    while time.monotonic() < until or read < BUSY:
        turns.took()
        await asyncio.sleep(0)
        assert not turns.is_busy
        read += 1


@on_a_loop
async def test_a_busy_loop_is_so_no_more_when_bodies_come_alone() -> None:
    turns, until = await busy(), time.monotonic() + 5
    while turns.is_busy:
        assert time.monotonic() < until
        await turn(turns, 1)


@on_a_loop
async def test_two_at_a_time_are_enough_to_make_a_loop_busy() -> None:
    turns, until = Turns(), time.monotonic() + 5
    while not turns.is_busy:
        assert time.monotonic() < until
        await turn(turns, 2)
