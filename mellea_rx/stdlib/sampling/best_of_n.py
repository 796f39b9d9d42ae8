"""`BestOfN`: makes several attempts at once and takes the one with the highest score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mellea_rx.core.arguments import name_of
from mellea_rx.core.sampling import Attempt, BaseStrategy, Sampler, SamplingResult
from mellea_rx.errors import CallbackError, InvalidInputError, MelleaRxError
from mellea_rx.stdlib.sampling.budget import at_once, attempts_of, ended, width_of

__all__ = ["BestOfN"]


@dataclass(frozen=True, slots=True, init=False)
class BestOfN(BaseStrategy):
    """Makes `loop_budget` attempts side by side, and takes the one with the highest score.

    Attempts that meet every requirement go before those that do not, and one that fails is never
    taken before one that does not::

        attempts:  --a--|  --b---|  --c-|
        scores:         2        7      5
        thunk:     ------------------b|

    Args:
        loop_budget: The number of attempts, 3 by default.
        scorer: A function that takes an attempt's text and returns a number; may be async. The
            default counts the requirements that are met, and adds their validations' scores.
        max_concurrent: The number of attempts that run at once; all of them by default.
        n: Another name of `loop_budget`.
        concurrency_budget: Another name of `max_concurrent`.

    Raises:
        InvalidInputError: A number is below 1, the scorer is not a function, or one parameter was
            given by both of its names.
    """

    loop_budget: int
    scorer: Callable[[str], Any] | None
    max_concurrent: int | None

    always = True

    def __init__(
        self,
        loop_budget: int | None = None,
        scorer: Callable[[str], Any] | None = None,
        max_concurrent: int | None = None,
        *,
        n: int | None = None,
        concurrency_budget: int | None = None,
    ) -> None:
        budget = attempts_of(loop_budget, n, default=3)
        _, width = width_of(max_concurrent, concurrency_budget)
        if scorer is not None and not callable(scorer):
            raise InvalidInputError(
                f"scorer is a function of the text, not {type(scorer).__name__}"
            )
        object.__setattr__(self, "loop_budget", budget)
        object.__setattr__(self, "scorer", scorer)
        object.__setattr__(self, "max_concurrent", width)

    @property
    def n(self) -> int:
        """Another name of `loop_budget`."""
        return self.loop_budget

    @property
    def concurrency_budget(self) -> int | None:
        """Another name of `max_concurrent`."""
        return self.max_concurrent

    @property
    def callables(self) -> tuple[Callable[..., Any], ...]:
        """The scorer, where there is one."""
        return () if self.scorer is None else (self.scorer,)

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make all attempts, score each when it ends, take the best."""

        async def make() -> Attempt:
            return await self._scored(await sampler.attempt(), sampler)

        width = self.max_concurrent or self.loop_budget
        attempts = await at_once(make, self.loop_budget, width, first=False)
        best = max(
            ended(attempts), key=lambda i: (attempts[i].success, attempts[i].score or 0.0, -i)
        )
        return SamplingResult(attempts[best].success, tuple(attempts), best)

    async def _scored(self, attempt: Attempt, sampler: Sampler) -> Attempt:
        if self.scorer is None:
            scores = sum(result.score or 0.0 for _, result in attempt.validations)
            return replace(attempt, score=attempt.passed + scores)
        try:
            return replace(attempt, score=float(await sampler.call(self.scorer, attempt.text)))
        except MelleaRxError:
            raise
        except Exception as error:
            raise CallbackError(
                f"the scorer {name_of(self.scorer)!r} of BestOfN failed: "
                f"{type(error).__name__}: {error}",
                text=attempt.text,
            ) from error
