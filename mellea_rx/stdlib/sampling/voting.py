"""Strategies that make several attempts at once: best of n by a score, and majority voting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from mellea_rx.core.interfaces.sampling import BaseStrategy, Requirements, Sampler
from mellea_rx.core.types.output import Output
from mellea_rx.core.types.sampling_result import Attempt, SamplingResult
from mellea_rx.core.types.validation import name_of
from mellea_rx.errors import CallbackError, InvalidInputError, MelleaRxError
from mellea_rx.stdlib.requirements import as_requirements
from mellea_rx.stdlib.sampling.attempts import at_once, attempts_of, ended, width_of

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, init=False)
class _SideBySide(BaseStrategy):
    """A strategy that makes `loop_budget` attempts, up to `max_concurrent` of them at once."""

    loop_budget: int
    max_concurrent: int | None
    requirements: Requirements

    always = True

    def __init__(
        self,
        loop_budget: int | None,
        max_concurrent: int | None,
        n: int | None,
        concurrency_budget: int | None,
        requirements: Requirements,
    ) -> None:
        object.__setattr__(self, "loop_budget", attempts_of(loop_budget, n, default=3))
        _, width = width_of(max_concurrent, concurrency_budget)
        object.__setattr__(self, "max_concurrent", width)
        object.__setattr__(self, "requirements", as_requirements(requirements))

    @property
    def n(self) -> int:
        """Another name of `loop_budget`."""
        return self.loop_budget

    @property
    def concurrency_budget(self) -> int | None:
        """Another name of `max_concurrent`."""
        return self.max_concurrent

    async def _attempts(self, make: Callable[[], Awaitable[Attempt]]) -> list[Attempt]:
        width = self.max_concurrent or self.loop_budget
        return await at_once(make, self.loop_budget, width, first=False)

    async def _call(
        self,
        sampler: Sampler,
        function: Callable[[Output], Any],
        attempt: Attempt,
        *,
        role: str,
        convert: Callable[[Any], _T],
    ) -> _T:
        """Call a function of the user's with an attempt's output, and convert its result.

        Raises:
            CallbackError: Either failed. The message has the function's role and name.
        """
        try:
            return convert(await sampler.call(function, sampler.output(attempt)))
        except MelleaRxError:
            raise
        except Exception as error:
            raise CallbackError(
                f"the {role} {name_of(function)!r} of {type(self).__name__} failed: "
                f"{type(error).__name__}: {error}",
                text=attempt.text,
            ) from error


@dataclass(frozen=True, slots=True, init=False)
class BestOfN(_SideBySide):
    """Makes `loop_budget` attempts side by side, and takes the one with the highest score.

    Attempts that meet every requirement go before those that do not, and one that fails is never
    taken before one that does not::

        attempts:  --a--|  --b---|  --c-|
        scores:         2        7      5
        thunk:     ------------------b|

    Args:
        loop_budget: The number of attempts, 3 by default.
        scorer: A function that takes an attempt's `Output` and returns a number; may be async. The
            default counts the requirements that are met, and adds their validations' scores.
        max_concurrent: The number of attempts that run at once; all of them by default.
        n: Another name of `loop_budget`.
        concurrency_budget: Another name of `max_concurrent`.
        requirements: Requirements that are added to those of each call.

    Raises:
        InvalidInputError: A number is below 1, the scorer is not a function, or one parameter was
            given by both of its names.
    """

    scorer: Callable[[Output], Any] | None

    def __init__(
        self,
        loop_budget: int | None = None,
        scorer: Callable[[Output], Any] | None = None,
        max_concurrent: int | None = None,
        *,
        n: int | None = None,
        concurrency_budget: int | None = None,
        requirements: Requirements = (),
    ) -> None:
        # Not `super()`, which refers to the class that `dataclass` replaces by one with slots.
        _SideBySide.__init__(self, loop_budget, max_concurrent, n, concurrency_budget, requirements)
        if scorer is not None and not callable(scorer):
            raise InvalidInputError(
                f"scorer is a function of the text, not {type(scorer).__name__}"
            )
        object.__setattr__(self, "scorer", scorer)

    @property
    def callables(self) -> tuple[Callable[..., Any], ...]:
        """The scorer, where there is one."""
        return () if self.scorer is None else (self.scorer,)

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make all attempts, score each when it ends, take the best."""

        async def make() -> Attempt:
            return await self._scored(await sampler.attempt(), sampler)

        attempts = await self._attempts(make)
        best = max(
            ended(attempts), key=lambda i: (attempts[i].success, attempts[i].score or 0.0, -i)
        )
        return SamplingResult(attempts[best].success, tuple(attempts), best)

    async def _scored(self, attempt: Attempt, sampler: Sampler) -> Attempt:
        if self.scorer is None:
            scores = sum(result.score or 0.0 for _, result in attempt.validations)
            return replace(attempt, score=attempt.passed + scores)
        score = await self._call(sampler, self.scorer, attempt, role="scorer", convert=float)
        return replace(attempt, score=score)


def _hashable(vote: Any) -> Any:
    """The vote, if it can be counted."""
    hash(vote)
    return vote


def _plain(text: str) -> str:
    """A text without regard to case, white space and a full stop at its end."""
    return " ".join(text.casefold().split()).rstrip(".")


@dataclass(frozen=True, slots=True, init=False)
class MajorityVoting(_SideBySide):
    """Makes `loop_budget` attempts side by side, and takes the answer that most of them give.

    Where some attempts meet every requirement, only these vote. Of answers with equally many votes
    the one that was complete first wins.

    Args:
        loop_budget: The number of attempts, 3 by default.
        key: A function that takes an attempt's `Output` and returns its vote (hashable); may be
            async.
            By default the text without regard to case, white space and a full stop at its end.
        max_concurrent: The number of attempts that run at once; all of them by default.
        n: Another name of `loop_budget`.
        concurrency_budget: Another name of `max_concurrent`.
        requirements: Requirements that are added to those of each call.

    Raises:
        InvalidInputError: A number is below 1, the key is not a function, or one parameter was
            given by both of its names.
    """

    key: Callable[[Output], Any]

    def __init__(
        self,
        loop_budget: int | None = None,
        key: Callable[[Output], Any] = _plain,
        max_concurrent: int | None = None,
        *,
        n: int | None = None,
        concurrency_budget: int | None = None,
        requirements: Requirements = (),
    ) -> None:
        _SideBySide.__init__(self, loop_budget, max_concurrent, n, concurrency_budget, requirements)
        if not callable(key):
            raise InvalidInputError(f"key is a function of the text, not {type(key).__name__}")
        object.__setattr__(self, "key", key)

    @property
    def callables(self) -> tuple[Callable[..., Any], ...]:
        """The key."""
        return (self.key,)

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make all attempts, and count the votes."""
        attempts = await self._attempts(sampler.attempt)
        camps: dict[Any, list[int]] = {}
        for index in [i for i, each in enumerate(attempts) if each.success] or ended(attempts):
            attempt = attempts[index]
            if attempt.error is None:
                try:
                    vote = await self._call(
                        sampler, self.key, attempt, role="key", convert=_hashable
                    )
                    camps.setdefault(vote, []).append(index)
                except CallbackError as error:
                    attempts[index] = replace(attempt, error=error)
        chosen = max(camps.values(), key=len)[0] if camps else ended(attempts)[0]
        return SamplingResult(attempts[chosen].success, tuple(attempts), chosen)
