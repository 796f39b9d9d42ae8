"""A format from whatever a call was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mellea_rx.core.format import OutputFormat
from mellea_rx.stdlib.formats.schemas import schema_format
from mellea_rx.stdlib.formats.types import typed_format

__all__ = ["as_format"]


def as_format(given: Any) -> OutputFormat[Any] | None:
    """A format from a Python type or a JSON schema.

    Args:
        given: A Pydantic model, dataclass, TypedDict, NamedTuple, msgspec Struct, `Literal`, enum,
            int, float, bool, a `list[T]`, `dict[str, T]` or union of those, or a JSON schema (a
            dict). `str` and None ask for plain text. An `OutputFormat` is taken as it is.

    Returns:
        The format; None for plain text.

    Example:
        >>> from typing import Literal
        >>> as_format(Literal["yes", "no"]).decode('"yes"')
        'yes'
        >>> as_format(list[int]).decode("[1, 2]")
        [1, 2]

    Raises:
        InvalidInputError: It is nothing of that, or a schema that is not valid.
    """
    if given is None or given is str:
        return None
    if isinstance(given, OutputFormat):
        return given
    if isinstance(given, Mapping):
        return schema_format(given)
    return typed_format(given)
