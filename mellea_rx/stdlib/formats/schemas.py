"""Formats of JSON schemas: the only home of jsonschema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any

import msgspec

from mellea_rx.core.format import OutputFormat
from mellea_rx.core.locks import no_fork
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.formats.misfit import checked, misfit_at

__all__ = ["schema_format"]


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
        found = best(validator.iter_errors(value))
        if found is not None:
            raise misfit_at(name, text, found.json_path, found.message)
        return value

    return OutputFormat(name, plain, checked(name, decode))


def _validator_of(schema: dict[str, Any]) -> Any:
    jsonschema = _jsonschema()
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise InvalidInputError(
            f"format= is no valid JSON schema at {error.json_path}: {error.message}"
        ) from None
    _require_references(schema)
    return kind(schema, registry=_referencing().jsonschema.EMPTY_REGISTRY)


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


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)
