"""Sampling results: every attempt of a call, and the chosen one. Strategies return them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mellea_rx.core.types.chunk import Chunk, Usage
from mellea_rx.core.types.requirement import Requirement, ValidationResult
from mellea_rx.errors import MelleaRxError


def reason_of(requirement: Requirement, result: ValidationResult) -> str:
    """The reason why a requirement is not met, in words."""
    described = requirement.description
    return f"{described}: {result.reason}" if result.reason else described


@dataclass(frozen=True, slots=True)
class Attempt:
    """One generation and the results of its validations.

    Attributes:
        answer: The model's answer, as one chunk.
        validations: Each requirement that was decided, with its result, in order.
        kept: The beginning of the text, as far as every unit passed its validation.
        score: The strategy's score, where it gives one.
        error: The error of its generation or of a user's function, where one failed; `answer` is
            then the text before the error.
        score_reason: The reason of the score in the words of a judge, or why there is no score.
        number: Its number in the call, from 1, in the order in which attempts begin; 0 where it
            is not known.

    Its truth is its `success`.
    """

    answer: Chunk
    validations: tuple[tuple[Requirement, ValidationResult], ...]
    kept: str = ""
    score: float | None = None
    error: MelleaRxError | None = None
    score_reason: str | None = None
    number: int = 0

    @property
    def text(self) -> str:
        """The text of the answer."""
        return self.answer.text

    @property
    def usage(self) -> Usage | None:
        """The tokens that it used."""
        return self.answer.usage

    @property
    def success(self) -> bool:
        """Whether it has no error, and every requirement is met."""
        return self.error is None and all(result for _, result in self.validations)

    @property
    def passed(self) -> int:
        """The number of requirements that are met."""
        return sum(bool(result) for _, result in self.validations)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons of its rejection: its error, or one for each requirement that is not met."""
        if self.error is not None:
            return (str(self.error),)
        return tuple(reason_of(each, result) for each, result in self.validations if not result)

    def __bool__(self) -> bool:
        return self.success


@dataclass(frozen=True, slots=True)
class SamplingResult:
    """The result of a strategy: every attempt, and the index of the one that became the value.

    Attributes:
        success: Whether the value meets every requirement.
        attempts: All attempts, in order; concurrent ones in the order in which they ended. Some of
            them may have failed (`Attempt.error`).
        chosen: The index of the attempt that became the value. Where it has failed, the call
            fails.
        budget_spent: The limit of the strategy's `Budget` that ended it, "tokens" or "seconds":
            another attempt would have begun, or one was ended. None where none did.

    Its truth is its `success`: `if thunk.sampling:` asks whether the value is accepted.
    """

    success: bool
    attempts: tuple[Attempt, ...]
    chosen: int
    budget_spent: Literal["tokens", "seconds"] | None = None

    def without_functions(self) -> SamplingResult:
        """The same without the functions of requirements, which often cannot be pickled."""
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
