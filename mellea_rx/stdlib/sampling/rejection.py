"""Try until an attempt meets every requirement, or the budget is spent."""

from __future__ import annotations

from dataclasses import dataclass

from mellea_rx.core.sampling import Attempt, Sampler, SamplingResult
from mellea_rx.errors import InvalidInputError

__all__ = ["RejectionSampling"]


@dataclass(frozen=True, slots=True)
class RejectionSampling:
    """Try again until all requirements are met.

    When the budget is spent, the attempt that met the most requirements is the value (the latest
    of equals), and `thunk.sampling.success` is False::

        attempts:  --a--x   --b--x   --c--|
        thunk:     ----------------------c|

    Attributes:
        loop_budget: At most so many attempts.

    Raises:
        InvalidInputError: The budget is below 1.
    """

    loop_budget: int = 2

    def __post_init__(self) -> None:
        budget = self.loop_budget
        if not isinstance(budget, int) or isinstance(budget, bool) or budget < 1:
            raise InvalidInputError(f"loop_budget must be an int, 1 or more, not {budget!r}")

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make attempts until one succeeds."""
        attempts: list[Attempt] = []
        for index in range(self.loop_budget):
            attempts.append(await sampler.attempt())
            if attempts[index].success:
                return SamplingResult(True, tuple(attempts), index)
        best = max(range(len(attempts)), key=lambda index: (attempts[index].passed, index))
        return SamplingResult(False, tuple(attempts), best)
