"""Finds words, sentences, lines and paragraphs in text while it streams; without I/O.

`splitter` uses it. The units do not depend on the pieces that the text arrives in. A unit includes
the white space that follows it, and is returned with the first character that proves it complete.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from mellea_rx.core.text.cutter import Cutter, Finder
from mellea_rx.core.types.unit import UnitName


class _Lines:
    """A line begins after each LF; other separators are text."""

    __slots__ = ()

    def starts(self, text: str) -> Iterable[int]:
        at = text.find("\n")
        while at >= 0:
            yield at + 1
            at = text.find("\n", at + 1)


_WORD_STARTS = re.compile(r"(?<!\S)\S")


class _Words:
    """A word begins with each character that stands after white space, but for the first one."""

    __slots__ = ("_in_gap", "_inked")

    def __init__(self) -> None:
        self._inked = False
        self._in_gap = True

    def starts(self, text: str) -> list[int]:
        if not text:
            return []
        starts = [found.start() for found in _WORD_STARTS.finditer(text)]
        # Alone, a piece seems to begin with a word; it may go on with one.
        if starts and not starts[0] and not self._in_gap:
            del starts[0]
        if starts and not self._inked:
            self._inked = True
            del starts[0]
        self._in_gap = text[-1].isspace()
        return starts


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
        raise NotImplementedError

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


_FINDERS: dict[UnitName, Callable[[], Finder]] = {
    "word": _Words,
    "sentence": _Sentences,
    "line": _Lines,
    "paragraph": _Paragraphs,
}


def cutter_of(name: UnitName) -> Cutter:
    """A splitter for one text into units of this kind."""
    return Cutter(_FINDERS[name]())
