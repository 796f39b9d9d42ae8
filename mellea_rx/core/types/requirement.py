"""Requirements and the results of their validations: frozen values, for calls and strategies."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, Literal, Self, TypeAlias

from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.output import Output
from mellea_rx.core.types.stream_context import StreamContext
from mellea_rx.core.types.unit import Unit
from mellea_rx.errors import InvalidInputError


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


Verdict: TypeAlias = bool | tuple[bool, str] | ValidationResult
"""A decision: a bool, a pair of a bool and a reason, or a `ValidationResult`."""

ValidationFunction: TypeAlias = Callable[[Output], "ValidationResult | Awaitable[ValidationResult]"]
"""Takes the output, which is a `str` too; sync ones run in a worker thread, async ones on the
caller's loop."""

StreamValidation: TypeAlias = Callable[[str], Any] | Callable[[str, StreamContext], Any]
"""Takes one unit of text as soon as it is complete, and the answer before it where it has a second
parameter; returns a `UnitVerdict`, a bool or None, "pass", "fail" or "unknown", or a pair of one of
these and a reason. It may be async."""


@dataclass(frozen=True, eq=False)
class Requirement:
    """A condition that an answer has to meet.

    A subclass (a plain class, or a frozen dataclass) may override `validate`, `validate_unit` or
    both, instead of being given functions, and may have attributes and an `__init__` of its own::

        class Without(Requirement):
            def __init__(self, *words):
                super().__init__(f"Uses none of the words {words}.")
                self.words = words

            def validate(self, output):
                return not any(word in output for word in self.words)

    `validate` runs on the object itself. For `validate_unit` each attempt gets its own copy of the
    object: that of a method `for_attempt()` where the class has one, else a deep copy.

    Two requirements are equal where they are of one class, and all their attributes are equal.

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
        decided_on: The answers that it is decided on: "final" for those without tool calls (an
            answer with tool calls goes on after their results), "all" for those with tool calls
            too.
    """

    description: str
    validation_fn: ValidationFunction | None = None
    _: KW_ONLY
    output_to_bool: Callable[[str], bool] | None = None
    check_only: bool = False
    stream_validate: StreamValidation | None = None
    unit: Unit = "sentence"
    decided_on: Literal["final", "all"] = "final"

    # For subclasses.

    def validate(self, output: Output) -> Verdict | Awaitable[Verdict]:
        """Decide for the whole answer. A subclass may override it; sync or async.

        Args:
            output: The answer.

        Returns:
            A bool, a pair of bool and reason, or a `ValidationResult`. By default the result of
            `validation_fn`.

        Raises:
            InvalidInputError: There is no function, so that only a session's model can decide.
        """
        if self.validation_fn is None:
            raise InvalidInputError(
                f"requirement {self.description!r} has no function: the model judges it, with "
                "session.validate(requirement, output=...)"
            )
        return self.validation_fn(output)

    def validate_unit(self, unit: str, *context: Any, **_: Any) -> Any:
        """Decide for one unit while the answer streams. A subclass may override it; sync or async.

        As `stream_validate`, the method of a subclass takes the unit alone, or the unit and a
        `StreamContext`: `validate_unit(self, unit)` or `validate_unit(self, unit, so_far)`.

        Args:
            unit: The unit's text; see `unit`.
            context: The `StreamContext` of the unit, where `stream_validate` takes one.

        Returns:
            A verdict as `stream_validate` returns it. By default its result; None ("unknown")
            where there is none.
        """
        function: Callable[..., Any] | None = self.stream_validate
        return None if function is None else function(unit, *context)

    def replace(self, **changes: Any) -> Self:
        """A copy with other values of some attributes; of the same class, with its own attributes.

        (`dataclasses.replace` calls `__init__`, whose parameters a subclass may change.)

        Args:
            changes: The values by the names of the attributes above.

        Example:
            >>> Requirement("Be brief.").replace(check_only=True).check_only
            True

        Raises:
            InvalidInputError: There is no such attribute.
        """
        known = [each.name for each in fields(self)]
        for name in changes:
            if name not in known:
                raise InvalidInputError(
                    f"a {type(self).__name__} has no attribute {name!r} to replace; it has: "
                    f"{', '.join(known)}"
                )
        copied = copy.copy(self)
        vars(copied).update(changes)
        return copied

    __replace__ = replace

    # The one place that decides which functions judge; calls ask here.

    @property
    def answer_function(self) -> Callable[[Output], Any] | None:
        """The function that decides for the whole answer; None leaves it to the model as judge.

        It is `validate` where a subclass overrides it, else `validation_fn`.
        """
        overrides = type(self).validate is not Requirement.validate
        return self.validate if overrides else self.validation_fn

    @property
    def unit_function(self) -> StreamValidation | None:
        """The function that decides for each unit; None where none are decided.

        It is `validate_unit` where a subclass overrides it, else `stream_validate`.
        """
        overrides = type(self).validate_unit is not Requirement.validate_unit
        return self.validate_unit if overrides else self.stream_validate

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        """The user's functions that it calls."""
        every = (self.answer_function, self.unit_function, self.output_to_bool)
        return tuple(each for each in every if each is not None)

    def applies_to(self, answer: Chunk) -> bool:
        """Whether it is decided on this answer; see `decided_on`."""
        return self.decided_on == "all" or not answer.tool_calls

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), self.description))
