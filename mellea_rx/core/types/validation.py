"""Checks of what users pass in: numbers, names, JSON values and files.

Used wherever a public function takes an argument, so that a wrong one is refused by its name
before anything is sent.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from math import isfinite
from typing import IO, Any, TypeVar, get_args

from mellea_rx.errors import InvalidInputError

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


def require_number(name: str, value: object) -> float:
    """Return `value` as a float if it is a finite number.

    Args:
        name: The argument's name, for the message.
        value: The argument. A bool is not a number here.

    Raises:
        InvalidInputError: `value` is not a number, or is not finite.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise InvalidInputError(f"{name} must be a finite number, not {value!r}")
    return float(value)


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


def require_type(name: str, value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    """Check that `value` is an object of one of some classes.

    Args:
        name: The argument's name, for the message.
        value: The argument.
        kinds: The class, or the classes.
        expected: A noun phrase for the expected value, for the message.

    Raises:
        InvalidInputError: It is not.
    """
    if not isinstance(value, kinds):
        raise InvalidInputError(f"{name} must be {expected}, not {kind_of(value)}")


def require_exceptions(name: str, value: object) -> None:
    """Check that `value` is a class of exceptions, or a tuple of such classes.

    Raises:
        InvalidInputError: It is not.
    """
    kinds = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(each, type) and issubclass(each, Exception) for each in kinds):
        raise InvalidInputError(
            f"{name} must be an exception class or a tuple of them, not {value!r}"
        )


def require_model_name(value: object) -> None:
    """Check a `model_id` that a server knows; None stands for the default model.

    Raises:
        InvalidInputError: It is not a str.
    """
    require_type("model_id", value, (str, type(None)), "a model's name, as a str")


def require_model_path(value: object) -> None:
    """Check a `model_id` that may be a path too; None stands for the default model.

    Raises:
        InvalidInputError: It is neither a str nor a path.
    """
    kinds = (str, os.PathLike, type(None))
    require_type("model_id", value, kinds, "a model's name or the path of its file")


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


def kind_with_article(value: object) -> str:
    """The name of a value's type, with "a" or "an", for an error message.

    Example:
        >>> kind_with_article(3), kind_with_article("text")
        ('an int', 'a str')
    """
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def name_of(function: object) -> str:
    """The name of a user's function, for a message; of a callable object, its class's name."""
    return str(getattr(function, "__name__", type(function).__name__))


# The names that other modules still use.
count = require_positive_int
seconds = require_seconds


_LONG = 11
"""The length from which on a name may differ in two places, in characters."""

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name among `known` that `name` is a misspelling of; None for none.

    Case, dashes and camelCase are ignored. One letter may be missing, added, wrong or swapped with
    its neighbour; in a name of 11 letters and more, two.

    Example:
        >>> nearest("temprature", ["seed", "temperature"]), nearest("top_k", ["stop", "tools"])
        ('temperature', None)
    """
    return _nearest(name, tuple(known))


@lru_cache(maxsize=256)
def _nearest(name: str, known: tuple[str, ...]) -> str | None:
    written = _CAMEL.sub("_", name.strip()).lower().replace("-", "_")
    if written in known:
        return written
    distance, found = min((_distance(written, each), each) for each in known)
    allowed = 2 if min(len(written), len(found)) >= _LONG else 1
    return found if distance <= allowed else None


def _distance(a: str, b: str) -> int:
    """The number of letters to insert, delete, replace or swap from `a` to `b`."""
    before: list[int] = []
    last: list[int] = []
    row = list(range(len(b) + 1))
    for i, here in enumerate(a, 1):
        before, last, row = last, row, [i]
        for j, there in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (here != there))
            if i > 1 and j > 1 and here == b[j - 2] and a[i - 2] == there:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
    return row[-1]


MAX_DEPTH = 100
"""The maximum nesting of lists and objects. Code that reads such values recurses at each level,
some ten functions deep, and Python allows 1,000."""


def fault_in(value: Any, path: str = "") -> str:
    """The reason why a value cannot be sent as JSON, with its place; "" where it can be sent.

    Example:
        >>> fault_in({"top_k": 40, "stop": ["end"]})
        ''
        >>> fault_in({"scale": [1.0, float("nan")]})
        "at ['scale'][1]: nan, which JSON does not have"
    """
    for place, why in _faults(value, path, 0):
        return f"at {place}: {why}" if place else why
    return ""


def _faults(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        at = lone_surrogate(value)
        if at is not None:
            yield path, surrogate_told(value, at)
    elif isinstance(value, int):
        if value.bit_length() > 64:
            yield path, "an int of more than 64 bits, which servers do not read"
    elif value is None:
        pass
    elif isinstance(value, float):
        if not isfinite(value):
            yield path, f"{value!r}, which JSON does not have"
    elif not isinstance(value, (Mapping, list, tuple)):
        yield path, f"an object of type {type(value).__name__}, which JSON does not have"
    elif depth == MAX_DEPTH:
        yield path[:80] + "…", f"it is nested more than {MAX_DEPTH} levels deep"
    elif isinstance(value, Mapping):
        for key, each in value.items():
            if not isinstance(key, str) or lone_surrogate(key) is not None:
                yield path, f"{key!r} is no name in JSON"
            yield from _faults(each, f"{path}[{key!r}]", depth + 1)
    else:
        for index, each in enumerate(value):
            yield from _faults(each, f"{path}[{index}]", depth + 1)


def depth_of(value: Any) -> int:
    """The nesting depth of lists and objects, found without recursion."""
    depth, level = 0, [value]
    while True:
        inner: list[Any] = []
        nested = False
        for each in level:
            if isinstance(each, Mapping):
                inner.extend(each.values())
                nested = True
            elif isinstance(each, (list, tuple)):
                inner.extend(each)
                nested = True
        if not nested or depth > MAX_DEPTH:  # a value may contain itself
            return depth
        depth, level = depth + 1, inner


def lone_surrogate(text: str) -> int | None:
    """The index of a lone surrogate (half a character), which no encoding has; None for none.

    Example:
        >>> lone_surrogate("whole \\U0001f600"), lone_surrogate("half \\ud83d")
        (None, 5)
    """
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def well_formed(text: str) -> str:
    """The text with U+FFFD for lone surrogates, which a model may generate.

    Example:
        >>> well_formed("half \\ud83d") == "half \\ufffd"
        True
    """
    if lone_surrogate(text) is None:
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def surrogate_told(text: str, at: int) -> str:
    """The description of a lone surrogate, for a message."""
    before = text[max(0, at - 20) : at]
    behind = f", behind {before!r}" if before else ""
    return f"a lone surrogate (U+{ord(text[at]):04X}) at character {at}{behind}: half a character"


_KINDS = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFSOCK: "a socket",
}


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a regular file to read its bytes; never waits for whoever writes into a pipe.

    Raises:
        OSError: There is none, it cannot be read, or it is a folder, pipe, device or socket: its
            `strerror` says which.
        ValueError: The path holds a NUL.
    """
    _require_regular(os.stat(path), path)  # opening a device may do something
    # What is put in its place now does not block either.
    number = os.open(path, os.O_RDONLY | _FLAGS)
    try:
        _require_regular(os.fstat(number), path)
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def _require_regular(found: os.stat_result, path: str | os.PathLike[str]) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise OSError(0, f"it is {kind}, not a regular file", os.fspath(path))
