"""Formats of Python types, for `as_format`; msgspec makes their schemas and decodes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from mellea_rx.core.format import OutputFormat
from mellea_rx.core.schema import model_from, models_into, without_false_items
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.formats.misfit import checked

__all__ = ["typed_format"]

_MODULES = re.compile(r"(?<!['\"\w])(?:\w+\.)+(?=\w)")
"""Matches the modules before a class's name in the `repr` of a type, without `<locals>`."""


def typed_format(kind: Any) -> OutputFormat[Any]:
    """A format of a Python type.

    Raises:
        InvalidInputError: JSON cannot represent the type.
    """
    name = kind.__name__ if isinstance(kind, type) else _MODULES.sub("", repr(kind))
    try:
        schema = _schema_of(kind)
        decoder = msgspec.json.Decoder(kind, dec_hook=model_from)
    except Exception as error:  # a type's own code may raise anything
        raise InvalidInputError(
            f"{name} is not a supported answer type: {error}. Supported are Pydantic models, "
            "dataclasses, TypedDict, NamedTuple, msgspec Struct, Literal, enums, int, float, bool, "
            "lists, dicts and unions of those, and JSON schemas (a dict)"
        ) from error
    return OutputFormat(name, schema, checked(name, decoder.decode))


def _schema_of(kind: Any) -> Mapping[str, Any]:
    shared: dict[str, Any] = {}

    schema = msgspec.json.schema(kind, schema_hook=models_into(shared))
    schema = {**schema, "$defs": {**schema.get("$defs", {}), **shared}}
    return _with_open_root(cast("dict[str, Any]", without_false_items(schema)))


def _with_open_root(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its root in place of a mere reference to it, which is shorter in a prompt."""
    shared = schema.pop("$defs")
    reference = schema.pop("$ref", None)
    if reference is not None:
        schema = {**shared[reference.removeprefix("#/$defs/")], **schema}
        still_used = f'"{reference}"'.encode() in msgspec.json.encode([schema, shared])
        if not still_used:
            del shared[reference.removeprefix("#/$defs/")]
    return {**schema, "$defs": shared} if shared else schema
