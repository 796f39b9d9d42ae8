"""`by_regex`: units that end after each match of a pattern, for streaming validation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mellea_rx.core.text.cutter import Finder, FoundUnits
from mellea_rx.core.types.unit import SplitterFactory
from mellea_rx.core.types.validation import kind_of, require_positive_int
from mellea_rx.errors import InvalidInputError

__all__ = ["by_regex"]

LONGEST = 100
"""The default of `longest`, in characters."""


def by_regex(pattern: str | re.Pattern[str], *, longest: int = LONGEST) -> SplitterFactory:
    r"""Units that end after each match of a pattern: of a separator, or of the end of a unit.

    After each character of the text, the pattern is searched in the unit so far. A unit ends with
    the first match that has a character behind it: so `"\n+"` takes all line ends of a gap, and
    a match at the end of the text so far waits for the next character, which may make it longer.
    The rest of the text is the last unit.

    The units do not depend on the pieces that the text arrives in, whatever the pattern. They end
    where `re.finditer` finds a match in the whole text, if the character behind a match tells that
    it is complete. If more characters would be needed, the shorter match counts: with
    `"</li>(\r\n)?"` a unit ends after `</li>`, since `\r` alone does not make the match longer.
    `^` is the beginning of a unit. A lookahead waits for its text: `"\n(?=# )"` ends a unit before
    a heading.

    Example:
        >>> from mellea_rx.operators import splitter
        >>> steps = splitter(by_regex(r";\s*"))
        >>> steps.feed("wash; "), steps.feed("dry;fold"), steps.flush()
        ([], ['wash; ', 'dry;'], ['fold'])

    Args:
        pattern: A regular expression, as text or compiled. It is searched on the engine, where one
            that backtracks without end stops every call.
        longest: The number of characters of the unit, up to the newest one, that are searched. A
            match is found where it, what it looks ahead at, and the character behind it fit in. The
            time is linear in the text, and in this number.

    Returns:
        A splitter factory, for `unit=`. Those of one pattern are equal.

    Raises:
        InvalidInputError: The pattern is none, is for bytes, or matches the empty text; or
            `longest` is not an int of 1 or more.
    """
    return _ByRegex(_compiled(pattern), require_positive_int("longest", longest))


def _compiled(pattern: object) -> re.Pattern[str]:
    if not isinstance(pattern, (str, re.Pattern)):
        raise InvalidInputError(
            f"by_regex: pattern is a str or a compiled pattern of `re`, not {kind_of(pattern)}"
        )
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidInputError(
            f"by_regex: the pattern {pattern!r} is not a regular expression: {error}"
        ) from error
    if not isinstance(compiled.pattern, str):
        raise InvalidInputError(
            f"by_regex: the pattern {compiled.pattern!r} is for bytes: give one for str"
        )
    if compiled.search("") is not None:
        raise InvalidInputError(
            f"by_regex: the pattern {compiled.pattern!r} matches the empty text, so that units "
            "would end everywhere: give one that needs a character, as ';+' in place of ';*'"
        )
    return compiled


@dataclass(frozen=True, slots=True)
class _ByRegex(FoundUnits):
    pattern: re.Pattern[str]
    longest: int

    def finder(self) -> Finder:
        return _Matches(self.pattern, self.longest)

    def __repr__(self) -> str:
        longest = "" if self.longest == LONGEST else f", longest={self.longest}"
        return f"by_regex({self.pattern.pattern!r}{longest})"


class _Matches:
    """A unit begins after each match that has a character behind it.

    The text is taken character by character: a pattern may match a text, and not what that text
    becomes (`"a(?!bc)"`), so the pieces would decide if whole pieces were searched.
    """

    __slots__ = ("_longest", "_search", "_unit")

    def __init__(self, pattern: re.Pattern[str], longest: int) -> None:
        self._search = pattern.search
        self._longest = longest
        self._unit = ""
        """The end of the unit so far: what is searched, and as much before it."""

    def starts(self, text: str) -> Iterator[int]:
        before = len(self._unit)
        pending = self._unit + text
        begin, end = 0, before
        while end < len(pending):
            end += 1
            found = self._match_end(pending, begin, end)
            if found is not None:
                yield found - before
                # What was behind the match is taken again, as the beginning of a unit.
                begin = end = found
        self._unit = pending[max(begin, end - 2 * self._longest) :]

    def _match_end(self, pending: str, begin: int, end: int) -> int | None:
        """The end of the first match in the unit `pending[begin:end]`, if it is within the unit."""
        # Text before the searched part is seen by lookbehinds. The limit on it is the same for each
        # cut of the text.
        first = max(begin, end - 2 * self._longest)
        seen = pending[first:end]
        found = self._search(seen, max(0, len(seen) - self._longest))
        if found is not None and not found.end():
            found = self._search(seen, 1)  # an empty match at its beginning does not end a unit
        return first + found.end() if found is not None and found.end() < len(seen) else None
