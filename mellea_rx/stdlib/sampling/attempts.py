"""The loop of the strategies: attempts one by one, side by side or in rounds, and the best one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

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
)
from mellea_rx.stdlib.sampling.roles import Roles


def outcome(attempts: Sequence[Attempt]) -> SamplingResult:
    """The first attempt that succeeded, else the one that met the most (the latest of equals)."""
    for index, attempt in enumerate(attempts):
        if attempt.success:
            return SamplingResult(True, tuple(attempts), index)
    return SamplingResult(False, tuple(attempts), best_of(attempts))


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


class AttemptLoop:
    """The attempts of one call: makes them one by one, side by side, or in rounds.

    Used on the engine only. An error of the whole call (its arguments are wrong, or its session,
    engine or event loop has ended) ends every other attempt, and is raised. Attempts that are
    given up have ended on the server when a method returns.

    Args:
        sampler: Makes the attempts.
        roles: The backends for the attempts and their judge.

    Attributes:
        sampler: As given.
        attempts: The attempts so far, failed ones included, in the order in which they ended.
    """

    def __init__(self, sampler: Sampler, roles: Roles) -> None:
        self.sampler = sampler
        self._roles = roles
        self.attempts: list[Attempt] = []
        self._is_hopeless = False
        """Whether each further attempt would fail with the error of an earlier one."""

    @property
    def has_succeeded(self) -> bool:
        """Whether any attempt has succeeded."""
        return any(attempt.success for attempt in self.attempts)

    def may_begin(self) -> bool:
        """Whether another attempt may begin."""
        return not self._is_hopeless

    async def attempt(
        self,
        request: Request | None = None,
        *,
        backend: Backend | None = None,
        after: str = "",
        release: bool = False,
    ) -> Attempt:
        """Make one attempt, by the backend of its role; see `Sampler.attempt`.

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
        return await self.sampler.attempt(
            request,
            backend=by_role if backend is None else backend,
            after=after,
            release=release,
            judge=self._roles.judge,
        )

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
            return await make()

        if width == 1:
            await self.one_by_one(following, count)
            return
        while (left := count - len(self.attempts)) > 0:
            before = len(self.attempts)
            await self.side_by_side(make, min(left, width), width, first=True)
            if self.has_succeeded or not self.may_begin():
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
                if not self.may_begin():
                    left = 0
                if first and any(attempt.success for attempt in latest):
                    break
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
