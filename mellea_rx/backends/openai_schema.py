"""Schemas as OpenAI's protocol takes them: an object's only, and strict where that can be.

What it documents (https://platform.openai.com/docs/guides/structured-outputs): the root is an
object; strict mode takes a subset of JSON Schema, in which every object is closed and has all its
properties. A schema that is not of it goes out as it is, without `strict`: then the server does its
best, and whoever asked checks the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from mellea_rx.core.request import Request
from mellea_rx.core.shell import VALUE, Peeler
from mellea_rx.core.source import Push

__all__ = ["answer_value", "response_format"]

_TAKEN = frozenset(
    {"type", "enum", "const", "title", "description", "pattern", "multipleOf", "required"}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems"}
)
"""What strict mode has, and needs no look into. (`required` is written anew.)"""

_LEFT_OUT = frozenset(
    {"default", "examples", "format", "minLength", "maxLength", "uniqueItems", "deprecated"}
    | {"readOnly", "writeOnly", "$comment", "$schema", "$id", "discriminator"}
)
"""What strict mode does not have, and a schema means (nearly) the same without."""

_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


class _NotStrict(Exception):
    """The schema is not of the subset."""


def response_format(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The request's `response_format` for a schema.

    Example:
        >>> closed = {"type": "object", "properties": {}, "additionalProperties": False}
        >>> response_format(closed)["json_schema"]["strict"]
        True
    """
    described: dict[str, Any] = {"name": "answer"}
    try:
        if "anyOf" in schema:  # fine anywhere but at the root
            raise _NotStrict
        described.update(schema=_strict(schema), strict=True)
    except _NotStrict:
        described.update(schema=schema, strict=False)
    return {"type": "json_schema", "json_schema": described}


async def answer_value(
    produce: Callable[[Request, Push], Awaitable[None]], request: Request, push: Push
) -> None:
    """Have `produce` answer; what is no object goes and comes as an object with one key."""
    schema = request.schema
    if schema is None or schema.get("type") == "object":
        await produce(request, push)
        return
    bare = Peeler(VALUE, push)
    try:
        await produce(replace(request, schema=_with_key(schema)), bare.push)
    finally:
        bare.end()


def _with_key(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    moved = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    inner = {key: value for key, value in schema.items() if key not in moved}
    return {
        "type": "object",
        "properties": {"value": _from_below(inner)},
        "required": ["value"],
        "additionalProperties": False,
        **_from_below(moved),
    }


def _from_below(schema: Any) -> Any:
    """The schema, with references to its root that lead to where it stands now."""
    if isinstance(schema, (list, tuple)):
        return [_from_below(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    changed = {key: _from_below(value) for key, value in schema.items()}
    target = changed.get("$ref")
    if isinstance(target, str) and target.startswith("#"):
        kept = target.startswith(("#/$defs/", "#/definitions/"))
        changed["$ref"] = target if kept else "#/properties/value" + target[1:]
    return changed


def _strict(schema: Any) -> dict[str, Any]:
    """A schema of the subset, whose answers fit the given one.

    Raises:
        _NotStrict: There is none.
    """
    if not isinstance(schema, Mapping):
        raise _NotStrict
    if "$ref" in schema:
        return {"$ref": schema["$ref"], **_shared(schema)}
    strict: dict[str, Any] = _shared(schema)
    for key, value in schema.items():
        if key in _TAKEN:
            strict[key] = value
        elif key == "items":
            strict[key] = _strict(value)
        elif key == "anyOf":
            strict[key] = [_strict(each) for each in value]
        elif key == "properties":
            strict[key] = {name: _strict(each) for name, each in value.items()}
        elif key not in _LEFT_OUT and key not in ("additionalProperties", "$defs"):
            raise _NotStrict
    _add_type(strict)
    types = [strict["type"]] if isinstance(strict.get("type"), str) else strict.get("type", ())
    if "array" in types and "items" not in strict:
        raise _NotStrict
    if "object" in types:
        _close(strict, schema)
    return strict


def _shared(schema: Mapping[str, Any]) -> dict[str, Any]:
    shared = schema.get("$defs")
    return {"$defs": {name: _strict(each) for name, each in shared.items()}} if shared else {}


def _add_type(strict: dict[str, Any]) -> None:
    """Strict mode wants a type beside an `enum` or a `const`; for {}, it has none."""
    if "type" in strict or "anyOf" in strict:
        return
    values = strict.get("enum", [strict["const"]] if "const" in strict else ())
    types = list(dict.fromkeys(_TYPES.get(type(value), "") for value in values))
    if not types or "" in types:
        raise _NotStrict
    strict["type"] = types[0] if len(types) == 1 else types


def _close(strict: dict[str, Any], given: Mapping[str, Any]) -> None:
    if given.get("additionalProperties") not in (None, False) or "properties" not in given:
        raise _NotStrict
    if not set(given.get("required", ())) <= set(given["properties"]):
        raise _NotStrict
    strict.update(required=list(given["properties"]), additionalProperties=False)
