"""`BestOfN`: several attempts, of which the one with the highest score is the value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mellea_rx.core.interfaces.sampling import Requirements, Sampler
from mellea_rx.core.types.output import Output
from mellea_rx.core.types.sampling_result import Attempt, SamplingResult
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.sampling.attempts import ended
from mellea_rx.stdlib.sampling.budget import Budget
from mellea_rx.stdlib.sampling.roles import Roles
from mellea_rx.stdlib.sampling.score_judge import scored_by_judge
from mellea_rx.stdlib.sampling.side_by_side import SideBySide


@dataclass(frozen=True, slots=True, init=False)
class BestOfN(SideBySide):
    """Makes `loop_budget` attempts side by side, and takes the one with the highest score.

    Attempts that meet every requirement go before those that do not, and one that fails is never
    taken before one that does not::

        attempts:  --a--|  --b---|  --c-|
        scores:         2        7      5
        thunk:     ------------------b|

    With `judge`, the model scores each attempt from 0 to 10, at temperature 0. `Attempt.score` has
    the score, and `Attempt.score_reason` the judge's words. An attempt to which the judge gives no
    number has no score, comes last, and its `score_reason` says so.

    Args:
        loop_budget: The number of attempts, 3 by default.
        scorer: A function that takes an attempt's `Output` and returns a number; may be async. The
            default counts the requirements that are met, and adds their validations' scores.
        judge: A criterion in words ("The more polite answer is better."), by which the model
            scores; instead of a scorer.
        max_concurrent: The number of attempts that run at once; all of them by default.
        roles: The backend for each role; the call's own by default.
        budget: The limit on the tokens and seconds of a call; None for no limit.
        n: Another name of `loop_budget`.
        concurrency_budget: Another name of `max_concurrent`.
        requirements: Requirements that are added to those of each call.

    Raises:
        InvalidInputError: A number is below 1, the scorer is not a function, the criterion is not
            a text, both of them were given, or one parameter was given by both of its names.
    """

    scorer: Callable[[Output], Any] | None
    judge: str | None

    def __init__(
        self,
        loop_budget: int | None = None,
        *,
        scorer: Callable[[Output], Any] | None = None,
        judge: str | None = None,
        max_concurrent: int | None = None,
        roles: Roles | None = None,
        budget: Budget | None = None,
        n: int | None = None,
        concurrency_budget: int | None = None,
        requirements: Requirements = (),
    ) -> None:
        SideBySide.__init__(
            self,
            loop_budget,
            max_concurrent=max_concurrent,
            roles=roles,
            budget=budget,
            n=n,
            concurrency_budget=concurrency_budget,
            requirements=requirements,
        )
        if scorer is not None and not callable(scorer):
            raise InvalidInputError(
                f"scorer is a function of the text, not {type(scorer).__name__}"
            )
        if judge is not None and (not isinstance(judge, str) or not judge.strip()):
            raise InvalidInputError(
                f"judge is a criterion in words, by which a model scores, not {judge!r}"
            )
        if scorer is not None and judge is not None:
            raise InvalidInputError(
                "scorer= and judge= are two ways to score an attempt: give one of them"
            )
        object.__setattr__(self, "scorer", scorer)
        object.__setattr__(self, "judge", judge)

    @property
    def callables(self) -> tuple[Callable[..., Any], ...]:
        """The scorer, where there is one."""
        return () if self.scorer is None else (self.scorer,)

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make all attempts, score each when it ends, take the best."""
        loop = self._loop(sampler)

        async def make() -> Attempt:
            attempt = await loop.attempt()
            if attempt.error is not None:
                return attempt
            scored = await loop.in_time(self._scored(attempt, sampler))
            return replace(attempt, score_reason=_TOO_LATE) if scored is None else scored

        await loop.side_by_side(make, self.loop_budget, self._width, first=False)
        attempts = loop.attempts
        best = max(ended(attempts), key=lambda i: (attempts[i].success, _rank(attempts[i]), -i))
        return loop.result(best)

    async def _scored(self, attempt: Attempt, sampler: Sampler) -> Attempt:
        if self.judge is not None:
            return await scored_by_judge(attempt, self.judge, sampler, self.roles.judge)
        if self.scorer is None:
            scores = sum(result.score or 0.0 for _, result in attempt.validations)
            return replace(attempt, score=attempt.passed + scores)
        output = sampler.output(attempt)
        score = await self._call(sampler, self.scorer, output, role="scorer", convert=_number)
        return replace(attempt, score=score)


_TOO_LATE = "no score: the seconds of the strategy's budget were over"


def _number(value: Any) -> float:
    """The scorer's result, if scores can be compared with it."""
    score = float(value)
    if math.isnan(score):
        raise ValueError("nan is neither more nor less than another score")
    return score


def _rank(attempt: Attempt) -> float:
    return -math.inf if attempt.score is None else attempt.score
