"""Requirements and the results of their validations: frozen values, for calls and strategies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, TypeAlias

from mellea_rx.core.types.stream_context import StreamContext
from mellea_rx.core.types.unit import Unit


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """The result of a validation.

    Example:
        >>> bool(ValidationResult(False, reason="too long"))
        False

    Attributes:
        result: Whether the requirement is met.
        reason: The reason, in words.
        score: The degree to which it is met, where the validation measures that.
    """

    result: bool
    reason: str | None = None
    score: float | None = None

    def __bool__(self) -> bool:
        return self.result


@dataclass(frozen=True, slots=True)
class UnitVerdict:
    """The result of a validation for one unit of text, while the answer still streams.

    Attributes:
        result: True: this unit passes. False: the answer is rejected. None: undecided; the whole
            answer is judged at its end.
        reason: The reason, in words.
        score: The degree to which the unit meets the requirement, where the validation measures
            that; the requirement's own score is the mean of its units'.

    It is true where the unit passes: false for a rejection, and for an undecided unit.

    Example:
        >>> bool(UnitVerdict(True)), bool(UnitVerdict(False)), bool(UnitVerdict(None))
        (True, False, False)
    """

    result: bool | None
    reason: str | None = None
    score: float | None = None

    def __bool__(self) -> bool:
        return self.result is True


ValidationFunction: TypeAlias = Callable[[str], "ValidationResult | Awaitable[ValidationResult]"]
"""Takes the output's text; sync ones run in a worker thread, async ones on the caller's loop."""

StreamValidation: TypeAlias = Callable[[str], Any] | Callable[[str, StreamContext], Any]
"""Takes one unit of text as soon as it is complete, and the answer before it where it has a second
parameter; returns a `UnitVerdict`, a bool or None, "pass", "fail" or "unknown", or a pair of one of
these and a reason. It may be async."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A condition that an answer has to meet.

    Attributes:
        description: The condition in words, for the prompt, and for the model as judge where
            there is no function.
        validation_fn: Decides for the whole answer; None leaves it to the model as judge.
        output_to_bool: Reads the judge's answer; by default the first "yes" or "no" in it.
        check_only: Whether the description stays out of the prompt (it can prime a model to do
            just what it forbids).
        stream_validate: Decides for each unit while the answer streams, so that a rejected unit
            ends it at once. Where a unit is undecided, the whole answer is judged at its end.
            Where it is an object (or a method of one), each attempt gets its own copy; see
            `PerAttempt`.
        unit: The unit that `stream_validate` gets: "word", "sentence", "line" or "paragraph", or a
            splitter factory, which makes a splitter for each attempt (see `by_regex`,
            `by_json_member` and `Splitter`).
    """

    description: str
    validation_fn: ValidationFunction | None = None
    _: KW_ONLY
    output_to_bool: Callable[[str], bool] | None = None
    check_only: bool = False
    stream_validate: StreamValidation | None = None
    unit: Unit = "sentence"
