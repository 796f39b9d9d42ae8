"""Formats of JSON schemas: the only home of jsonschema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from types import ModuleType
from typing import Any

import msgspec

from mellea_rx.core.format import OutputFormat
from mellea_rx.core.locks import no_fork
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.formats.keywords import bounded_keywords
from mellea_rx.stdlib.formats.limits import bounded, compiled
from mellea_rx.stdlib.formats.misfit import checked, misfit_at

__all__ = ["schema_format"]

_LONGEST_MESSAGE = 300
"""Characters of what jsonschema says of a value: it shows the whole value."""


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
    """A format of a JSON schema; what it decodes is plain Python.

    Raises:
        InvalidInputError: The schema is not valid, or refers to what it does not have.
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
            raise misfit_at(name, text, found.json_path, _short(found.message))
        return value

    return OutputFormat(name, plain, checked(name, decode))


def _validator_of(schema: dict[str, Any]) -> Any:
    jsonschema = _jsonschema()
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        # Patterns are compiled below, by what searches for them; Python's `re` knows fewer.
        kind.check_schema(schema, format_checker=jsonschema.FormatChecker(()))
    except jsonschema.SchemaError as error:
        raise InvalidInputError(
            f"format= is no valid JSON schema at {error.json_path}: {error.message}"
        ) from None
    _require_references(schema)
    for pattern in _patterns(schema):
        compiled(pattern)
    checker = _in_bounds(kind)
    # Without the dialect's name, for which jsonschema would take its own validator again.
    return checker(_without_dialect(schema), registry=_referencing().jsonschema.EMPTY_REGISTRY)


@cache
def _in_bounds(kind: Any) -> Any:
    """A dialect's validator whose checks end in bounded time."""
    jsonschema = _jsonschema()
    keywords = bounded_keywords(kind.VALIDATORS, jsonschema.ValidationError)
    return jsonschema.validators.extend(kind, keywords)


def _short(message: str) -> str:
    """A message without most of an answer that it shows."""
    if len(message) <= _LONGEST_MESSAGE:
        return message
    half = _LONGEST_MESSAGE // 2
    return f"{message[:half]}…{message[-half:]}"


def _require_references(schema: Any) -> None:
    """Refuse references that lead nowhere; out of the schema is nowhere: nothing is fetched."""
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
    """A copy of the schema, in plain JSON values: what becomes of the caller's is no matter.

    Raises:
        InvalidInputError: It holds what is no JSON.
    """
    try:
        return msgspec.json.decode(msgspec.json.encode(dict(schema)), type=dict[str, Any])
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"format= is no JSON schema: {error}") from error


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
"""Keywords whose values are no schemas."""

_BY_NAME = {"$defs", "definitions", "dependentSchemas", "properties"}
"""Keywords with schemas by names of the user's."""


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
