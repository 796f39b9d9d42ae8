"""What an answer has to be, and what was found: frozen values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Requirement", "ValidationFunction", "ValidationResult"]


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """What a validation found.

    Example:
        >>> bool(ValidationResult(False, reason="too long"))
        False

    Attributes:
        result: Whether the requirement is met.
        reason: Why, in words.
        score: How well, where the validation measures that.
    """

    result: bool
    reason: str | None = None
    score: float | None = None

    def __bool__(self) -> bool:
        return self.result


ValidationFunction: TypeAlias = Callable[[str], "ValidationResult | Awaitable[ValidationResult]"]
"""Takes the output's text; sync ones run in a worker thread, async ones on the caller's loop."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """Something that an answer has to be.

    Attributes:
        description: In words: goes into the prompt, and is what the model judges by where there
            is no function.
        validation_fn: Decides; None leaves it to the model as judge.
        check_only: Keep the description out of the prompt (a description can prime a model to do
            just what it forbids).
    """

    description: str
    validation_fn: ValidationFunction | None = None
    check_only: bool = False
