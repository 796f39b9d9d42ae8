"""Several attempts at once; the best by a score is the value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mellea_rx.core.sampling import Attempt, Sampler, SamplingResult
from mellea_rx.errors import CallbackError, InvalidInputError, MelleaRxError
from mellea_rx.stdlib.sampling.budget import at_once, ended, require_budget

__all__ = ["BestOfN"]


@dataclass(frozen=True, slots=True)
class BestOfN:
    """Make `n` attempts side by side, and take the one with the highest score.

    Attempts that meet every requirement go before those that do not, and one that fails is never
    taken before one that does not::

        attempts:  --a--|  --b---|  --c-|
        scores:         2        7      5
        thunk:     ------------------b|

    Attributes:
        n: How many attempts.
        scorer: Takes an attempt's text, returns a number; may be async. By default the number of
            requirements that are met, then the sum of their validations' scores.
        concurrency_budget: At most so many at a time; all of them by default.

    Raises:
        InvalidInputError: A number is below 1, or the scorer is no function.
    """

    n: int = 3
    scorer: Callable[[str], Any] | None = None
    concurrency_budget: int | None = None

    always = True

    def __post_init__(self) -> None:
        require_budget(self.n, "n")
        if self.concurrency_budget is not None:
            require_budget(self.concurrency_budget, "concurrency_budget")
        if self.scorer is not None and not callable(self.scorer):
            raise InvalidInputError(
                f"scorer is a function of the text, not {type(self.scorer).__name__}"
            )

    @property
    def callables(self) -> tuple[Callable[..., Any], ...]:
        """The functions of the user's that it calls."""
        return () if self.scorer is None else (self.scorer,)

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make all attempts, score each as it comes, take the best."""

        async def make() -> Attempt:
            return await self._scored(await sampler.attempt(), sampler)

        width = self.concurrency_budget or self.n
        attempts = await at_once(make, self.n, width, first=False)
        best = max(
            ended(attempts), key=lambda i: (attempts[i].success, attempts[i].score or 0.0, -i)
        )
        return SamplingResult(attempts[best].success, tuple(attempts), best)

    async def _scored(self, attempt: Attempt, sampler: Sampler) -> Attempt:
        if self.scorer is None:
            scores = sum(result.score or 0.0 for _, result in attempt.validations)
            return replace(attempt, score=attempt.passed + scores)
        name = getattr(self.scorer, "__name__", type(self.scorer).__name__)
        try:
            return replace(attempt, score=float(await sampler.call(self.scorer, attempt.text)))
        except MelleaRxError:
            raise
        except Exception as error:
            raise CallbackError(
                f"the scorer {name!r} of BestOfN failed: {type(error).__name__}: {error}",
                text=attempt.text,
            ) from error
