"""Converts JSON schemas to OpenAI's structured outputs: the root an object, strict if possible.

By its documentation (https://platform.openai.com/docs/guides/structured-outputs) the root is an
object, and strict mode accepts a subset of JSON Schema, in which every object is closed and
requires all its properties. A schema outside of that subset is sent unchanged and without `strict`:
the server then does its best, and the caller checks the answer. `OpenAIDialect` uses this module.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from mellea_rx.core.streams.chunk_source import Push
from mellea_rx.core.text.unwrapping import VALUE, StreamUnwrapper
from mellea_rx.core.types.request import Request

__all__ = ["answer_value", "response_format"]

_TAKEN = frozenset(
    {"type", "enum", "const", "title", "description", "pattern", "multipleOf", "required"}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems"}
)
"""Keywords that strict mode accepts unchanged. (`required` is replaced.)"""

_LEFT_OUT = frozenset(
    {"default", "examples", "format", "minLength", "maxLength", "uniqueItems", "deprecated"}
    | {"readOnly", "writeOnly", "$comment", "$schema", "$id", "discriminator"}
)
"""Keywords that strict mode rejects, and that can be left out with (nearly) the same meaning."""

_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


class _NotStrict(Exception):
    """The schema is not in the subset of strict mode."""


def response_format(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The request's `response_format` for a schema.

    Example:
        >>> closed = {"type": "object", "properties": {}, "additionalProperties": False}
        >>> response_format(closed)["json_schema"]["strict"]
        True
    """
    tool_schema: dict[str, Any] = {"name": "answer"}
    try:
        if "anyOf" in schema:  # not allowed at the root only
            raise _NotStrict
        tool_schema.update(schema=_strict(schema), strict=True)
    except _NotStrict:
        tool_schema.update(schema=schema, strict=False)
    return {"type": "json_schema", "json_schema": tool_schema}


async def answer_value(
    produce: Callable[[Request, Push], Awaitable[None]], request: Request, push: Push
) -> None:
    """Generate an answer with any schema.

    A schema whose root is not an object is wrapped in an object with one key, and the wrapper is
    stripped from the answer while it streams.

    Args:
        produce: Generates an answer.
        request: The request.
        push: Accepts the chunks.
    """
    schema = request.schema
    if schema is None or schema.get("type") == "object":
        await produce(request, push)
        return
    bare = StreamUnwrapper(VALUE, push)
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
    """The schema with its references to the root adapted to its place below "value"."""
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
    """A schema in the subset of strict mode, whose answers fit the given one.

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
    """Add the type that strict mode requires beside `enum` or `const`. For {} there is none."""
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
