"""The loop of the strategies: attempts one by one, side by side or in rounds, and the best one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from mellea_rx.core.interfaces.backend import Backend
from mellea_rx.core.interfaces.sampling import Sampler
from mellea_rx.core.streams.generation import as_ours
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.request import Request
from mellea_rx.core.types.sampling_result import Attempt, SamplingResult
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
    TotalTimeoutError,
)
from mellea_rx.stdlib.sampling.budget import Budget, BudgetMeter
from mellea_rx.stdlib.sampling.roles import Roles

T = TypeVar("T")


def best_of(attempts: Sequence[Attempt]) -> int:
    """The index of the attempt that met the most requirements, the latest of equals."""
    return max(ended(attempts), key=lambda index: (attempts[index].passed, index))


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


_RESOLUTION = 0.001
"""Seconds by which a timer may be early."""


class AttemptLoop:
    """The attempts of one call: makes them one by one, side by side, or in rounds.

    Used on the engine only. An error of the whole call (its arguments are wrong, or its session,
    engine or event loop has ended) ends every other attempt, and is raised. Attempts that are
    given up have ended on the server when a method returns.

    Args:
        sampler: Makes the attempts.
        roles: The backends for the attempts and their judge.
        budget: The limit on the tokens and seconds of all attempts; None for no limit.

    Attributes:
        sampler: As given.
        attempts: The attempts so far, failed ones included, in the order in which they ended.
    """

    def __init__(self, sampler: Sampler, roles: Roles, budget: Budget | None) -> None:
        self.sampler = sampler
        self._roles = roles
        self._meter = BudgetMeter(budget, lambda: sampler.usage)
        self.attempts: list[Attempt] = []
        self._is_hopeless = False
        """Whether each further attempt would fail with the error of an earlier one."""

    @property
    def has_succeeded(self) -> bool:
        """Whether any attempt has succeeded."""
        return any(attempt.success for attempt in self.attempts)

    def may_begin(self) -> bool:
        """Whether another attempt may begin. Asked only where one would: see `BudgetMeter`."""
        return not self._is_hopeless and self._meter.has_more()

    def outcome(self) -> SamplingResult:
        """The result whose value is the first success, else the attempt that met the most.

        Where each attempt goes on from the one before, it is the latest: only that one begins with
        all that readers have got.
        """
        if self.sampler.policy.goes_on:
            return self.result(len(self.attempts) - 1)
        for index, attempt in enumerate(self.attempts):
            if attempt.success:
                return self.result(index)
        return self.result(best_of(self.attempts))

    def result(self, chosen: int) -> SamplingResult:
        """The result of the strategy, whose value is the attempt with this index."""
        success = self.attempts[chosen].success
        return SamplingResult(success, tuple(self.attempts), chosen, self._meter.spent)

    async def in_time(self, work: Awaitable[T]) -> T | None:
        """Await a part of an attempt: its result; None where the seconds of the budget end it."""
        timer = asyncio.timeout(self._meter.seconds_left)
        try:
            async with timer:
                return await work
        except TimeoutError:
            if not timer.expired():
                raise
            self._meter.timed_out("")
            return None

    async def attempt(
        self,
        request: Request | None = None,
        *,
        backend: Backend | None = None,
        after: str = "",
        release: bool = False,
    ) -> Attempt:
        """Make one attempt, by the backend of its role; see `Sampler.attempt`.

        An attempt that the seconds of the budget end is a failed attempt.

        Args:
            request: The request; the call's own by default.
            backend: A backend that goes before that of the role.
            after: Text that the answer goes on from.
            release: Whether readers get units as soon as they are validated.

        Raises:
            MelleaRxError: It failed.
        """
        has_rejected = any(not each and each.error is None for each in self.attempts)
        by_role = self._roles.repair if has_rejected else self._roles.draft
        try:
            return await self.sampler.attempt(
                request,
                backend=by_role if backend is None else backend,
                after=after,
                release=release,
                judge=self._roles.judge,
                seconds=self._meter.seconds_left,
            )
        except TotalTimeoutError as error:
            left = self._meter.seconds_left
            if left is None or left > _RESOLUTION:  # an error of the backend
                raise
            return failed(self._meter.timed_out(error.text, error.unfinished))

    async def following(
        self,
        last: Attempt | None,
        request: Request | None = None,
        *,
        backend: Backend | None = None,
    ) -> Attempt:
        """Make the attempt that follows another one, by the call's release policy.

        Args:
            last: The attempt before it, which was rejected; None for the first.
            request: Its request; the call's own by default.
            backend: A backend that goes before that of the role.

        Raises:
            MelleaRxError: It failed.
        """
        policy = self.sampler.policy
        after = last.kept if policy.goes_on and last is not None else ""
        return await self.attempt(request, backend=backend, after=after, release=policy.is_early)

    async def one_by_one(
        self, following: Callable[[Attempt | None], Awaitable[Attempt]], count: int
    ) -> None:
        """Make attempts until one succeeds.

        Args:
            following: Makes the attempt that follows another one (None: the first).
            count: The maximum number of attempts.

        Raises:
            MelleaRxError: An attempt failed.
        """
        while len(self.attempts) < count and not self.has_succeeded and self.may_begin():
            self.attempts.append(await following(self.attempts[-1] if self.attempts else None))

    async def rounds(
        self, repaired: Callable[[Request, Attempt], Request], count: int, width: int
    ) -> None:
        """Make attempts in rounds until one succeeds.

        All attempts of a round have the same request, and the first one that succeeds ends the
        others. With a width of 1, an attempt that fails ends the call; in wider rounds it fails
        alone.

        Args:
            repaired: Takes the request of a round and its best attempt (the one that met the most
                requirements, the latest of equals), and returns the request of the next round.
            count: The maximum number of attempts.
            width: The number of attempts in a round.
        """
        request = self.sampler.request

        async def make() -> Attempt:
            return await self.attempt(request)

        async def following(last: Attempt | None) -> Attempt:
            nonlocal request
            request = request if last is None else repaired(request, last)
            return await self.following(last, request)

        if width == 1:
            await self.one_by_one(following, count)
            return
        while (before := len(self.attempts)) < count and self.may_begin():
            await self.side_by_side(make, min(count - before, width), width, first=True)
            if self.has_succeeded:
                return
            whole = [each for each in self.attempts[before:] if each.error is None]
            if whole:  # where all of them failed, nothing is known about the request
                request = repaired(request, whole[best_of(whole)])

    async def side_by_side(
        self, make: Callable[[], Awaitable[Attempt]], count: int, width: int, *, first: bool
    ) -> None:
        """Make attempts side by side; one that fails fails alone.

        Args:
            make: Makes one attempt.
            count: The number of attempts.
            width: The maximum number of attempts at once.
            first: Whether the first one that succeeds ends the others, on the server too.
        """
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
                self.attempts += latest
                if any(isinstance(attempt.error, _REPEATED) for attempt in latest):
                    self._is_hopeless = True
                if first and any(attempt.success for attempt in latest):
                    break
                if left and not self.may_begin():
                    left = 0
        finally:
            for task in running:
                task.cancel()
            # Finished tasks are awaited too: asyncio logs an exception that is never retrieved.
            await asyncio.gather(*tasks, return_exceptions=True)


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
