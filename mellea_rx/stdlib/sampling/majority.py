"""Several attempts at once; what most of them say is the value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mellea_rx.core.sampling import Sampler, SamplingResult
from mellea_rx.errors import CallbackError, InvalidInputError, MelleaRxError
from mellea_rx.stdlib.sampling.budget import at_once, ended, require_budget

__all__ = ["MajorityVoting"]


def _plain(text: str) -> str:
    """A text without what does not change its meaning: case, white space, a stop at its end."""
    return " ".join(text.casefold().split()).rstrip(".")


@dataclass(frozen=True, slots=True)
class MajorityVoting:
    """Make `n` attempts side by side, and take what most of them say.

    Where some attempts meet every requirement, only these vote. Of equal camps the one that was
    complete first wins.

    Attributes:
        n: How many attempts.
        key: Takes an attempt's text, returns what is voted on (hashable); may be async. By
            default the text without regard to case, white space and a full stop at its end.
        concurrency_budget: At most so many at a time; all of them by default.

    Raises:
        InvalidInputError: A number is below 1, or the key is no function.
    """

    n: int = 3
    key: Callable[[str], Any] = _plain
    concurrency_budget: int | None = None

    always = True

    def __post_init__(self) -> None:
        require_budget(self.n, "n")
        if self.concurrency_budget is not None:
            require_budget(self.concurrency_budget, "concurrency_budget")
        if not callable(self.key):
            raise InvalidInputError(f"key is a function of the text, not {type(self.key).__name__}")

    @property
    def callables(self) -> tuple[Callable[..., Any], ...]:
        """The functions of the user's that it calls."""
        return (self.key,)

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make all attempts, and count."""
        width = self.concurrency_budget or self.n
        attempts = await at_once(sampler.attempt, self.n, width, first=False)
        camps: dict[Any, list[int]] = {}
        for index in [i for i, each in enumerate(attempts) if each.success] or ended(attempts):
            attempt = attempts[index]
            if attempt.error is None:
                try:
                    camps.setdefault(await self._vote(attempt.text, sampler), []).append(index)
                except CallbackError as error:
                    attempts[index] = replace(attempt, error=error)
        chosen = max(camps.values(), key=len)[0] if camps else ended(attempts)[0]
        return SamplingResult(attempts[chosen].success, tuple(attempts), chosen)

    async def _vote(self, text: str, sampler: Sampler) -> Any:
        try:
            vote = await sampler.call(self.key, text)
            hash(vote)
        except MelleaRxError:
            raise
        except Exception as error:
            name = getattr(self.key, "__name__", type(self.key).__name__)
            raise CallbackError(
                f"the key {name!r} of MajorityVoting failed: {type(error).__name__}: {error}",
                text=text,
            ) from error
        return vote
