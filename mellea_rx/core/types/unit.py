"""Units of text: the values of `unit=`, and the protocol of what splits a text into them.

Requirements and operators take a `Unit`; users implement `Splitter`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, Protocol, TypeAlias


class Splitter(Protocol):
    """Splits one text, taken in pieces, into units, which joined are the text.

    Example:
        >>> class Pairs:
        ...     def __init__(self) -> None:
        ...         self.rest = ""
        ...
        ...     def feed(self, text: str) -> list[str]:
        ...         text = self.rest + text
        ...         even = len(text) // 2 * 2
        ...         self.rest = text[even:]
        ...         return [text[at : at + 2] for at in range(0, even, 2)]
        ...
        ...     def flush(self) -> list[str]:
        ...         return [self.rest]
        >>> pairs = Pairs()
        >>> pairs.feed("abc"), pairs.feed("de"), pairs.flush()
        (['ab'], ['cd'], ['e'])
    """

    def feed(self, text: str, /) -> Iterable[str]:
        """Take a piece of the text.

        Returns:
            The units that this piece completes. An empty one counts for nothing.
        """
        ...

    def flush(self) -> Iterable[str]:
        """Take the end of the text.

        Returns:
            The rest as one or more units; none where there is no rest.
        """
        ...


class ListSplitter(Splitter, Protocol):
    """A splitter that returns its units as lists."""

    def feed(self, text: str, /) -> list[str]:
        """Take a piece of the text; return the units that it completes."""
        ...

    def flush(self) -> list[str]:
        """Take the end of the text; return the rest."""
        ...


UnitName = Literal["word", "sentence", "line", "paragraph"]
"""The units that have a name."""

SplitterFactory: TypeAlias = Callable[[], Splitter]
"""Makes a splitter for one text: `by_regex(...)`, `by_json_member()`, a class, or a function."""

Unit: TypeAlias = UnitName | SplitterFactory
"""The name of a unit, or a splitter factory."""
