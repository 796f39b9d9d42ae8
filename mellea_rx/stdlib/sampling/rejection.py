"""Try until an attempt meets every requirement, or the budget is spent."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from mellea_rx.core.sampling import Attempt, Sampler, SamplingResult
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.sampling.budget import at_once, outcome, require_budget, until_accepted

__all__ = ["RejectionSampling"]


@dataclass(frozen=True, slots=True)
class RejectionSampling:
    """Try again until all requirements are met.

    When the budget is spent, the attempt that met the most requirements is the value (the latest
    of equals), and `thunk.sampling.success` is False::

        attempts:  --a--x   --b--x   --c--|
        thunk:     ----------------------c|

    With `repair="continue"` an attempt goes on from the units that were validated before one
    failed, and readers get each as soon as it is::

        attempts:  -1-2-x      -3-4-|
        thunk:     -1-2---------3-4-|

    Attributes:
        loop_budget: At most so many attempts.
        concurrency_budget: So many of them at a time; the first that succeeds ends the others.
        repair: What follows an attempt that failed: "restart" (another one), or "continue" (see
            above; only on backends that can go on from an assistant's message).

    Raises:
        InvalidInputError: A budget is below 1, or there is no such repair.
    """

    loop_budget: int = 2
    _: KW_ONLY
    concurrency_budget: int = 1
    repair: Literal["restart", "continue"] = "restart"

    def __post_init__(self) -> None:
        require_budget(self.loop_budget, "loop_budget")
        require_budget(self.concurrency_budget, "concurrency_budget")
        if self.repair not in ("restart", "continue"):
            raise InvalidInputError(f"repair is 'restart' or 'continue', not {self.repair!r}")
        if self.repair == "continue" and self.concurrency_budget > 1:
            raise InvalidInputError(
                "repair='continue' goes on from one attempt: it needs concurrency_budget=1"
            )

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make attempts until one succeeds."""
        if self.repair == "continue":
            return await self._continuing(sampler)
        if self.concurrency_budget == 1:
            return outcome(await until_accepted(lambda _: sampler.attempt(), self.loop_budget))
        width = self.concurrency_budget
        return outcome(await at_once(sampler.attempt, self.loop_budget, width, first=True))

    async def _continuing(self, sampler: Sampler) -> SamplingResult:
        async def following(last: Attempt | None) -> Attempt:
            return await sampler.attempt(after="" if last is None else last.kept, release=True)

        attempts = await until_accepted(following, self.loop_budget)
        # The latest has all that readers got; none before it has.
        return SamplingResult(attempts[-1].success, tuple(attempts), len(attempts) - 1)
