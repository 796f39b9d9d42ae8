"""JSON text into the members of its one object or array, while it comes; no I/O.

Nothing is parsed twice: the scanner only finds where a member ends. What a member is, its decoder
says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from mellea_rx.errors import FormatError

__all__ = ["Member", "MemberScanner"]


class Member(NamedTuple):
    """A field of an object or an element of an array.

    Attributes:
        key: The field's name, or the element's index.
        json: Its value, as JSON.
    """

    key: str | int
    json: str


_SPACE = re.compile(r"[ \t\n\r]*")
_IN_STRING = re.compile(r'["\\]')
_NESTING = re.compile(r'["{}\[\]]')
_AFTER_SCALAR = re.compile(r'[\s,:"{}\[\]]')
_CLOSING = {"{": "}", "[": "]"}
_EXCERPT = 20


class MemberScanner:
    """Finds the members of the first object or array of a text.

    A member is given out with its last character; a number with the one after it. Text before the
    first bracket and after the last one (a model likes to say something, or to fence its JSON in)
    is passed over.

    Args:
        opening: The brackets to look for: "{", "[", or both.

    Example:
        >>> scanner = MemberScanner("{")
        >>> list(scanner.feed('Here: {"title": "Th')), list(scanner.feed('e Sea", "year": 19'))
        ([], [Member(key='title', json='"The Sea"')])
        >>> list(scanner.feed("51} and so on")), scanner.span
        ([Member(key='year', json='1951')], (6, 40))
    """

    def __init__(self, opening: str) -> None:
        self._opening = opening
        self._step: Callable[[str, int], int] = self._seek
        self._offset = 0
        self._line = 1
        self._line_begin = 0
        self._bracket = ""
        self._begin = 0
        self.span: tuple[int, int] | None = None
        """Where the object or array begins and ends, in characters, once it has ended."""
        self._fresh = True
        self._index = 0
        self._key = ""
        self._take: Callable[[str], None] = self._take_value
        self._token: list[str] = []
        self._depth = 0
        self._quoted = False
        self._escaped = False
        self._found: Member | None = None

    def feed(self, text: str) -> Iterator[Member]:
        """The members that are complete with `text`.

        Raises:
            FormatError: It is not JSON; the message says where.
        """
        at = 0
        while at < len(text):
            at = self._step(text, at)
            if self._found is not None:
                found, self._found = self._found, None
                yield found
        if "\n" in text:
            self._line += text.count("\n")
            self._line_begin = self._offset + text.rindex("\n") + 1
        self._offset += len(text)

    def _place(self, text: str, at: int) -> str:
        """Where in the whole text an index of the newest piece is."""
        line = self._line + text.count("\n", 0, at)
        last = text.rfind("\n", 0, at)
        begin = self._line_begin if last < 0 else self._offset + last + 1
        return f"line {line}, column {self._offset + at - begin + 1}"

    def flush(self) -> None:
        """The text has ended.

        Raises:
            FormatError: Before the object or array did.
        """
        if self.span is not None:
            return
        if not self._bracket:
            wanted = " or ".join(f"`{bracket}`" for bracket in self._opening)
            why = f"the answer has no JSON: it ended without a {wanted}"
            raise FormatError(why, place=self._place("", 0))
        last = f"field {self._key!r}" if self._bracket == "{" else f"element {self._index}"
        why = f"the answer's JSON is cut off, at {last} or after it"
        raise FormatError(why, place=self._place("", 0))

    def _seek(self, text: str, at: int) -> int:
        places = [place for each in self._opening if (place := text.find(each, at)) >= 0]
        if not places:
            return len(text)
        first = min(places)
        self._bracket = text[first]
        self._begin = self._offset + first
        self._step = self._member
        return first + 1

    def _member(self, text: str, at: int) -> int:
        """A member is due, or, where none was yet, the end."""
        at = _after_space(text, at)
        if at == len(text):
            return at
        if self._fresh and text[at] == _CLOSING[self._bracket]:
            return self._end(at)
        if self._bracket == "[":
            return self._value(text, at)
        if text[at] != '"':
            raise self._wrong(text, at, "a field's name in quotes")
        self._take = self._take_key
        return self._begin_token(text, at)

    def _colon(self, text: str, at: int) -> int:
        at = _after_space(text, at)
        if at == len(text):
            return at
        if text[at] != ":":
            raise self._wrong(text, at, "`:`")
        self._step = self._value
        return at + 1

    def _value(self, text: str, at: int) -> int:
        at = _after_space(text, at)
        if at == len(text):
            return at
        if text[at] in ",:]}":
            raise self._wrong(text, at, "a value")
        self._take = self._take_value
        if text[at] in '"{[':
            return self._begin_token(text, at)
        self._step = self._scalar
        return at

    def _more(self, text: str, at: int) -> int:
        """A comma is due, or the end."""
        at = _after_space(text, at)
        if at == len(text):
            return at
        if text[at] == _CLOSING[self._bracket]:
            return self._end(at)
        if text[at] != ",":
            raise self._wrong(text, at, f"`,` or `{_CLOSING[self._bracket]}`")
        self._fresh = False
        self._step = self._member
        return at + 1

    def _end(self, at: int) -> int:
        self.span = (self._begin, self._offset + at + 1)
        self._step = _pass_over
        return at + 1

    def _scalar(self, text: str, at: int) -> int:
        found = _AFTER_SCALAR.search(text, at)
        end = found.start() if found else len(text)
        self._token.append(text[at:end])
        if found:
            self._finish_token()
        return end

    def _begin_token(self, text: str, at: int) -> int:
        """A string, object or array begins; how deep in it the scanner is, it counts."""
        self._quoted = text[at] == '"'
        self._depth = 0 if self._quoted else 1
        self._token.append(text[at])
        self._step = self._within
        return at + 1

    def _within(self, text: str, at: int) -> int:
        begin = at
        while at < len(text):
            at = self._to_quote(text, at) if self._quoted else self._to_bracket(text, at)
            if not self._depth and not self._quoted:
                self._token.append(text[begin:at])
                self._finish_token()
                return at
        self._token.append(text[begin:])
        return at

    def _to_quote(self, text: str, at: int) -> int:
        if self._escaped:
            self._escaped = False
            return at + 1
        found = _IN_STRING.search(text, at)
        if found is None:
            return len(text)
        self._escaped = found[0] == "\\"
        self._quoted = self._escaped
        return found.end()

    def _to_bracket(self, text: str, at: int) -> int:
        found = _NESTING.search(text, at)
        if found is None:
            return len(text)
        if found[0] == '"':
            self._quoted = True
        else:
            self._depth += 1 if found[0] in "{[" else -1
        return found.end()

    def _finish_token(self) -> None:
        token = "".join(self._token)
        self._token.clear()
        self._take(token)

    def _take_key(self, token: str) -> None:
        try:
            self._key = msgspec.json.decode(token, type=str)
        except (msgspec.DecodeError, ValueError) as error:
            why = f"the answer's JSON has a wrong name: {error}"
            raise FormatError(why, place="$") from error
        self._step = self._colon

    def _take_value(self, token: str) -> None:
        key = self._key if self._bracket == "{" else self._index
        self._found = Member(key, token)
        self._index += 1
        self._step = self._more

    def _wrong(self, text: str, at: int, wanted: str) -> FormatError:
        excerpt = text[at : at + _EXCERPT]
        place = self._place(text, at)
        return FormatError(
            f"the answer is no JSON: {wanted} is due at {place}, not {excerpt!r}", place=place
        )


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _pass_over(text: str, at: int) -> int:
    return len(text)
