"""Splits text into words, sentences, lines and paragraphs while it streams; without I/O.

Requirements and operators use it. The units do not depend on the pieces that the text arrives in,
and joined they are the text. A unit includes the white space that follows it, and is returned with
the first character that proves it complete.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol, get_args

from mellea_rx.errors import InvalidInputError

Unit = Literal["word", "sentence", "line", "paragraph"]
"""The kinds of units that a text is split into."""


class Splitter(Protocol):
    """Splits one text, taken in pieces, into units."""

    def feed(self, text: str) -> list[str]:
        """Take a piece of the text.

        Returns:
            The units that this piece completes.
        """
        ...

    def flush(self) -> list[str]:
        """Take the end of the text.

        Returns:
            The rest as one unit; none where there is no rest.
        """
        ...


def splitter(unit: Unit) -> Splitter:
    """A splitter for one text. It takes time linear in the text, however small its pieces are.

    - "word": up to the next word. White space separates words.
    - "sentence": up to the next sentence. A full stop, question or exclamation mark or ellipsis
      ends one, with the quotes and brackets that close after it, where white space follows, and
      then no small letter; "。", "！" and "？" end one as they are, and so does a blank line. Full
      stops of abbreviations, initials and numbers do not; in doubt a sentence goes on.
    - "line": up to and with its LF.
    - "paragraph": up to and with the blank lines after it.

    Example:
        >>> sentences = splitter("sentence")
        >>> sentences.feed("Dr. No paid 3.50. He"), sentences.feed(" left."), sentences.flush()
        (['Dr. No paid 3.50. '], [], ['He left.'])

    Args:
        unit: The kind of unit.

    Raises:
        InvalidInputError: The kind of unit does not exist.
    """
    units = get_args(Unit)
    if unit not in units:
        known = ", ".join(map(repr, units))
        raise InvalidInputError(f"there is no unit {unit!r}; there are {known}")
    return _Cutter(_FINDERS[unit]())


class _Finder(Protocol):
    """Finds the beginnings of units."""

    def starts(self, text: str) -> Iterator[int]:
        """The indexes at which new units begin, relative to `text`, the newest piece.

        An index is negative where a unit began in an earlier piece and only `text` proves it.
        """
        ...


class _Cutter:
    """Keeps the text of the unfinished unit, and cuts it where the finder finds a beginning."""

    __slots__ = ("_finder", "_parts", "_size")

    def __init__(self, finder: _Finder) -> None:
        self._finder = finder
        # Joined once a unit, so that a long unit in small pieces costs linear time.
        self._parts: list[str] = []
        self._size = 0

    def feed(self, text: str) -> list[str]:
        starts = list(self._finder.starts(text))
        before = self._size
        self._parts.append(text)
        self._size += len(text)
        if not starts:
            return []
        pending = "".join(self._parts)
        units = []
        cut = 0
        for start in starts:
            units.append(pending[cut : before + start])
            cut = before + start
        self._keep(pending[cut:])
        return units

    def flush(self) -> list[str]:
        rest = "".join(self._parts)
        self._keep("")
        return [rest] if rest else []

    def _keep(self, rest: str) -> None:
        self._parts = [rest] if rest else []
        self._size = len(rest)


class _Lines:
    """A line begins after each LF; other separators are text."""

    __slots__ = ()

    def starts(self, text: str) -> Iterator[int]:
        at = text.find("\n")
        while at >= 0:
            yield at + 1
            at = text.find("\n", at + 1)


_RUNS = re.compile(r"\s+|\S+")


class _Gaps:
    """Walks over white space (gaps) and the text between it (ink); decides at the end of each gap.

    The gap before the first ink of a text separates nothing.
    """

    __slots__ = ("_in_gap", "_indent", "_inked", "_newlines")

    def __init__(self) -> None:
        self._inked = False
        self._in_gap = True
        self._newlines = 0
        self._indent = 0

    def starts(self, text: str) -> Iterator[int]:
        for found in _RUNS.finditer(text):
            run, at = found[0], found.start()
            if run[0].isspace():
                self._widen(run)
                continue
            if self._in_gap:
                ends = self._inked and self._ends_unit(run[0])
                if ends:
                    yield at - self._hang()
                self._enter(ends)
                self._inked, self._in_gap = True, False
                self._newlines = self._indent = 0
            for inside in self._ink(run):
                yield at + inside

    def _widen(self, gap: str) -> None:
        self._in_gap = True
        self._newlines += gap.count("\n")
        last = gap.rfind("\n")
        self._indent = len(gap) - last - 1 if last >= 0 else self._indent + len(gap)

    def _ends_unit(self, first: str) -> bool:
        """Whether the gap ends a unit; `first` is the character after the gap."""
        return True

    def _hang(self) -> int:
        """The number of characters of the gap that belong to the unit after it."""
        return 0

    def _enter(self, after_end: bool) -> None:
        """Note that ink begins after a gap."""

    def _ink(self, run: str) -> Iterator[int]:
        """The indexes in `run`, which has no white space, at which units begin."""
        return iter(())


class _Paragraphs(_Gaps):
    __slots__ = ()

    def _ends_unit(self, first: str) -> bool:
        return self._newlines > 1

    def _hang(self) -> int:
        return self._indent  # the indent of a line is its own: it may be code


_FULL = "。！？｡"
"""These end a sentence without white space after them."""
_STOPS = ".!?…؟۔।॥።‼⁇⁈⁉" + _FULL
_CLOSING = "\"'”’»›)]}*_」』）】》〉］｝〕〗"
_OPENING = "\"'“‘«‹([{*_¿¡"
_ENDING = _STOPS + _CLOSING + "“‘«‹"  # „so.“ and »so.« close with what opens elsewhere


class _Patterns(NamedTuple):
    """The patterns by which ends of sentences are found.

    Attributes:
        before_names: Abbreviations that never end a sentence.
        before_numbers: Abbreviations that end no sentence before a number.
    """

    stop: re.Pattern[str]
    full_stop: re.Pattern[str]
    initials: re.Pattern[str]
    number: re.Pattern[str]
    before_names: re.Pattern[str]
    before_numbers: re.Pattern[str]


@lru_cache(maxsize=1)
def _patterns() -> _Patterns:
    # Compiled on first use: it takes longer than all else that is imported here.
    return _Patterns(
        re.compile(f"[{_STOPS}]"),
        re.compile(f"[{_FULL}][{re.escape(_STOPS + _CLOSING)}]*"),
        re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]"),
        re.compile(r"\d{1,3}"),
        re.compile(
            r"Mr|Mrs|Ms|Mx|Dr|Prof|St|Mt|Ft|Messrs|Mme|Mlle|Hon|Rev|Fr|Gen|Col|Lt|Capt|Cmdr|Maj|Sgt|"
            r"Adm|Gov|Sen|Rep|Pres|Supt|vs|cf|viz|al|ca|approx|Ph\.D"
        ),
        re.compile("nos?|figs?|eqs?|secs?|chs?|vols?|pp|arts?", re.I),
    )


_TAIL = 16
"""The length of a word's end that is examined, in characters: longer than any pattern."""


