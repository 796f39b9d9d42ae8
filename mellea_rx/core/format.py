"""What an answer has to be in form: a JSON schema, and how its text becomes an object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

__all__ = ["OutputFormat"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OutputFormat(Generic[T]):
    """A type of answers, as models, servers and programs see it.

    Attributes:
        name: What messages call it.
        schema: The JSON schema of its texts.
        decode: A text into its object. Raises `FormatError`, or a `ValueError`, where it does
            not fit. It may be code of the user's, or run such (validators of the type).
    """

    name: str
    schema: Mapping[str, Any]
    decode: Callable[[str], T]
