"""Short ways to write requirements: `req`, `check` and `simple_validate`.

Also the reasons of failed validators, in words. Used by programs, and by the pipeline.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, Literal

from mellea_rx.core.runtime.user_functions import is_async
from mellea_rx.core.text.placeholders import NOT_RENDERED, warn_of_placeholders
from mellea_rx.core.text.units import require_splitters, require_unit
from mellea_rx.core.types.output import Output
from mellea_rx.core.types.requirement import (
    Requirement,
    StreamValidation,
    ValidationFunction,
    ValidationResult,
    Verdict,
)
from mellea_rx.core.types.unit import Unit
from mellea_rx.core.types.validation import kind_of, name_of, require_choice
from mellea_rx.errors import (
    CallbackError,
    CallerLoopClosedError,
    InvalidInputError,
    MelleaRxError,
    ValidatorError,
)
from mellea_rx.stdlib.requirements.per_attempt import require_copies


def validator_failed(
    requirement: Requirement,
    function: Callable[..., Any] | None,
    error: Exception,
    text: str,
    where: str,
) -> MelleaRxError:
    """The error for an exception of a user's validation function.

    Args:
        requirement: The requirement that the function belongs to.
        function: The function.
        error: Its exception.
        text: The text that it was to judge.
        where: The name of the answer in the message ("attempt 2").
    """
    if isinstance(error, CallerLoopClosedError):
        return error
    return ValidatorError(
        f"{validator_name(requirement, function)} "
        f"raised {type(error).__name__} in {where}: {error}",
        text=text,
    )


def validator_name(requirement: Requirement, function: Callable[..., Any] | None) -> str:
    """The name of a validation function in messages."""
    return (
        f"the validation function {name_of(function)!r} of requirement {requirement.description!r}"
    )


def splitter_failed(requirement: Requirement, error: Exception, where: str) -> ValidatorError:
    """The error for an exception of a user's splitter, or of the check of its units.

    Args:
        requirement: The requirement whose unit it is.
        error: The exception.
        where: The name of the answer in the message ("attempt 2").
    """
    place = f"requirement {requirement.description!r} in {where}"
    if isinstance(error, (CallbackError, InvalidInputError)):  # these name the splitter
        return ValidatorError(f"{place}: {error}")
    name, kind = name_of(requirement.unit), type(error).__name__
    return ValidatorError(f"{place}: the splitter {name!r} raised {kind}: {error}")


DecidedOn = Literal["final", "all"]


def req(
    description: str,
    validation_fn: ValidationFunction | None = None,
    *,
    output_to_bool: Callable[[str], bool] | None = None,
    stream_validate: StreamValidation | None = None,
    unit: Unit = "sentence",
    decided_on: DecidedOn = "final",
) -> Requirement:
    """A requirement that the prompt states.

    Args:
        description: The requirement in words.
        validation_fn: Decides (see `simple_validate`); None leaves it to the model as judge.
        output_to_bool: Reads the judge's answer; by default the first "yes" or "no" in it.
        stream_validate: Decides for each unit while the answer streams; see `Requirement`.
        unit: The unit that `stream_validate` gets; see `Requirement`. A factory of your own is
            called once here as a check, and once for each attempt, in a worker thread.
        decided_on: Whether it is decided on answers without tool calls ("final"), or on those with
            tool calls too ("all").

    Example:
        >>> short = req("at most 20 words", simple_validate(lambda text: len(text.split()) <= 20))
        >>> calm = req("no shouting", stream_validate=lambda unit: not unit.isupper(), unit="word")

    Raises:
        InvalidInputError: An argument that cannot be used, by name.
    """
    made = _checked(
        Requirement(
            description,
            validation_fn,
            output_to_bool=output_to_bool,
            stream_validate=stream_validate,
            unit=unit,
            decided_on=decided_on,
        )
    )
    require_copies(stream_validate)
    require_splitters(unit)
    return made


def check(
    description: str | Requirement,
    validation_fn: ValidationFunction | None = None,
    *,
    output_to_bool: Callable[[str], bool] | None = None,
    stream_validate: StreamValidation | None = None,
    unit: Unit = "sentence",
    decided_on: DecidedOn = "final",
) -> Requirement:
    """A requirement that is checked, but not stated in the prompt; else as `req`.

    Args:
        description: The requirement in words; or a `Requirement`, of which this is a copy of the
            same class. With a `Requirement` no other argument is given.
        validation_fn: See `req`.
        output_to_bool: See `req`.
        stream_validate: See `req`.
        unit: See `req`.
        decided_on: See `req`.

    Example:
        >>> check(req("Be brief.", simple_validate(lambda text: len(text) < 80))).check_only
        True

    Raises:
        InvalidInputError: An argument that cannot be used, by name.
    """
    if isinstance(description, Requirement):
        given = (validation_fn, output_to_bool, stream_validate)
        if any(each is not None for each in given) or (unit, decided_on) != ("sentence", "final"):
            raise InvalidInputError(
                "check(requirement) takes no other argument: give them to the requirement, or use "
                "requirement.replace(check_only=True, ...)"
            )
        return _checked(description).replace(check_only=True)
    stated = req(
        description,
        validation_fn,
        output_to_bool=output_to_bool,
        stream_validate=stream_validate,
        unit=unit,
        decided_on=decided_on,
    )
    return stated.replace(check_only=True)


def simple_validate(
    fn: Callable[[Output], Verdict | Awaitable[Verdict]], *, reason: str | None = None
) -> ValidationFunction:
    """Make a validation function from a plain one.

    Args:
        fn: Takes the output (a `str`: the text, with its tool calls, usage and more) and returns a
            bool, or a pair of bool and reason; may be async.
        reason: The reason of a failure, where `fn` gives none.

    Example:
        >>> fits = simple_validate(lambda text: (len(text) < 80, "too long"))
        >>> fits("short")
        ValidationResult(result=True, reason='too long', score=None)
    """
    if not callable(fn):
        raise InvalidInputError(f"simple_validate takes a function, not {type(fn).__name__}")
    return calling(fn, lambda output: (output,), lambda _, found: verdict(found[0], reason))


def calling(
    fn: Callable[[Any], Any],
    values_of: Callable[[Output], Sequence[Any]],
    conclude: Callable[[Output, Sequence[Any]], ValidationResult],
) -> ValidationFunction:
    """Make a validation function that calls a user's function for some values of an output.

    Args:
        fn: Called with each value; where it is async, so is the validation function.
        values_of: The values of an output.
        conclude: Takes the output, and what `fn` returned for each value, in order.
    """

    @wraps(fn)
    def validate(output: Output) -> ValidationResult:
        return conclude(output, [fn(value) for value in values_of(output)])

    @wraps(fn)
    async def avalidate(output: Output) -> ValidationResult:
        return conclude(output, [await fn(value) for value in values_of(output)])

    return avalidate if is_async(fn) else validate


def verdict(value: Any, reason: str | None = None) -> ValidationResult:
    """The return value of a validation function, as a result.

    Its reason is a plain `str`: an `Output` would keep its context alive.

    Raises:
        TypeError: It is not a verdict.
    """
    match value:
        case ValidationResult(reason=given):
            return value if given is None else replace(value, reason=str(given))
        case (bool() as result, (str() | None) as given):
            return ValidationResult(result, reason=str(given) if given else reason)
        case bool():
            return ValidationResult(value, reason=None if value else reason)
    raise TypeError(
        "a validation function returns a bool, a pair of bool and reason, or a ValidationResult, "
        f"not {value!r}"
    )


def as_requirements(
    given: Iterable[str | Requirement] | str | Requirement | None,
) -> tuple[Requirement, ...]:
    """The requirements of a `requirements=` argument.

    Raises:
        InvalidInputError: Something is neither a str nor a `Requirement`.
    """
    if given is None:
        return ()
    if not isinstance(given, Iterable) and not isinstance(given, Requirement):
        raise InvalidInputError(
            f"requirements are a list of str or Requirement, not {type(given).__name__}"
        )
    items = [given] if isinstance(given, (str, Requirement)) else list(given)
    return tuple(_from(item) for item in items)


def _from(item: object) -> Requirement:
    if isinstance(item, Requirement):
        checked = _checked(item)
        # A method of a subclass; a function was tried when the requirement was made.
        if item.unit_function is not item.stream_validate:
            require_copies(item.unit_function, "validate_unit")
        return checked
    if not isinstance(item, str):
        raise InvalidInputError(
            f"a requirement is a str or a Requirement, not {kind_of(item)} "
            "(a function goes into req(description, function))"
        )
    return _checked(Requirement(item))


def _checked(requirement: Requirement) -> Requirement:
    description = getattr(requirement, "description", None)  # `super().__init__` may be missing
    if not isinstance(description, str) or not description.strip():
        raise InvalidInputError("a requirement needs a description in words")
    warn_of_placeholders("a requirement", description, NOT_RENDERED)
    for name in ("validation_fn", "output_to_bool", "stream_validate"):
        function = getattr(requirement, name)
        if function is not None and not callable(function):
            raise InvalidInputError(f"{name} is a function, not {type(function).__name__}")
    require_unit(requirement.unit)
    require_choice("decided_on", requirement.decided_on, DecidedOn)
    return requirement
