"""The time limit of checks of answers against JSON schemas, used by the keywords of `formats`.

A schema or an answer can be written so that a check never ends. A check ends when it has used
`LIMIT` seconds of processor time, or when its call was given up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from types import ModuleType
from typing import Any

from mellea_rx.core.locks import no_fork
from mellea_rx.core.worker_threads import is_given_up
from mellea_rx.errors import InvalidInputError

__all__ = ["OutOfTime", "bounded", "compiled", "is_found", "key_of", "look_at_clock"]

LIMIT = 5.0
"""The processor time that one check may take, in seconds."""

_FIRST_LOOK = 0.05
"""The time limit of the first search for a pattern, in seconds; each further one doubles it."""

_ends_at: ContextVar[float] = ContextVar("mellea_rx_check_ends_at")


class OutOfTime(ValueError):
    """A check exceeded its time limit, or its call was given up."""


@contextmanager
def bounded() -> Iterator[None]:
    """Limit the checks in this block to `LIMIT` seconds of this thread's processor time."""
    token = _ends_at.set(time.thread_time() + LIMIT)
    try:
        yield
    finally:
        _ends_at.reset(token)


def look_at_clock() -> None:
    """Check the time limit; called before each step of a check, within `bounded`.

    Raises:
        OutOfTime: The limit is exceeded.
    """
    if is_given_up():
        raise OutOfTime("the call of this check was given up")
    if time.thread_time() > _ends_at.get():
        raise OutOfTime(
            f"it could not be checked in {LIMIT:g} s: a pattern of the schema, or its references "
            "to itself, take too long on this answer"
        )


def compiled(pattern: str) -> Any:
    """A compiled pattern.

    Raises:
        InvalidInputError: It is not a regular expression.
    """
    try:
        return _compiled(pattern)
    except (_regex().error, RecursionError, OverflowError) as error:
        shown = pattern if len(pattern) <= 80 else f"{pattern[:79]}…"
        raise InvalidInputError(
            f"format= is a JSON schema with the pattern {shown!r}, which is not a regular "
            f"expression: {error}"
        ) from None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    return _regex().compile(pattern)


@lru_cache(maxsize=1)
def _regex() -> ModuleType:
    with no_fork:
        import regex  # only when a schema has a pattern

        found: ModuleType = regex
        return found


def is_found(pattern: str, text: str) -> bool:
    """Whether a pattern is found in a text. Other threads run meanwhile.

    Raises:
        OutOfTime: The limit is exceeded.
    """
    search: Callable[..., Any] = compiled(pattern).search
    seconds = _FIRST_LOOK
    while True:
        try:
            # `concurrent` lets other threads run. A search that timed out starts again with twice
            # the time, so that all searches together take at most twice the time of one.
            return search(text, timeout=seconds, concurrent=True) is not None
        except TimeoutError:
            look_at_clock()
            seconds *= 2


def key_of(value: Any) -> Any:
    """A hashable key that is equal for equal JSON values. (In JSON, 1 equals 1.0 but not true.)"""
    match value:
        case dict():
            return "object", frozenset((name, key_of(each)) for name, each in value.items())
        case list():
            return "array", tuple(map(key_of, value))
        case bool():
            return "boolean", value
    return value
