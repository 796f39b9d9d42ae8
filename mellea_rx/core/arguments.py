"""Refuses arguments that cannot be used, by their names."""

from __future__ import annotations

from math import isfinite

from mellea_rx.errors import InvalidInputError

__all__ = ["count", "kind_of", "seconds"]


def seconds(name: str, value: object) -> float:
    """`value`, when it is a time.

    Raises:
        InvalidInputError: It is not a number of seconds above 0.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidInputError(f"{name} must be a number of seconds, not {value!r}")
    if not isfinite(value) or value <= 0:
        raise InvalidInputError(f"{name} must be a number of seconds above 0, not {value!r}")
    return float(value)


def count(name: str, value: object) -> int:
    """`value`, when it is a number of things.

    Raises:
        InvalidInputError: It is not an int of 1 or more.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInputError(f"{name} must be an int, 1 or more, not {value!r}")
    return value


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
