"""What strategies have in common: budgets, attempts within them, and the best of what failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from mellea_rx.core.sampling import Attempt, SamplingResult
from mellea_rx.errors import InvalidInputError

__all__ = ["at_once", "outcome", "require_budget", "until_accepted"]


def require_budget(value: object, name: str) -> None:
    """Refuse what is no budget.

    Raises:
        InvalidInputError: It is not an int, or below 1.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidInputError(f"{name} must be an int, 1 or more, not {value!r}")


def outcome(attempts: Sequence[Attempt]) -> SamplingResult:
    """The first attempt that succeeded, else the one that met the most (the latest of equals)."""
    for index, attempt in enumerate(attempts):
        if attempt.success:
            return SamplingResult(True, tuple(attempts), index)
    best = max(range(len(attempts)), key=lambda index: (attempts[index].passed, index))
    return SamplingResult(False, tuple(attempts), best)


async def until_accepted(
    following: Callable[[Attempt | None], Awaitable[Attempt]], budget: int
) -> list[Attempt]:
    """Attempts one after the other, until one succeeds or the budget is spent.

    Args:
        following: Makes the attempt that follows another one (None: the first).
        budget: At most so many.
    """
    attempts: list[Attempt] = []
    while len(attempts) < budget and not (attempts and attempts[-1].success):
        attempts.append(await following(attempts[-1] if attempts else None))
    return attempts


async def at_once(
    make: Callable[[], Awaitable[Attempt]], count: int, width: int, *, first: bool
) -> list[Attempt]:
    """Attempts side by side.

    Args:
        make: Makes one.
        count: How many.
        width: At most so many at a time.
        first: Whether the first that succeeds ends the others, on the server too.

    Returns:
        Those that came to their end, in the order in which they did.
    """
    attempts: list[Attempt] = []
    running: set[asyncio.Future[Attempt]] = set()
    left = count
    try:
        while running or left:
            while left and len(running) < width:
                running.add(asyncio.ensure_future(make()))
                left -= 1
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            attempts += [task.result() for task in done]
            if first and any(attempt.success for attempt in attempts):
                break
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return attempts
