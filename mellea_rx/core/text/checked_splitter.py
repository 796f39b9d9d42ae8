"""Checks a user's splitter while it works: its units joined have to be the text."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import takewhile

from mellea_rx.core.types.unit import Splitter
from mellea_rx.errors import CallbackError

_SHOWN = 30
"""The maximum length of a quoted text in a message, in characters."""


class CheckedSplitter:
    """A splitter that raises as soon as a unit of another one differs from the text.

    Args:
        splitter: A user's splitter.
        name: Its name, for messages.
    """

    __slots__ = ("_name", "_offset", "_pending", "_splitter", "_used")

    def __init__(self, splitter: Splitter, name: str) -> None:
        self._splitter = splitter
        self._name = name
        self._pending: deque[str] = deque()
        """The text that is in no unit yet, in pieces."""
        self._used = 0
        """The number of characters of the first piece that are in units already."""
        self._offset = 0
        """The number of characters in units."""

    def feed(self, text: str, /) -> list[str]:
        """Take a piece of the text; return the units that it completes.

        Raises:
            CallbackError: A unit is not the text that comes next, or something else than units was
                returned.
            Exception: The splitter's own.
        """
        if text:
            self._pending.append(text)
        return list(self._checked(self._splitter.feed(text), "feed"))

    def flush(self) -> list[str]:
        """Take the end of the text; return the rest.

        Raises:
            CallbackError: As `feed`; or text is in no unit.
            Exception: The splitter's own.
        """
        units = list(self._checked(self._splitter.flush(), "flush"))
        if self._pending:
            raise self._wrong(f"{self._next()!r} is in no unit, and the text has ended")
        return units

    def _checked(self, returned: Iterable[str], method: str) -> Iterator[str]:
        if isinstance(returned, str) or not isinstance(returned, Iterable):
            kind = type(returned).__name__
            raise self._failed(f"{method} returned {kind}, and not an iterable of str")
        for unit in returned:
            if not isinstance(unit, str):
                kind = type(unit).__name__
                raise self._failed(f"{method} returned an iterable of {kind}, and not of str")
            self._take(unit)
            if unit:
                yield unit

    def _take(self, unit: str) -> None:
        at = 0
        while at < len(unit):
            if not self._pending:
                raise self._wrong(f"expected no more text yet, not {_shown(unit[at:])!r}")
            piece = self._pending[0]
            size = min(len(piece) - self._used, len(unit) - at)
            if unit[at : at + size] != piece[self._used : self._used + size]:
                raise self._differs(unit[at:])
            at += size
            self._advance(size)

    def _advance(self, size: int) -> None:
        self._used += size
        self._offset += size
        if self._used == len(self._pending[0]):
            self._pending.popleft()
            self._used = 0

    def _differs(self, unit: str) -> CallbackError:
        piece = self._pending[0][self._used :]
        same = takewhile(lambda pair: pair[0] == pair[1], zip(unit, piece, strict=False))
        at = sum(1 for _ in same)
        self._advance(at)
        return self._wrong(f"expected {self._next()!r}, not {_shown(unit[at:])!r}")

    def _next(self) -> str:
        """The beginning of the text that is in no unit."""
        size = self._used + _SHOWN + 1
        text = ""
        for piece in self._pending:
            if len(text) >= size:
                break
            text += piece
        return _shown(text[self._used :])

    def _wrong(self, found: str) -> CallbackError:
        return self._failed(
            f"its units joined are not the text: at character {self._offset}, {found}"
        )

    def _failed(self, found: str) -> CallbackError:
        return CallbackError(f"the splitter {self._name!r}: {found}")


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
