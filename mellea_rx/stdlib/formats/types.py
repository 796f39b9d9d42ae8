"""Formats of Python types: msgspec makes their schemas and decodes them.

Pydantic models are known by their own two methods, so that nothing here imports Pydantic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from mellea_rx.core.format import OutputFormat
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.formats.misfit import misfit

__all__ = ["typed_format"]

_MODULES = re.compile(r"(?<!['\"\w])(?:\w+\.)+(?=\w)")
"""What stands before a class's name in the text of a type: modules, `<locals>` apart."""


def typed_format(kind: Any) -> OutputFormat[Any]:
    """A format of a Python type.

    Raises:
        InvalidInputError: It is no type that JSON can stand for.
    """
    name = kind.__name__ if isinstance(kind, type) else _MODULES.sub("", repr(kind))
    schema = _schema_of(kind, name)
    decoder = msgspec.json.Decoder(kind, dec_hook=_model_from)

    def decode(text: str) -> Any:
        try:
            return decoder.decode(text)
        except (ValueError, RecursionError) as error:
            raise misfit(name, text, error) from error

    return OutputFormat(name, schema, decode)


def _schema_of(kind: Any, name: str) -> Mapping[str, Any]:
    shared: dict[str, Any] = {}

    def model_schema(model: Any) -> Any:
        if not hasattr(model, "model_json_schema"):
            raise TypeError(f"JSON has nothing for {model.__name__}")
        schema = model.model_json_schema()
        shared.update(schema.pop("$defs", {}))
        return schema

    try:
        schema = msgspec.json.schema(kind, schema_hook=model_schema)
    except Exception as error:  # what a type's own code raises, too
        raise InvalidInputError(
            f"{name} is no type of answers: {error}. There are Pydantic models, dataclasses, "
            "TypedDict, NamedTuple, msgspec Struct, Literal, enums, int, float, bool, lists, dicts "
            "and unions of those, and JSON schemas (a dict)"
        ) from error
    schema = {**schema, "$defs": {**schema.get("$defs", {}), **shared}}
    return _with_open_root(cast("dict[str, Any]", _without_false_items(schema)))


def _with_open_root(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its root spelled out, where that is but a reference: shorter in a prompt."""
    shared = schema.pop("$defs")
    reference = schema.pop("$ref", None)
    if reference is not None:
        schema = {**shared[reference.removeprefix("#/$defs/")], **schema}
        still_used = f'"{reference}"'.encode() in msgspec.json.encode([schema, shared])
        if not still_used:
            del shared[reference.removeprefix("#/$defs/")]
    return {**schema, "$defs": shared} if shared else schema


def _without_false_items(schema: Any) -> Any:
    """Without `"items": false`, which llama.cpp refuses; `maxItems` says the same."""
    if isinstance(schema, list):
        return [_without_false_items(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_false_items(value)
        for key, value in schema.items()
        if not (key == "items" and value is False)
    }


def _model_from(kind: Any, value: Any) -> Any:
    """What msgspec does not know itself: a Pydantic model, from its part of the JSON."""
    return kind.model_validate_json(msgspec.json.encode(value))
