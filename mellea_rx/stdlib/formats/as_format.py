"""`as_format`: the format of a `format=` argument."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from mellea_rx.core.types.output_format import OutputFormat
from mellea_rx.core.types.validation import MAX_DEPTH, depth_of
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.formats.json_schema import schema_format
from mellea_rx.stdlib.formats.python_types import typed_format


def as_format(given: Any) -> OutputFormat[Any] | None:
    """A format from a Python type or a JSON schema.

    Args:
        given: A Pydantic model, dataclass, TypedDict, NamedTuple, msgspec Struct, `Literal`, enum,
            int, float, bool, a `list[T]`, `dict[str, T]` or union of those, or a JSON schema (a
            dict). `str` and None mean plain text. An `OutputFormat` is returned as it is.

    Returns:
        The format; None for plain text.

    Example:
        >>> from typing import Literal
        >>> as_format(Literal["yes", "no"]).decode('"yes"')
        'yes'
        >>> as_format(list[int]).decode("[1, 2]")
        [1, 2]

    Raises:
        InvalidInputError: Any other type, or a schema that is not valid.
    """
    if given is None or given is str:
        return None
    if isinstance(given, Mapping):
        _require_shallow(given)
    try:
        found = _format_of(given)
    except RecursionError:
        raise _too_deep() from None
    _require_shallow(found.schema)
    return found


def _format_of(given: Any) -> OutputFormat[Any]:
    if isinstance(given, OutputFormat):
        return given
    if isinstance(given, Mapping):
        return schema_format(given)
    _require_type(given)
    return typed_format(given)


def _require_type(given: Any) -> None:
    """Refuse an object of a type, or a list around a type; the error names the type to give."""
    meant = None
    if isinstance(given, type):
        return
    if isinstance(given, list) and len(given) == 1 and isinstance(given[0], type):
        meant = f"list[{given[0].__name__}]"
    elif any(hasattr(type(given), mark) for mark in _MARKS) or isinstance(given, Enum):
        meant = type(given).__name__
    if meant is not None:
        raise InvalidInputError(
            f"format= takes a type (or a JSON schema), not an object: give {meant}"
        )


_MARKS = ("__dataclass_fields__", "__struct_fields__", "__pydantic_fields__", "_fields")
"""The attributes of dataclasses, Structs, Pydantic models and named tuples."""


def _require_shallow(schema: Mapping[str, Any]) -> None:
    if depth_of(schema) > MAX_DEPTH:
        raise _too_deep()


def _too_deep() -> InvalidInputError:
    return InvalidInputError(
        f"format= has a JSON schema that is nested too deeply: at most {MAX_DEPTH} lists and "
        "objects in each other are taken; give parts of it names, in its $defs"
    )
