"""The embedded model with cancellations at random moments: every slot is returned."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from mellea_rx import LocalBackend, ModelOption
from tests.chaos.trial import engine_tasks
from tests.support.local_model import TOKENS, ask, generating, run, until

ENDLESS: dict[Any, Any] = {TOKENS: 8000, ModelOption.STREAM: True}
SLOTS = 4
CALLERS = 8
"""Twice the number of slots, so that some calls are cancelled while they wait for one."""


async def cancel_somewhere(backend: LocalBackend, chance: random.Random, longest: float) -> bool:
    """Make a call and cancel it: at once, after a random time, or at some piece of text.

    Returns:
        Whether text had come.
    """
    thunk = ask(backend, f"Tell me {chance.random()}.", ENDLESS)
    match chance.choice(("at once", "any time", "at a piece")):
        case "any time":
            # a random moment; no result depends on it
            await asyncio.sleep(chance.uniform(0, longest))
        case "at a piece":
            for _ in range(chance.randrange(1, 6)):
                assert await thunk.astream()
    thunk.cancel()
    assert thunk.cancelled
    return bool(thunk.text)


async def cancel_many(backend: LocalBackend, count: int, longest: float, seed: int) -> int:
    """Make and cancel calls, `CALLERS` at a time; returns the number of those with text."""
    chance = random.Random(seed)
    left = iter(range(count))

    async def caller() -> int:
        return sum([await cancel_somewhere(backend, chance, longest) for _ in left])

    return sum(await asyncio.gather(*(caller() for _ in range(CALLERS))))


async def use_all_slots(backend: LocalBackend) -> None:
    """Check that a call in each slot generates at the same time; then end them."""
    thunks = [ask(backend, "Hello.", ENDLESS) for _ in range(SLOTS)]
    for thunk in thunks:
        assert await thunk.astream()
    assert generating() == SLOTS
    for thunk in thunks:
        thunk.cancel()


def survives(backend: LocalBackend, count: int, longest: float, seed: int) -> None:
    """After the cancellations every slot is free, and the next call gets an answer."""
    with_text = 0
    tasks = engine_tasks()

    async def main() -> None:
        nonlocal with_text
        assert await ask(backend, "Hello.")  # loads it
        with_text = await cancel_many(backend, count, longest, seed)
        await until(lambda: generating() == 0)
        await use_all_slots(backend)
        assert await ask(backend, "Hello.")
        await until(lambda: generating() == 0 and engine_tasks() <= tasks)

    run(main)
    assert 0 < with_text < count


@pytest.mark.slow
def test_500_cancellations_at_random_moments_leave_every_slot_free(tiny_model: Path) -> None:
    survives(LocalBackend(tiny_model, parallel=SLOTS, context_window=8192), 500, 0.05, seed=1)


@pytest.mark.slow
@pytest.mark.model
def test_cancellations_of_the_real_model_leave_every_slot_free(real_model: Path) -> None:
    survives(LocalBackend(real_model, parallel=SLOTS), 20, 1.0, seed=3)
