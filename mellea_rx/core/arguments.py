"""Checks of arguments, used wherever users pass values; each error names the argument."""

from __future__ import annotations

from math import isfinite
from typing import TypeVar

from mellea_rx.errors import InvalidInputError

__all__ = [
    "either_name",
    "kind_of",
    "name_of",
    "require_int",
    "require_positive_int",
    "require_seconds",
]

T = TypeVar("T")


def require_seconds(name: str, value: object) -> float:
    """The value as a float, where it is a duration in seconds above 0.

    Raises:
        InvalidInputError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidInputError(f"{name} must be a number of seconds, not {value!r}")
    if not isfinite(value) or value <= 0:
        raise InvalidInputError(f"{name} must be a number of seconds above 0, not {value!r}")
    return float(value)


def require_positive_int(name: str, value: object) -> int:
    """The value, where it is an int of 1 or more.

    Raises:
        InvalidInputError: It is not.
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
    """The kind of a wrong argument, for a message; of a class, also how to make an object of it.

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
