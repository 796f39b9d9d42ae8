"""Formats of Python types, and the place in an answer where it does not fit its format.

msgspec makes the schemas and decodes the answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import msgspec

from mellea_rx.core.types.function_schema import model_from, models_into, without_false_items
from mellea_rx.core.types.output_format import OutputFormat
from mellea_rx.errors import FormatError, InvalidInputError

T = TypeVar("T")

_EXCERPT = 200
"""The number of characters of the answer that a message shows."""

_BYTE = re.compile(r" \(byte (\d+)\)$")
_PATH = re.compile(r" - at `(\$.*)`$")


def checked(name: str, decode: Callable[[str], T]) -> Callable[[str], T]:
    """A decoder that raises `FormatError` where the given one raises a `ValueError`.

    Args:
        name: The format's name.
        decode: The decoder. The message has the place of an error of msgspec.
    """

    def decoded(text: str) -> T:
        try:
            return decode(text)
        except (ValueError, RecursionError) as error:
            raise _format_error(name, text, error) from error

    return decoded


def _format_error(name: str, text: str, error: Exception) -> FormatError:
    why = str(error)
    if why == "Input data was truncated":
        cut = "it ends before the JSON does (was it cut off by ModelOption.MAX_NEW_TOKENS?)"
        return format_error_at(name, text, _line_of(text, len(text)), cut)
    byte = _BYTE.search(why)
    if byte is not None:
        return format_error_at(name, text, *_fault_of(text, int(byte[1])))
    path = _PATH.search(why)
    place, why = (path[1], why[: path.start()]) if path else ("$", why)
    inner = _of_model(error.__cause__)  # msgspec wraps what a Pydantic model raised
    if inner is not None:
        place, why = place + inner[0], inner[1]
    return format_error_at(name, text, place, why)


def format_error_at(name: str, text: str, place: str, why: str) -> FormatError:
    """The error with a place and a reason."""
    shown = text if len(text) <= _EXCERPT else text[: _EXCERPT - 1] + "…"
    return FormatError(
        f"the answer is not of format {name}: at {place}: {why}; it is {shown!r}",
        text=text,
        place=place,
    )


def _line_of(text: str, position: int) -> str:
    before = text[:position]
    line = before.count("\n") + 1
    return f"line {line}, column {position - (before.rfind(chr(10)) + 1) + 1}"


def _fault_of(text: str, byte: int) -> tuple[str, str]:
    """The place where a text stops being JSON, and the reason."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:  # more precise than msgspec's
        return _line_of(text, error.pos), f"this is no JSON: {error.msg}"
    except (ValueError, RecursionError):
        pass
    # Python accepts NaN and the like as JSON, and has limits of its own.
    before = text.encode("utf-8", "surrogatepass")[:byte].decode("utf-8", "ignore")
    return _line_of(text, len(before)), "this is no JSON"


def _of_model(error: BaseException | None) -> tuple[str, str] | None:
    """The place and the reason in a Pydantic error: its first one."""
    errors = getattr(error, "errors", None)
    if errors is None:
        return None
    first = errors(include_url=False, include_context=False)[0]
    path = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in first["loc"])
    return path, first["msg"]


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
