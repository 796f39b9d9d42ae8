"""`WeakThenStrong`: tries a cheap backend first, and a better one when its budget is spent."""

from __future__ import annotations

from dataclasses import dataclass

from mellea_rx.core.arguments import require_positive_int
from mellea_rx.core.backend import Backend, require_backend
from mellea_rx.core.sampling import Attempt, BaseStrategy, Sampler, SamplingResult
from mellea_rx.stdlib.sampling.budget import outcome, until_accepted

__all__ = ["WeakThenStrong"]


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

    Raises:
        InvalidInputError: A budget is below 1, or `strong` is not a backend.
    """

    strong: Backend
    weak_budget: int = 2
    strong_budget: int = 1

    def __post_init__(self) -> None:
        require_positive_int("weak_budget", self.weak_budget)
        require_positive_int("strong_budget", self.strong_budget)
        require_backend(self.strong, "strong")

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make attempts until one succeeds."""
        attempts: list[Attempt] = []

        async def following(_: Attempt | None) -> Attempt:
            weak = len(attempts) < self.weak_budget
            attempts.append(await sampler.attempt(backend=None if weak else self.strong))
            return attempts[-1]

        return outcome(await until_accepted(following, self.weak_budget + self.strong_budget))
