"""The common parts of the strategies: numbers of attempts, and attempts in turn or at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from mellea_rx.core.interfaces.backend import Backend
from mellea_rx.core.interfaces.sampling import Sampler
from mellea_rx.core.streams.generation import as_ours
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.release import ReleasePolicy
from mellea_rx.core.types.request import Request
from mellea_rx.core.types.sampling_result import Attempt, SamplingResult
from mellea_rx.core.types.validation import either_name, require_positive_int
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


def attempts_of(loop_budget: int | None, n: int | None, *, default: int) -> int:
    """The number of attempts, given as `loop_budget` or by its other name.

    Raises:
        InvalidInputError: It is not an int of 1 or more, or both names were given.
    """
    name, value = either_name("loop_budget", loop_budget, "n", n)
    return default if value is None else require_positive_int(name, value)


def width_of(max_concurrent: int | None, concurrency_budget: int | None) -> tuple[str, int | None]:
    """The number of attempts at once, given as `max_concurrent` or by its other name.

    Returns:
        The name that was given, for messages, and the number; None where neither was given.

    Raises:
        InvalidInputError: It is not an int of 1 or more, or both names were given.
    """
    name, value = either_name(
        "max_concurrent", max_concurrent, "concurrency_budget", concurrency_budget
    )
    return name, None if value is None else require_positive_int(name, value)


def outcome(attempts: Sequence[Attempt]) -> SamplingResult:
    """The first attempt that succeeded, else the one that met the most (the latest of equals)."""
    for index, attempt in enumerate(attempts):
        if attempt.success:
            return SamplingResult(True, tuple(attempts), index)
    best = max(ended(attempts), key=lambda index: (attempts[index].passed, index))
    return SamplingResult(False, tuple(attempts), best)


def ended(attempts: Sequence[Attempt]) -> Sequence[int]:
    """The indexes of the attempts without an error; of all attempts, where each has one."""
    whole = [index for index, attempt in enumerate(attempts) if attempt.error is None]
    return whole or range(len(attempts))


def failed(error: Exception, answer: Chunk | None = None) -> Attempt:
    """An attempt that failed.

    Args:
        error: The error that it failed with.
        answer: The model's answer; by default the text that the error has.
    """
    ours = as_ours(error)
    return Attempt(Chunk(ours.text) if answer is None else answer, (), error=ours)


def result_of(attempts: Sequence[Attempt], policy: ReleasePolicy) -> SamplingResult:
    """The result of attempts that were made one after the other.

    Where each goes on from the one before, only the latest begins with all that readers have got.
    """
    if policy.goes_on:
        return SamplingResult(attempts[-1].success, tuple(attempts), len(attempts) - 1)
    return outcome(attempts)


async def attempt_after(
    last: Attempt | None,
    sampler: Sampler,
    request: Request | None = None,
    *,
    backend: Backend | None = None,
) -> Attempt:
    """Make the attempt that follows another one, by the call's release policy.

    Args:
        last: The attempt before it, which was rejected; None for the first.
        sampler: Makes it.
        request: Its request; the call's own by default.
        backend: Its backend; the call's own by default.
    """
    policy = sampler.policy
    after = last.kept if policy.goes_on and last is not None else ""
    return await sampler.attempt(request, backend=backend, after=after, release=policy.is_early)


async def until_accepted(
    following: Callable[[Attempt | None], Awaitable[Attempt]], budget: int
) -> list[Attempt]:
    """Attempts one after the other, until one succeeds or the budget is spent.

    Args:
        following: Makes the attempt that follows another one (None: the first).
        budget: The maximum number of attempts.
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
        make: Makes one attempt.
        count: The number of attempts.
        width: The maximum number of attempts at once.
        first: Whether the first one that succeeds ends the others, on the server too.

    Returns:
        The attempts that ended, failed ones included, in the order in which they ended.

    Raises:
        MelleaRxError: An error of the whole call: its arguments are wrong, or its session, engine
            or event loop has ended. It ends the other attempts.
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
            if any(isinstance(attempt.error, _REPEATED) for attempt in latest):
                left = 0
            if first and any(attempt.success for attempt in latest):
                break
    finally:
        for task in running:
            task.cancel()
        # Finished tasks are awaited too: asyncio logs an exception that is never retrieved.
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
"""Errors of the whole call: no other attempt can succeed."""

_REPEATED = (
    AuthenticationError,
    BadRequestError,
    ModelNotFoundError,
    ModelRefusedError,
    PermissionDeniedError,
    RedirectRefusedError,
    TLSError,
)
"""Errors of one attempt that each later one would meet too: no more attempts are started."""


async def _made(make: Callable[[], Awaitable[Attempt]]) -> Attempt:
    """An attempt; an error of its own makes it a failed attempt."""
    try:
        return await make()
    except _OF_THE_CALL:
        raise
    except Exception as error:
        return failed(error)
