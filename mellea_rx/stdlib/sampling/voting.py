"""`MajorityVoting`: several attempts, of which the answer that most of them give is the value."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from mellea_rx.core.interfaces.sampling import Requirements, Sampler
from mellea_rx.core.runtime.run_all import run_all
from mellea_rx.core.types.output import Output
from mellea_rx.core.types.sampling_result import Attempt, SamplingResult
from mellea_rx.core.types.validation import require_number
from mellea_rx.errors import CallbackError, InvalidInputError
from mellea_rx.stdlib.sampling.answer_keys import plain_key
from mellea_rx.stdlib.sampling.attempts import ended
from mellea_rx.stdlib.sampling.budget import Budget
from mellea_rx.stdlib.sampling.roles import Roles
from mellea_rx.stdlib.sampling.side_by_side import SideBySide


def _hashable(vote: Any) -> Any:
    """The vote, if it can be counted."""
    hash(vote)
    return vote


def _degree(value: Any) -> float:
    """The similarity function's result, if degrees can be added up."""
    degree = float(value)
    if not math.isfinite(degree):
        raise ValueError(f"{degree} is not a degree of similarity")
    return degree


@dataclass(frozen=True, slots=True, init=False)
class MajorityVoting(SideBySide):
    """Makes `loop_budget` attempts side by side, and takes the answer that most of them give.

    Where some attempts meet every requirement, only these vote. Of answers with equally many votes
    the one that was complete first wins::

        attempts:  --Oslo--|  --Bergen---|  --oslo.-|
        votes:         2           1            2
        thunk:     ------------------------------Oslo|

    Answers in words agree in more or less, and are compared in pairs by a `similarity`: the value
    is then the attempt with the largest sum of similarities to the others. With `threshold`, each
    of the others that is so similar counts as one vote.

    `Attempt.score` has the votes, or the sum. A key is called once for each attempt, a similarity
    for each pair of them, n * (n - 1) / 2 times: it has to be symmetric. A key that fails is the
    fault of its attempt alone; a similarity that fails ends the call.

    Args:
        loop_budget: The number of attempts, 3 by default.
        key: A function that takes an attempt's `Output` and returns its vote (hashable); may be
            async. By default the text without regard to case, white space and a full stop at its
            end; `number_key` and `latex_key` are others.
        similarity: A function that takes the `Output`s of two attempts and returns a bool or a
            number, the larger the more similar; may be async. Instead of a key.
        threshold: The similarity from which on two attempts agree; None to add similarities up.
        max_concurrent: The number of attempts that run at once; all of them by default.
        roles: The backend for each role; the call's own by default.
        budget: The limit on the tokens and seconds of a call; None for no limit.
        n: Another name of `loop_budget`.
        concurrency_budget: Another name of `max_concurrent`.
        requirements: Requirements that are added to those of each call.

    Raises:
        InvalidInputError: A number is below 1, `key` or `similarity` is not a function, both of
            them were given, `threshold` is not a number or was given without `similarity`, or one
            parameter was given by both of its names.
    """

    key: Callable[[Output], Any]
    similarity: Callable[[Output, Output], Any] | None
    threshold: float | None

    def __init__(
        self,
        loop_budget: int | None = None,
        *,
        key: Callable[[Output], Any] = plain_key,
        similarity: Callable[[Output, Output], Any] | None = None,
        threshold: float | None = None,
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
        if not callable(key):
            raise InvalidInputError(f"key is a function of the text, not {type(key).__name__}")
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "similarity", similarity)
        object.__setattr__(self, "threshold", threshold)
        self._check_similarity()

    def _check_similarity(self) -> None:
        if self.threshold is not None:
            require_number("threshold", self.threshold)
        if self.similarity is None:
            if self.threshold is not None:
                raise InvalidInputError("threshold= needs similarity=, whose numbers it divides")
            return
        if not callable(self.similarity):
            kind = type(self.similarity).__name__
            raise InvalidInputError(f"similarity is a function of two texts, not {kind}")
        if self.key is not plain_key:
            raise InvalidInputError(
                "key= and similarity= are two ways to compare answers: give one of them"
            )

    @property
    def callables(self) -> tuple[Callable[..., Any], ...]:
        """The key, or the similarity."""
        return (self.key if self.similarity is None else self.similarity,)

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make all attempts, and compare them."""
        loop = self._loop(sampler)
        await loop.side_by_side(loop.attempt, self.loop_budget, self._width, first=False)
        attempts = loop.attempts
        voters = [i for i, each in enumerate(attempts) if each.success] or ended(attempts)
        voters = [i for i in voters if attempts[i].error is None]
        if self.similarity is None:
            votes = await self._votes(sampler, attempts, voters)
        else:
            votes = await self._agreements(sampler, self.similarity, attempts, voters)
        for index, score in votes.items():
            attempts[index] = replace(attempts[index], score=score)
        chosen = max(votes, key=lambda i: (votes[i], -i)) if votes else ended(attempts)[0]
        return loop.result(chosen)

    async def _votes(
        self, sampler: Sampler, attempts: list[Attempt], voters: Sequence[int]
    ) -> dict[int, float]:
        """The votes for the answer of each voter; one whose key fails becomes a failed attempt."""
        keys: dict[int, Any] = {}
        for index in voters:
            attempt = attempts[index]
            try:
                keys[index] = await self._call(
                    sampler, self.key, sampler.output(attempt), role="key", convert=_hashable
                )
            except CallbackError as error:
                attempts[index] = replace(attempt, error=error)
        counts = Counter(keys.values())
        return {index: float(counts[key]) for index, key in keys.items()}

    async def _agreements(
        self,
        sampler: Sampler,
        similarity: Callable[[Output, Output], Any],
        attempts: Sequence[Attempt],
        voters: Sequence[int],
    ) -> dict[int, float]:
        """The sum of the similarities of each voter to the others."""
        sums = dict.fromkeys(voters, 0.0)
        # One for all of its pairs, so that it is parsed once.
        outputs = {index: sampler.output(attempts[index]) for index in voters}

        async def compare(one: int, other: int) -> None:
            pair = outputs[one], outputs[other]
            degree = await self._call(
                sampler, similarity, *pair, role="similarity", convert=_degree
            )
            if self.threshold is not None:
                degree = float(degree >= self.threshold)
            sums[one] += degree
            sums[other] += degree

        await run_all([compare(one, other) for one, other in combinations(voters, 2)])
        return sums
