"""JSON Schema keywords that are checked in bounded time; `schemas` uses them.

Keywords that search for patterns or compare items are replaced. The others are jsonschema's own,
with a check of the time limit before each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeAlias

from mellea_rx.stdlib.formats.limits import is_found, key_of, look_at_clock

__all__ = ["bounded_keywords"]

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
