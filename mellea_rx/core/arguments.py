"""Checks of arguments that many public functions share.

Each check returns the value in the type that the caller goes on with, or raises an error that
names the argument. `core`, `operators` and `stdlib` use them.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, TypeVar, get_args

from mellea_rx.errors import InvalidInputError

__all__ = [
    "either_name",
    "kind_of",
    "name_of",
    "require_choice",
    "require_int",
    "require_positive_int",
    "require_positive_number",
    "require_seconds",
]

T = TypeVar("T")


def require_seconds(name: str, value: object) -> float:
    """Return `value` as a float if it is a positive, finite number of seconds.

    Args:
        name: The argument's name, for the message.
        value: The argument.

    Raises:
        InvalidInputError: `value` is not a number, is not finite, or is 0 or less.
    """
    return require_positive_number(name, value, "a number of seconds")


def require_positive_number(name: str, value: object, what: str = "a number") -> float:
    """Return `value` as a float if it is positive and finite.

    Args:
        name: The argument's name, for the message.
        value: The argument. A bool is not a number here.
        what: A noun phrase for the expected value, for the message.

    Raises:
        InvalidInputError: `value` is not a number, is not finite, or is 0 or less.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidInputError(f"{name} must be {what}, not {value!r}")
    if not isfinite(value) or value <= 0:
        raise InvalidInputError(f"{name} must be {what} above 0, not {value!r}")
    return float(value)


def require_positive_int(name: str, value: object) -> int:
    """Return `value` if it is an int of 1 or more.

    Args:
        name: The argument's name, for the message.
        value: The argument. A bool is not an int here.

    Raises:
        InvalidInputError: `value` is not an int, or is below 1.
    """
    return require_int(name, value, 1)


def require_int(name: str, value: object, least: int) -> int:
    """The value, where it is an int of `least` or more.

    Raises:
        InvalidInputError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInputError(f"{name} must be an int, {least} or more, not {value!r}")
    return value


def require_choice(name: str, value: object, choices: Any) -> None:
    """Check that `value` is one of the strings of a `Literal` type.

    Args:
        name: The argument's name, for the message.
        value: The argument.
        choices: The `Literal` type of the argument.

    Raises:
        InvalidInputError: `value` is not one of them; the message lists them.
    """
    if value not in get_args(choices):
        known = ", ".join(map(repr, get_args(choices)))
        raise InvalidInputError(f"{name} must be one of {known}, not {value!r}")


def either_name(name: str, value: T | None, alias: str, other: T | None) -> tuple[str, T | None]:
    """A parameter that has two names, of which a caller may give one.

    Args:
        name: Its name.
        value: The value given by its name; None for none.
        alias: Its other name.
        other: The value given by its other name; None for none.

    Returns:
        The name that was given, for messages, and the value; None where neither was given.

    Example:
        >>> either_name("max_concurrent", None, "concurrency_budget", 2)
        ('concurrency_budget', 2)

    Raises:
        InvalidInputError: Both were given.
    """
    if value is not None and other is not None:
        raise InvalidInputError(f"{alias}= is another name of {name}=: give one of them")
    return (name, value) if other is None else (alias, other)


def kind_of(value: object) -> str:
    """Return a noun phrase for the type of a wrong argument, for an error message.

    For a class, the phrase also says how to make an object of it.

    Example:
        >>> kind_of("text"), kind_of(dict)
        ('str', 'the class dict: make an object of it, with dict(...)')
    """
    if not isinstance(value, type):
        return type(value).__name__
    name = value.__name__
    return f"the class {name}: make an object of it, with {name}(...)"


def name_of(function: object) -> str:
    """The name of a user's function, for a message; of a callable object, its class's name."""
    return str(getattr(function, "__name__", type(function).__name__))


# The names that other modules still use.
count = require_positive_int
seconds = require_seconds
