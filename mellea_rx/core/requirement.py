"""What an answer has to be, and what was found: frozen values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, TypeAlias

__all__ = [
    "Requirement",
    "StreamValidation",
    "UnitVerdict",
    "ValidationFunction",
    "ValidationResult",
]


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


@dataclass(frozen=True, slots=True)
class UnitVerdict:
    """What a validation found of one unit of text, while the rest is still on its way.

    Attributes:
        result: True: this unit is fine. False: the answer is rejected. None: not to be said yet;
            the whole answer is judged at its end.
        reason: Why, in words.

    Its truth is that the unit was found fine: False for a rejection, and for "not to be said yet".

    Example:
        >>> bool(UnitVerdict(True)), bool(UnitVerdict(False)), bool(UnitVerdict(None))
        (True, False, False)
    """

    result: bool | None
    reason: str | None = None

    def __bool__(self) -> bool:
        return self.result is True


ValidationFunction: TypeAlias = Callable[[str], "ValidationResult | Awaitable[ValidationResult]"]
"""Takes the output's text; sync ones run in a worker thread, async ones on the caller's loop."""

StreamValidation: TypeAlias = Callable[[str], Any]
"""Takes one unit of text as soon as it is complete; returns a `UnitVerdict`, a bool or None,
"pass", "fail" or "unknown", or a pair of one of these and a reason. It may be async."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """Something that an answer has to be.

    Attributes:
        description: In words: goes into the prompt, and is what the model judges by where there
            is no function.
        validation_fn: Decides for the whole answer; None leaves it to the model as judge.
        output_to_bool: Reads the judge's answer; by default a "yes" or "no" in it.
        check_only: Keep the description out of the prompt (a description can prime a model to do
            just what it forbids).
        stream_validate: Decides for each unit while the answer streams, so that a bad one ends it
            at once. What it leaves open is judged at the end, as without it. Where it is an object
            (or a method of one), each attempt gets a copy of its own; see `PerAttempt`.
        unit: What `stream_validate` gets: "word", "sentence", "line" or "paragraph".
    """

    description: str
    validation_fn: ValidationFunction | None = None
    _: KW_ONLY
    output_to_bool: Callable[[str], bool] | None = None
    check_only: bool = False
    stream_validate: StreamValidation | None = None
    unit: Literal["word", "sentence", "line", "paragraph"] = "sentence"
