"""Texts and errors of a server for use in messages: short, on one line, escaped; without I/O."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from mellea_rx.errors import escaped

_EXCERPT = 200
_TOLD = 2000


def printable(text: str, limit: int = _TOLD) -> str:
    """The beginning of a text, with non-printable characters escaped.

    Args:
        text: Any text.
        limit: The number of characters to keep.

    Example:
        >>> print(printable("no\\x1b[2J such model"))
        no\\x1b[2J such model
    """
    return escaped(text[:limit]) + ("…" if len(text) > limit else "")


def excerpt(data: bytes, limit: int = _EXCERPT) -> str:
    """The beginning of a byte string as printable text."""
    return printable(data[: 4 * limit].decode("utf-8", "replace"), limit)


def message_of(error: Any) -> str:
    """The message of an error in JSON: its `error`, `message` or `detail`, else all of it.

    Example:
        >>> message_of({"error": {"message": "no such model", "code": 404}})
        'no such model'
    """
    for key in ("error", "message", "detail"):
        if isinstance(error, dict) and error.get(key) is not None:
            error = error[key]
    if isinstance(error, str):
        return printable(error)
    try:
        return printable(json.dumps(error, ensure_ascii=False), _EXCERPT)
    except (ValueError, RecursionError):
        return "something that cannot be shown"


def error_message(body: bytes) -> str:
    """The message in an error response's body; the beginning of the body if it is not JSON."""
    try:
        found = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return excerpt(body)
    return message_of(found)
