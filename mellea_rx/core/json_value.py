"""Checks of JSON values from users, before they are sent. Options and formats use them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

__all__ = ["MAX_DEPTH", "depth_of", "fault_in", "lone_surrogate", "surrogate_told", "well_formed"]

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
