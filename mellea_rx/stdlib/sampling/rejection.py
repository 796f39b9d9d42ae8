"""Rejection sampling: attempts until one meets every requirement or the budget is spent.

`WeakThenStrong` goes on with a stronger backend when the weaker one's budget is spent.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from mellea_rx.core.interfaces.backend import Backend, require_backend
from mellea_rx.core.interfaces.sampling import BaseStrategy, Requirements, Sampler
from mellea_rx.core.types.sampling_result import Attempt, SamplingResult
from mellea_rx.core.types.validation import require_positive_int
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.requirements import as_requirements
from mellea_rx.stdlib.sampling.attempts import (
    at_once,
    outcome,
    until_accepted,
    width_of,
)


@dataclass(frozen=True, slots=True, init=False)
class RejectionSampling(BaseStrategy):
    """Makes attempts until one meets all requirements.

    When the budget is spent, the attempt that met the most requirements is the value (the latest
    of equals), and `thunk.sampling.success` is False::

        attempts:  --a--x   --b--x   --c--|
        thunk:     ----------------------c|

    With `repair="continue"` an attempt goes on from the units that were validated before one
    failed, and readers get each unit as soon as it is validated::

        attempts:  -1-2-x      -3-4-|
        thunk:     -1-2---------3-4-|

    Args:
        loop_budget: The maximum number of attempts.
        max_concurrent: The number of attempts that run at once, 1 by default; the first one that
            succeeds ends the others.
        repair: The attempt after one that failed: "restart" makes another one, "continue" goes on
            (see above; only on backends that can continue an assistant's message).
        concurrency_budget: Another name of `max_concurrent`.
        requirements: Requirements that are added to those of each call.

    Raises:
        InvalidInputError: A number is below 1, there is no such repair, or one parameter was given
            by both of its names.
    """

    loop_budget: int
    max_concurrent: int
    repair: Literal["restart", "continue"]
    requirements: Requirements

    def __init__(
        self,
        loop_budget: int = 2,
        *,
        max_concurrent: int | None = None,
        repair: Literal["restart", "continue"] = "restart",
        concurrency_budget: int | None = None,
        requirements: Requirements = (),
    ) -> None:
        budget = require_positive_int("loop_budget", loop_budget)
        name, given = width_of(max_concurrent, concurrency_budget)
        width = given or 1
        if repair not in ("restart", "continue"):
            raise InvalidInputError(f"repair is 'restart' or 'continue', not {repair!r}")
        if repair == "continue" and width > 1:
            raise InvalidInputError(
                f"repair='continue' goes on from one attempt: it needs {name}=1"
            )
        object.__setattr__(self, "loop_budget", budget)
        object.__setattr__(self, "max_concurrent", width)
        object.__setattr__(self, "repair", repair)
        object.__setattr__(self, "requirements", as_requirements(requirements))

    @property
    def concurrency_budget(self) -> int:
        """Another name of `max_concurrent`."""
        return self.max_concurrent

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make attempts until one succeeds."""
        if self.repair == "continue":
            return await self._continuing(sampler)
        if self.max_concurrent == 1:
            return outcome(await until_accepted(lambda _: sampler.attempt(), self.loop_budget))
        width = self.max_concurrent
        return outcome(await at_once(sampler.attempt, self.loop_budget, width, first=True))

    async def _continuing(self, sampler: Sampler) -> SamplingResult:
        async def following(last: Attempt | None) -> Attempt:
            return await sampler.attempt(after="" if last is None else last.kept, release=True)

        attempts = await until_accepted(following, self.loop_budget)
        # Readers got the units of every attempt so far: only the latest one begins with them all.
        return SamplingResult(attempts[-1].success, tuple(attempts), len(attempts) - 1)


@dataclass(frozen=True, slots=True)
class WeakThenStrong(BaseStrategy):
    """Asks the session's backend, and another one when no attempt of it is accepted::

        weak:      --a--x --b--x
        strong:                  ---c---|
        thunk:     --------------------c|

    Attributes:
        strong: The other backend; its own model options hold for what the call does not set.
        weak_budget: The maximum number of attempts of the session's backend.
        strong_budget: The maximum number of attempts of the other one.
        requirements: Requirements that are added to those of each call.

    Raises:
        InvalidInputError: A budget is below 1, or `strong` is not a backend.
    """

    strong: Backend
    weak_budget: int = 2
    strong_budget: int = 1
    _: KW_ONLY
    requirements: Requirements = ()

    def __post_init__(self) -> None:
        require_positive_int("weak_budget", self.weak_budget)
        require_positive_int("strong_budget", self.strong_budget)
        require_backend(self.strong, "strong")
        object.__setattr__(self, "requirements", as_requirements(self.requirements))

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make attempts until one succeeds."""
        attempts: list[Attempt] = []

        async def following(_: Attempt | None) -> Attempt:
            weak = len(attempts) < self.weak_budget
            attempts.append(await sampler.attempt(backend=None if weak else self.strong))
            return attempts[-1]

        return outcome(await until_accepted(following, self.weak_budget + self.strong_budget))
