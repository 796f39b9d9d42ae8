"""`by_json_member`: the members of a JSON answer as units, for streaming validation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from mellea_rx.core.text.cutter import Finder, FoundUnits
from mellea_rx.core.text.json_members import MemberScanner
from mellea_rx.core.types.unit import SplitterFactory
from mellea_rx.errors import FormatError


def by_json_member() -> SplitterFactory:
    r"""Units that are the members of a JSON answer: fields of its object, or items of its array.

    The first object or array of the text counts; what is nested in it is part of a member. A unit
    is raw text: a member, with the comma and the white space after it. It is complete when the next
    member begins. The first unit includes the text before the first member (an introduction, a code
    fence, the bracket), the last one the text after the last member. Text without JSON is one unit;
    where JSON ends in something else, that belongs to the last unit.

    Example:
        >>> from mellea_rx.operators import splitter
        >>> members = splitter(by_json_member())
        >>> members.feed('{"a": 1, "b": [2'), members.feed(', 3]} Done.'), members.flush()
        (['{"a": 1, '], [], ['"b": [2, 3]} Done.'])

    Returns:
        A splitter factory, for `unit=`. Two of them are equal.
    """
    return _ByJsonMember()


@dataclass(frozen=True, slots=True)
class _ByJsonMember(FoundUnits):
    label: ClassVar[str] = "JSON member"

    def finder(self) -> Finder:
        return _Members()

    def __repr__(self) -> str:
        return "by_json_member()"


class _Members:
    """A unit begins with each member but the first."""

    __slots__ = ("_begin", "_is_json", "_offset", "_scanner")

    def __init__(self) -> None:
        self._scanner = MemberScanner("{[")
        self._offset = 0
        self._begin: int | None = None
        self._is_json = True

    def starts(self, text: str) -> Iterator[int]:
        if self._is_json:
            yield from self._scan(text)
        self._offset += len(text)

    def _scan(self, text: str) -> Iterator[int]:
        try:
            for member in self._scanner.feed(text):
                yield from self._newly_begun()
                if not _is_json(member.json):
                    self._is_json = False
                    return
        except FormatError:
            self._is_json = False
        # A member may have begun before the place where the text stops being JSON.
        yield from self._newly_begun()

    def _newly_begun(self) -> Iterator[int]:
        begin = self._scanner.member_begin
        is_first = self._begin is None
        if begin is not None and begin != self._begin:
            self._begin = begin
            if not is_first:
                yield begin - self._offset


def _is_json(value: str) -> bool:
    """Whether a member's value is JSON. The scanner takes any text up to a comma for a value."""
    try:
        msgspec.json.decode(value, type=msgspec.Raw)
    except (msgspec.DecodeError, ValueError, RecursionError):  # ValueError: a lone surrogate
        return False
    return True
