"""Cuts a text that arrives in pieces where a finder finds the beginnings of units; without I/O.

The units of this library are finders; `Cutter` keeps the text for them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Protocol


class Finder(Protocol):
    """Finds the beginnings of units in one text, taken in pieces."""

    def starts(self, text: str) -> Iterable[int]:
        """The indexes at which new units begin, relative to `text`, the newest piece.

        An index is negative where a unit began in an earlier piece and only `text` proves it.
        """
        ...


class Cutter:
    """Keeps the text of the unfinished unit, and cuts it where the finder finds a beginning."""

    __slots__ = ("_finder", "_parts", "_size")

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        # Joined once a unit, so that a long unit in small pieces costs linear time.
        self._parts: list[str] = []
        self._size = 0

    def feed(self, text: str, /) -> list[str]:
        """Take a piece of the text; return the units that it completes."""
        before = self._size
        self._parts.append(text)
        self._size += len(text)
        units: list[str] = []
        pending, cut = "", 0
        for start in self._finder.starts(text):
            if not units:
                pending = "".join(self._parts)
            units.append(pending[cut : before + start])
            cut = before + start
        if units:
            self._keep(pending[cut:])
        return units

    def flush(self) -> list[str]:
        """Take the end of the text; return the rest as one unit, if there is any."""
        rest = "".join(self._parts)
        self._keep("")
        return [rest] if rest else []

    def _keep(self, rest: str) -> None:
        self._parts = [rest] if rest else []
        self._size = len(rest)


class FoundUnits(ABC):
    """A splitter factory of this library: a frozen value, which makes a cutter for one text.

    Its splitters are linear in the text and never block, and their units joined are the text.
    """

    __slots__ = ()

    label: ClassVar[str] = "unit"
    """The name of one unit in messages."""

    @abstractmethod
    def finder(self) -> Finder:
        """A finder for one text."""

    def __call__(self) -> Cutter:
        """A splitter for one text."""
        return Cutter(self.finder())
