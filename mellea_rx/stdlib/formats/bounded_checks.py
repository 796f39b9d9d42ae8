"""JSON Schema's keywords, checked in bounded time.

Patterns and `uniqueItems` of a stranger's schema may take for ever; here each check ends with its
call. Used by the formats of JSON schemas; the only module that imports regex.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from types import ModuleType
from typing import Any, TypeAlias

from mellea_rx.core.runtime.fork import no_fork
from mellea_rx.core.runtime.user_functions import is_given_up
from mellea_rx.errors import InvalidInputError

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


Keyword: TypeAlias = Callable[[Any, Any, Any, Any], Iterator[Any] | None]
"""A function of the validator, the keyword's value, the instance and the schema; yields errors."""

_collects: ContextVar[bool] = ContextVar("mellea_rx_collects", default=False)
"""Whether keywords yield the properties that they evaluate instead of errors.

(`unevaluatedProperties` needs them, and only a validator that walks the schema follows its
references.)
"""


def bounded_keywords(own: Mapping[str, Keyword], error: Callable[[str], Any]) -> dict[str, Keyword]:
    """A dialect's keywords in bounded time.

    Args:
        own: The dialect's keywords in jsonschema.
        error: Makes a jsonschema error from a message.
    """
    replaced: dict[str, Keyword] = {
        "pattern": partial(_pattern, error),
        "patternProperties": _pattern_properties,
        "additionalProperties": partial(_additional_properties, error),
        "uniqueItems": partial(_unique_items, error),
        "unevaluatedProperties": partial(_unevaluated_properties, error),
    }
    kept = {name: replaced.get(name, function) for name, function in own.items()}
    collectors: dict[str, Keyword] = {
        **{name: partial(function, error) for name, function in _COLLECTORS.items()},
        **{name: function for name, function in own.items() if name in _REFERENCES},
    }
    return {
        name: _with_clock(function, collectors.get(name, _nothing))
        for name, function in kept.items()
    }


def _with_clock(check: Keyword, collect: Keyword) -> Keyword:
    def keyword(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any] | None:
        look_at_clock()
        function = collect if _collects.get() else check
        return function(validator, value, instance, schema)

    return keyword


def _nothing(*_: Any) -> None:
    """A keyword that evaluates no property."""


# Keywords that yield errors.


def _pattern(
    error: Callable[[str], Any], validator: Any, pattern: str, instance: Any, schema: Any
) -> Iterator[Any]:
    if isinstance(instance, str) and not is_found(pattern, instance):
        yield error(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, schema: Any
) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    for pattern, subschema in patterns.items():
        for name in _matching(instance, (pattern,)):
            yield from validator.descend(instance[name], subschema, path=name, schema_path=pattern)


def _additional_properties(
    error: Callable[[str], Any], validator: Any, allowed: Any, instance: Any, schema: Any
) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    known = {
        *schema.get("properties", ()),
        *_matching(instance, schema.get("patternProperties", ())),
    }
    names = [name for name in instance if name not in known]
    if isinstance(allowed, dict):
        for name in names:
            yield from validator.descend(instance[name], allowed, path=name)
    elif not allowed and names:
        yield error(f"Additional properties are not allowed ({_listed(names)} unexpected)")


def _unique_items(
    error: Callable[[str], Any], validator: Any, is_asked: Any, instance: Any, schema: Any
) -> Iterator[Any]:
    if not is_asked or not isinstance(instance, list):
        return
    places: dict[Any, int] = {}
    for index, item in enumerate(instance):
        look_at_clock()
        before = places.setdefault(key_of(item), index)
        if before != index:
            yield error(f"items {before} and {index} are equal, and items have to be unique")
            return


def _unevaluated_properties(
    error: Callable[[str], Any], validator: Any, allowed: Any, instance: Any, schema: Any
) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    known = _evaluated(validator, instance, schema)
    names = [
        name
        for name in instance
        if name not in known and not _is_valid(validator, instance[name], allowed)
    ]
    if names:
        yield error(f"Unevaluated properties are not allowed ({_listed(names)} unexpected)")


def _matching(instance: Mapping[str, Any], patterns: Any) -> list[str]:
    """The properties whose names match one of some patterns."""
    return [name for name in instance if any(is_found(each, name) for each in patterns)]


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in sorted(names)[:5])
    rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{shown}{rest} {'was' if len(names) == 1 else 'were'}"


# Keywords that yield the properties that they evaluate.


def _evaluated(validator: Any, instance: Any, schema: Any) -> set[str]:
    """The properties that a schema evaluates, by its parts and its references."""
    if isinstance(schema, bool):
        return set()
    with _collecting(True):
        found = list(validator.evolve(schema=schema).iter_errors(instance))
    return {each.message for each in found if each.cause is _EVALUATED}


_EVALUATED: Any = Exception("evaluated")
"""The cause that marks an "error" as the name of an evaluated property."""


def _is_valid(validator: Any, instance: Any, schema: Any) -> bool:
    with _collecting(False):
        valid: bool = validator.evolve(schema=schema).is_valid(instance)
        return valid


@contextmanager
def _collecting(value: bool) -> Iterator[None]:
    token = _collects.set(value)
    try:
        yield
    finally:
        _collects.reset(token)


_REFERENCES = {"$ref", "$dynamicRef", "$recursiveRef"}
"""References; jsonschema's own functions follow them in both modes."""


def _named(error: Any, names: Any) -> Iterator[Any]:
    for name in names:
        yield error(name, cause=_EVALUATED)


def _of_properties(error: Any, _: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    yield from _named(error, [name for name in instance if name in value])


def _of_patterns(error: Any, _: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    yield from _named(error, _matching(instance, value))


def _of_the_rest(
    error: Any, validator: Any, value: Any, instance: Any, schema: Any
) -> Iterator[Any]:
    names = [name for name, each in instance.items() if _is_valid(validator, each, value)]
    yield from _named(error, names)


def _of_dependents(
    error: Any, validator: Any, value: Any, instance: Any, schema: Any
) -> Iterator[Any]:
    for name, subschema in value.items():
        if name in instance:
            yield from _named(error, _evaluated(validator, instance, subschema))


def _of_choices(
    error: Any, validator: Any, value: Any, instance: Any, schema: Any
) -> Iterator[Any]:
    for subschema in value:
        if _is_valid(validator, instance, subschema):
            yield from _named(error, _evaluated(validator, instance, subschema))


def _of_condition(
    error: Any, validator: Any, value: Any, instance: Any, schema: Any
) -> Iterator[Any]:
    if _is_valid(validator, instance, value):
        parts = [value, schema.get("then", True)]
    else:
        parts = [schema.get("else", True)]
    for subschema in parts:
        yield from _named(error, _evaluated(validator, instance, subschema))


_COLLECTORS: dict[str, Callable[..., Iterator[Any]]] = {
    "properties": _of_properties,
    "patternProperties": _of_patterns,
    "additionalProperties": _of_the_rest,
    "unevaluatedProperties": _of_the_rest,
    "dependentSchemas": _of_dependents,
    "allOf": _of_choices,
    "anyOf": _of_choices,
    "oneOf": _of_choices,
    "if": _of_condition,
}
