"""`FormatError`s with the place and the reason of a misfit; formats use them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TypeVar

from mellea_rx.errors import FormatError

__all__ = ["checked", "misfit_at"]

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
            raise _misfit(name, text, error) from error

    return decoded


def _misfit(name: str, text: str, error: Exception) -> FormatError:
    why = str(error)
    if why == "Input data was truncated":
        cut = "it ends before the JSON does (was it cut off by ModelOption.MAX_NEW_TOKENS?)"
        return misfit_at(name, text, _line_of(text, len(text)), cut)
    byte = _BYTE.search(why)
    if byte is not None:
        return misfit_at(name, text, *_fault_of(text, int(byte[1])))
    path = _PATH.search(why)
    place, why = (path[1], why[: path.start()]) if path else ("$", why)
    inner = _of_model(error.__cause__)  # msgspec wraps what a Pydantic model raised
    if inner is not None:
        place, why = place + inner[0], inner[1]
    return misfit_at(name, text, place, why)


def misfit_at(name: str, text: str, place: str, why: str) -> FormatError:
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
