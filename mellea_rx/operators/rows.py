"""Template variables of the inputs of `map_generate`: mappings, and objects with fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from mellea_rx.core.placeholders import OptionalVariables

__all__ = ["variables_of"]

_FIELDS = ("_fields", "__dataclass_fields__", "__struct_fields__", "__pydantic_fields__")
"""Class attributes with field names: of named tuples, dataclasses, Structs and Pydantic models."""


def variables_of(item: Any) -> OptionalVariables:
    """Return the variables of an input: its fields by their names, and the input as `input`.

    Example:
        >>> from collections import namedtuple
        >>> variables_of(namedtuple("Row", ["Index", "city"])(0, "Oslo"))["city"]
        'Oslo'
        >>> variables_of(5)
        {'input': 5}
    """
    if isinstance(item, Mapping):
        return OptionalVariables({"input": item, **item})
    named = {name: getattr(item, name) for name in _fields_of(type(item)) if hasattr(item, name)}
    return OptionalVariables({"input": item, **named})


def _fields_of(kind: type) -> Iterable[str]:
    for attribute in _FIELDS:
        fields = getattr(kind, attribute, None)
        if fields is not None:
            return cast("Iterable[str]", fields)
    return ()
