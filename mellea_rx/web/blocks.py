"""Blocks of text and reasoning, which some protocols open and close."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Kind = Literal["text", "thinking"]


class Blocks:
    """The block that is open, if one is. Each has an id of its own.

    Args:
        prefix: The beginning of the ids.
        opening: Returns the text that opens a block of this kind and id.
        closing: Returns the text that closes it.
    """

    def __init__(
        self,
        prefix: str,
        opening: Callable[[Kind, str], str],
        closing: Callable[[Kind, str], str],
    ) -> None:
        self._prefix = prefix
        self._opening = opening
        self._closing = closing
        self._open: Kind | None = None
        self._count = 0

    @property
    def id(self) -> str:
        """The id of the block that was opened last."""
        return f"{self._prefix}{self._count}"

    def opened(self, kind: Kind) -> str:
        """The text that makes a block of this kind the open one; "" where it is."""
        if self._open == kind:
            return ""
        closing = self.closed()
        self._open = kind
        self._count += 1
        return closing + self._opening(kind, self.id)

    def closed(self) -> str:
        """The text that closes the open block; "" where none is open."""
        kind, self._open = self._open, None
        return "" if kind is None else self._closing(kind, self.id)


class CallIds:
    """The ids of tool calls, also of those to which a server gives none."""

    def __init__(self) -> None:
        self._count = 0
        self._waiting: dict[str, list[str]] = {}
        """The ids without a result, by the tool's name."""

    def called(self, name: str, given: str) -> str:
        """The id of a new call."""
        self._count += 1
        made = given or f"call_{self._count}"
        self._waiting.setdefault(name, []).append(made)
        return made

    def returned(self, name: str, given: str) -> str | None:
        """The id of the call that a result belongs to; None where no such call is known."""
        waiting = self._waiting.get(name, [])
        if given in waiting:
            waiting.remove(given)
            return given
        return None if given or not waiting else waiting.pop(0)
