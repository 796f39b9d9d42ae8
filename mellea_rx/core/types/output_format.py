"""`OutputFormat`: a JSON schema, and a function that makes an object of an answer in it.

`stdlib.formats` makes them; calls use them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OutputFormat(Generic[T]):
    """A type of answers.

    Attributes:
        name: Its name in messages.
        schema: The JSON schema that an answer's text has to fit.
        decode: Makes the object from the text. It raises `FormatError` or `ValueError` where the
            text does not fit. It may be a user's function, or run one (validators of the type).
    """

    name: str
    schema: Mapping[str, Any]
    decode: Callable[[str], T]