class _Sentences(_Gaps):
    __slots__ = ("_begins_line", "_ended", "_full", "_patterns", "_word")

    def __init__(self) -> None:
        super().__init__()
        self._patterns = _patterns()
        self._enter(True)

    def _enter(self, after_end: bool) -> None:
        self._begins_line = after_end or self._newlines > 0
        self._begin_word()

    def _begin_word(self) -> None:
        self._word = ""
        self._ended = self._full = False

    def _ink(self, run: str) -> Iterator[int]:
        # A full stop at the end of an earlier piece is put back, so that one rule is enough.
        put_back = _FULL[0] if self._full else ""
        text = put_back + run
        cut = 0
        for found in self._patterns.full_stop.finditer(text):
            if found.end() < len(text):
                cut = found.end()
                yield cut - len(put_back)
        if cut:
            self._begin_word()
            self._begins_line = True
            run = text[cut:]
        stem = run.rstrip(_ENDING)
        ended = self._patterns.stop.search(run, len(stem)) is not None
        full = ended and any(stop in _FULL for stop in run[len(stem) :])
        self._ended = ended or (self._ended and not stem)
        self._full = full or (self._full and not stem)
        self._word = (self._word + run)[-_TAIL:]

    def _ends_unit(self, first: str) -> bool:
        if self._full or self._newlines > 1:
            return True
        return self._ended and not first.islower() and not self._is_abbreviated(first)

    def _is_abbreviated(self, first: str) -> bool:
        if not self._word.endswith("."):
            return False
        known, word = self._patterns, self._word[:-1].lstrip(_OPENING)
        if self._begins_line and (known.number.fullmatch(word) or known.initials.fullmatch(word)):
            return True  # the number of a list's item
        if known.before_names.fullmatch(word):
            return True
        if first.isdecimal() and known.before_numbers.fullmatch(word):
            return True
        # "I" is a pronoun far more often than a name; a.m. and p.m. end sentences.
        return bool(known.initials.fullmatch(word)) and word not in ("I", "a.m", "p.m")


_FINDERS: dict[Unit, Callable[[], _Finder]] = {
    "word": _Gaps,
    "sentence": _Sentences,
    "line": _Lines,
    "paragraph": _Paragraphs,
}
