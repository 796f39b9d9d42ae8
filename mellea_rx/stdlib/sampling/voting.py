"""`MajorityVoting`: several attempts, of which the answer that most of them give is the value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mellea_rx.core.interfaces.sampling import Sampler
from mellea_rx.core.types.sampling_result import SamplingResult
from mellea_rx.errors import CallbackError, InvalidInputError
from mellea_rx.stdlib.sampling.attempts import AttemptLoop, ended
from mellea_rx.stdlib.sampling.side_by_side import SideBySide


def _hashable(vote: Any) -> Any:
    """The vote, if it can be counted."""
    hash(vote)
    return vote


def _plain(text: str) -> str:
    """A text without regard to case, white space and a full stop at its end."""
    return " ".join(text.casefold().split()).rstrip(".")


@dataclass(frozen=True, slots=True, init=False)
class MajorityVoting(SideBySide):
    """Makes `loop_budget` attempts side by side, and takes the answer that most of them give.

    Where some attempts meet every requirement, only these vote. Of answers with equally many votes
    the one that was complete first wins.

    Args:
        loop_budget: The number of attempts, 3 by default.
        key: A function that takes an attempt's text and returns its vote (hashable); may be async.
            By default the text without regard to case, white space and a full stop at its end.
        max_concurrent: The number of attempts that run at once; all of them by default.
        n: Another name of `loop_budget`.
        concurrency_budget: Another name of `max_concurrent`.

    Raises:
        InvalidInputError: A number is below 1, the key is not a function, or one parameter was
            given by both of its names.
    """

    key: Callable[[str], Any]

    def __init__(
        self,
        loop_budget: int | None = None,
        *,
        key: Callable[[str], Any] = _plain,
        max_concurrent: int | None = None,
        n: int | None = None,
        concurrency_budget: int | None = None,
    ) -> None:
        SideBySide.__init__(
            self,
            loop_budget,
            max_concurrent=max_concurrent,
            n=n,
            concurrency_budget=concurrency_budget,
        )
        if not callable(key):
            raise InvalidInputError(f"key is a function of the text, not {type(key).__name__}")
        object.__setattr__(self, "key", key)

    @property
    def callables(self) -> tuple[Callable[..., Any], ...]:
        """The key."""
        return (self.key,)

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make all attempts, and count the votes."""
        loop = AttemptLoop(sampler)
        await loop.side_by_side(sampler.attempt, self.loop_budget, self.width, first=False)
        attempts = loop.attempts
        camps: dict[Any, list[int]] = {}
        for index in [i for i, each in enumerate(attempts) if each.success] or ended(attempts):
            attempt = attempts[index]
            if attempt.error is None:
                try:
                    vote = await self.call(
                        sampler, self.key, attempt.text, role="key", convert=_hashable
                    )
                    camps.setdefault(vote, []).append(index)
                except CallbackError as error:
                    attempts[index] = replace(attempt, error=error)
        chosen = max(camps.values(), key=len)[0] if camps else ended(attempts)[0]
        return SamplingResult(attempts[chosen].success, tuple(attempts), chosen)
