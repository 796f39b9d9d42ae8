"""Sampling results: every attempt of a call, and the chosen one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mellea_rx.core.chunk import Chunk, Usage
from mellea_rx.core.requirement import Requirement, ValidationResult
from mellea_rx.errors import MelleaRxError

__all__ = ["Attempt", "SamplingResult"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One generation and what its validations found.

    Attributes:
        answer: What the model said, as one chunk.
        validations: Each requirement that was decided, and its result, in order.
        kept: The beginning of the text whose units were all validated while it streamed.
        score: How good a strategy found it, where it measures that.
        error: Why it failed, where its generation or a function of the user's did; `answer` is then
            the text that had come.

    Its truth is its `success`.
    """

    answer: Chunk
    validations: tuple[tuple[Requirement, ValidationResult], ...]
    kept: str = ""
    score: float | None = None
    error: MelleaRxError | None = None

    @property
    def text(self) -> str:
        """What the model said."""
        return self.answer.text

    @property
    def usage(self) -> Usage | None:
        """What it cost, in tokens."""
        return self.answer.usage

    @property
    def success(self) -> bool:
        """Whether it came to its end, and every requirement is met."""
        return self.error is None and all(result for _, result in self.validations)

    @property
    def passed(self) -> int:
        """How many requirements are met."""
        return sum(bool(result) for _, result in self.validations)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was rejected: its error, or a reason for each requirement that is not met."""
        if self.error is not None:
            return (str(self.error),)
        return tuple(
            f"{each.description}: {result.reason}" if result.reason else each.description
            for each, result in self.validations
            if not result
        )

    def __bool__(self) -> bool:
        return self.success


@dataclass(frozen=True, slots=True)
class SamplingResult:
    """What a strategy did: every attempt, and the one that became the value.

    Attributes:
        success: Whether the value meets every requirement.
        attempts: All of them, in order; those side by side in the order in which they ended. Some
            may have failed (`Attempt.error`) beside others that did not.
        chosen: The index of the attempt that became the value. Where that one has failed, the call
            fails.

    Its truth is its `success`: `if thunk.sampling:` asks whether the value is accepted.
    """

    success: bool
    attempts: tuple[Attempt, ...]
    chosen: int

    def without_functions(self) -> SamplingResult:
        """The same, its requirements in words only: functions can often not be pickled."""
        attempts = (
            replace(
                each,
                validations=tuple(
                    (Requirement(known.description, check_only=known.check_only), result)
                    for known, result in each.validations
                ),
            )
            for each in self.attempts
        )
        return replace(self, attempts=tuple(attempts))

    def __bool__(self) -> bool:
        return self.success
