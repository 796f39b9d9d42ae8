"""What strategies have in common: budgets, attempts within them, and the best of what failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from mellea_rx.core.chunk import Chunk
from mellea_rx.core.generation import as_ours
from mellea_rx.core.sampling import Attempt, SamplingResult
from mellea_rx.errors import (
    AuthenticationError,
    BadRequestError,
    CallerLoopClosedError,
    ConfigurationError,
    EngineStoppedError,
    GenerationCancelledError,
    InvalidInputError,
    ModelNotFoundError,
    ModelRefusedError,
    PermissionDeniedError,
    RedirectRefusedError,
    SessionError,
    TLSError,
)

__all__ = ["at_once", "ended", "failed", "outcome", "require_budget", "until_accepted"]


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
    best = max(ended(attempts), key=lambda index: (attempts[index].passed, index))
    return SamplingResult(False, tuple(attempts), best)


def ended(attempts: Sequence[Attempt]) -> Sequence[int]:
    """The indexes of the attempts that came to their end; of all, where each has failed."""
    whole = [index for index, attempt in enumerate(attempts) if attempt.error is None]
    return whole or range(len(attempts))


def failed(error: Exception, answer: Chunk | None = None) -> Attempt:
    """An attempt that failed.

    Args:
        error: Why.
        answer: What the model said; the error's text by default.
    """
    told = as_ours(error)
    return Attempt(Chunk(told.text) if answer is None else answer, (), error=told)


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
        Those that ended, also those that failed, in the order in which they did.

    Raises:
        MelleaRxError: An error that is not one attempt's but the call's: what was asked is wrong,
            or what it needs is gone. It ends the others.
    """
    attempts: list[Attempt] = []
    tasks: set[asyncio.Future[Attempt]] = set()
    running: set[asyncio.Future[Attempt]] = set()
    left = count
    try:
        while running or left:
            while left and len(running) < width:
                running.add(asyncio.ensure_future(_made(make)))
                left -= 1
            tasks |= running
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            latest = [task.result() for task in done]
            attempts += latest
            if any(isinstance(attempt.error, _MET_BY_ALL) for attempt in latest):
                left = 0
            if first and any(attempt.success for attempt in latest):
                break
    finally:
        for task in running:
            task.cancel()
        # Of those that are done as well: an error that nobody looks at is logged by asyncio.
        await asyncio.gather(*tasks, return_exceptions=True)
    return attempts


_OF_THE_CALL = (
    InvalidInputError,
    ConfigurationError,
    SessionError,
    GenerationCancelledError,
    EngineStoppedError,
    CallerLoopClosedError,
)
"""Not one attempt's: the others cannot do better."""

_MET_BY_ALL = (
    AuthenticationError,
    BadRequestError,
    ModelNotFoundError,
    ModelRefusedError,
    PermissionDeniedError,
    RedirectRefusedError,
    TLSError,
)
"""One attempt's, but each that follows would meet it: no more are begun."""


async def _made(make: Callable[[], Awaitable[Attempt]]) -> Attempt:
    """An attempt; one that fails is a failed attempt."""
    try:
        return await make()
    except _OF_THE_CALL:
        raise
    except Exception as error:
        return failed(error)
