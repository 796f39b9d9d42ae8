"""Short ways to write requirements: `req`, `check` and `simple_validate`.

Also the reasons of failed validators, in words. Used by programs, and by the pipeline.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import wraps
from typing import Any, TypeAlias, cast

from mellea_rx.core.runtime.user_functions import is_async
from mellea_rx.core.text.placeholders import NOT_RENDERED, warn_of_placeholders
from mellea_rx.core.text.units import require_splitters, require_unit
from mellea_rx.core.types.requirement import (
    Requirement,
    StreamValidation,
    ValidationFunction,
    ValidationResult,
)
from mellea_rx.core.types.unit import Unit
from mellea_rx.core.types.validation import kind_of, name_of
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
    name = name_of(function)
    return ValidatorError(
        f"the validation function {name!r} of requirement {requirement.description!r} "
        f"raised {type(error).__name__} in {where}: {error}",
        text=text,
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


Verdict: TypeAlias = bool | tuple[bool, str] | ValidationResult


def req(
    description: str,
    validation_fn: ValidationFunction | None = None,
    *,
    output_to_bool: Callable[[str], bool] | None = None,
    stream_validate: StreamValidation | None = None,
    unit: Unit = "sentence",
) -> Requirement:
    """A requirement that the prompt states.

    Args:
        description: The requirement in words.
        validation_fn: Decides (see `simple_validate`); None leaves it to the model as judge.
        output_to_bool: Reads the judge's answer; by default the first "yes" or "no" in it.
        stream_validate: Decides for each unit while the answer streams; see `Requirement`.
        unit: The unit that `stream_validate` gets; see `Requirement`. A factory of your own is
            called once here as a check, and once for each attempt, in a worker thread.

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
        )
    )
    require_copies(stream_validate)
    require_splitters(unit)
    return made


def check(
    description: str,
    validation_fn: ValidationFunction | None = None,
    *,
    output_to_bool: Callable[[str], bool] | None = None,
    stream_validate: StreamValidation | None = None,
    unit: Unit = "sentence",
) -> Requirement:
    """A requirement that is checked, but not stated in the prompt; else as `req`."""
    stated = req(
        description,
        validation_fn,
        output_to_bool=output_to_bool,
        stream_validate=stream_validate,
        unit=unit,
    )
    return replace(stated, check_only=True)


def simple_validate(
    fn: Callable[[str], Verdict | Awaitable[Verdict]], *, reason: str | None = None
) -> ValidationFunction:
    """Make a validation function from a plain one.

    Args:
        fn: Takes the output's text and returns a bool, or a pair of bool and reason; may be async.
        reason: The reason of a failure, where `fn` gives none.

    Example:
        >>> fits = simple_validate(lambda text: (len(text) < 80, "too long"))
        >>> fits("short")
        ValidationResult(result=True, reason='too long', score=None)
    """
    if not callable(fn):
        raise InvalidInputError(f"simple_validate takes a function, not {type(fn).__name__}")

    @wraps(fn)
    def validate(text: str) -> ValidationResult:
        return verdict(fn(text), reason)

    @wraps(fn)
    async def avalidate(text: str) -> ValidationResult:
        return verdict(await cast("Callable[[str], Awaitable[Verdict]]", fn)(text), reason)

    return avalidate if is_async(fn) else validate


def verdict(value: Any, reason: str | None = None) -> ValidationResult:
    """The return value of a validation function, as a result.

    Raises:
        TypeError: It is not a verdict.
    """
    match value:
        case ValidationResult():
            return value
        case (bool() as result, (str() | None) as given):
            return ValidationResult(result, reason=given or reason)
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
        return _checked(item)
    if not isinstance(item, str):
        raise InvalidInputError(
            f"a requirement is a str or a Requirement, not {kind_of(item)} "
            "(a function goes into req(description, function))"
        )
    return _checked(Requirement(item))


def _checked(requirement: Requirement) -> Requirement:
    description = requirement.description
    if not isinstance(description, str) or not description.strip():
        raise InvalidInputError("a requirement needs a description in words")
    warn_of_placeholders("a requirement", description, NOT_RENDERED)
    for name in ("validation_fn", "output_to_bool", "stream_validate"):
        function = getattr(requirement, name)
        if function is not None and not callable(function):
            raise InvalidInputError(f"{name} is a function, not {type(function).__name__}")
    require_unit(requirement.unit)
    return requirement
