"""Decodes the JSON payloads of a stream into typed fields, without I/O.

The decoders of the backends use it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Hashable
from typing import Any, Generic, NoReturn, TypeVar, cast

import msgspec

from mellea_rx.errors import ProtocolError
from mellea_rx.wire.error_text import excerpt

T = TypeVar("T")

_MOST = 2**53
"""Limit of a count; a larger one is a server's mistake."""


@functools.cache
def _decoder_of(kind: Any) -> msgspec.json.Decoder[Any]:
    # One for each type, shared by all streams: it has no state, and takes 1.4 KB.
    return msgspec.json.Decoder(kind)


class PayloadDecoder(Generic[T]):
    """Decodes JSON into a msgspec type.

    Invalid UTF-8 and lone surrogates become U+FFFD, so that half an emoji of a model does not fail
    the answer. Anything else that is not JSON of this type is an error.

    Args:
        type: The type of a payload.
        who: The server's name in messages.
    """

    __slots__ = ("_decode", "_type", "_who")

    def __init__(self, type: type[T], who: str) -> None:
        self._decode: Callable[[bytes], T] = _decoder_of(cast("Hashable", type)).decode
        self._type = type
        self._who = who

    def decode(self, payload: bytes) -> T:
        """Decode one payload.

        Raises:
            ProtocolError: It is not JSON of this type; the message quotes its beginning.
        """
        try:
            return self._decode(payload)
        except (ValueError, RecursionError):
            return self._decode_leniently(payload)

    def _decode_leniently(self, payload: bytes) -> T:
        try:
            loose = json.loads(payload.decode("utf-8", "replace"), parse_constant=_refuse)
            return msgspec.convert(_without_surrogates(loose), self._type)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(
                f"{self._who} sent JSON that its protocol does not define "
                f"({type(error).__name__}): {excerpt(payload)}"
            ) from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(k): _without_surrogates(v) for k, v in value.items()}
    return value


# Optional fields are declared as Any and read with these functions: a field of a wrong type counts
# as absent, and does not fail the answer.


def as_text(value: Any) -> str:
    """A field's text; "" if it is not a str.

    Example:
        >>> as_text("gpt"), as_text(None), as_text(["gpt"])
        ('gpt', '', '')
    """
    return value if isinstance(value, str) else ""


def as_count(value: Any) -> int | None:
    """A field's count, 0 or more, also of a float or a str; None if it is not a count.

    Example:
        >>> as_count(5), as_count(5.0), as_count("5"), as_count("many"), as_count(-1)
        (5, 5, 5, None, None)
    """
    if isinstance(value, bool):
        return None
    try:
        count = int(value)
    except (TypeError, ValueError, OverflowError):  # not a number, too many digits, or infinite
        return None
    return count if 0 <= count <= _MOST else None
