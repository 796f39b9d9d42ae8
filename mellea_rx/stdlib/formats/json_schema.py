"""Formats of JSON schemas, for `as_format`. Only this module imports jsonschema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from types import ModuleType
from typing import Any

import msgspec

from mellea_rx.core.runtime.fork import no_fork
from mellea_rx.core.types.output_format import OutputFormat
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.formats.bounded_checks import bounded, bounded_keywords, compiled
from mellea_rx.stdlib.formats.python_types import checked, format_error_at

_LONGEST_MESSAGE = 300
"""The number of characters of a jsonschema message that is shown: it contains the whole value."""


@lru_cache(maxsize=1)
def _jsonschema() -> ModuleType:
    with no_fork:
        import jsonschema  # costs 80 ms: only when there is a schema to check

        found: ModuleType = jsonschema
        return found


@lru_cache(maxsize=1)
def _referencing() -> ModuleType:
    with no_fork:
        import referencing.jsonschema  # jsonschema's own: it comes with it

        return referencing


def schema_format(schema: Mapping[str, Any]) -> OutputFormat[Any]:
    """A format of a JSON schema, which decodes to plain Python values.

    Raises:
        InvalidInputError: The schema is not valid, or a reference leads nowhere.
    """
    plain = _plain(schema)
    name = f"JSON schema {plain['title']!r}" if "title" in plain else "JSON schema"
    validator = _validator_of(plain)
    best = _jsonschema().exceptions.best_match

    def decode(text: str) -> Any:
        value = msgspec.json.decode(text)
        with bounded():
            found = best(validator.iter_errors(value))
        if found is not None:
            raise format_error_at(name, text, found.json_path, _short(found.message))
        return value

    return OutputFormat(name, plain, checked(name, decode))


def _validator_of(schema: dict[str, Any]) -> Any:
    jsonschema = _jsonschema()
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        # Patterns are compiled below with `regex`, which knows more of them than `re`.
        kind.check_schema(schema, format_checker=jsonschema.FormatChecker(()))
    except jsonschema.SchemaError as error:
        raise InvalidInputError(
            f"format= is not a valid JSON schema: at {error.json_path}: {error.message}"
        ) from None
    _require_references(schema)
    for pattern in _patterns(schema):
        compiled(pattern)
    checker = _in_bounds(kind)
    # Without the dialect's name: jsonschema would choose its own validator by it.
    return checker(_without_dialect(schema), registry=_referencing().jsonschema.EMPTY_REGISTRY)


@cache
def _in_bounds(kind: Any) -> Any:
    """A dialect's validator with checks in bounded time."""
    jsonschema = _jsonschema()
    keywords = bounded_keywords(kind.VALIDATORS, jsonschema.ValidationError)
    return jsonschema.validators.extend(kind, keywords)


def _short(message: str) -> str:
    """A message, shortened where it contains a long answer."""
    if len(message) <= _LONGEST_MESSAGE:
        return message
    half = _LONGEST_MESSAGE // 2
    return f"{message[:half]}…{message[-half:]}"


def _require_references(schema: Any) -> None:
    """Refuse references that lead nowhere, or out of the schema: nothing is fetched."""
    referencing = _referencing()
    root = referencing.jsonschema.DRAFT202012.create_resource(schema)
    resolver = referencing.jsonschema.EMPTY_REGISTRY.resolver_with_root(root)
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except referencing.exceptions.Unresolvable:
            raise InvalidInputError(
                f"format= is a JSON schema that refers to {reference!r}, which it does not have "
                "(nothing is fetched)"
            ) from None


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the schema in plain JSON values, independent of later changes of the caller's.

    Raises:
        InvalidInputError: It contains a value that JSON does not have.
    """
    try:
        return msgspec.json.decode(msgspec.json.encode(dict(schema)), type=dict[str, Any])
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"format= is not a JSON schema: {error}") from error


def _without_dialect(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            name: _without_dialect(value)
            for name, value in schema.items()
            if not (name == "$schema" and isinstance(value, str))
        }
    if isinstance(schema, list):
        return [_without_dialect(value) for value in schema]
    return schema


_DATA = {"const", "default", "enum", "examples"}
"""Keywords whose values are data, and not schemas."""

_BY_NAME = {"$defs", "definitions", "dependentSchemas", "properties"}
"""Keywords whose values are schemas by names of the user's."""


def _patterns(schema: Any) -> Iterator[str]:
    """The patterns of a schema and of the schemas within it."""
    if isinstance(schema, list):
        for each in schema:
            yield from _patterns(each)
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("pattern"), str):
        yield schema["pattern"]
    for name, value in schema.items():
        if name == "patternProperties":
            yield from value
        if name in _BY_NAME or name == "patternProperties":
            for each in value.values():
                yield from _patterns(each)
        elif name not in _DATA:
            yield from _patterns(value)


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)
