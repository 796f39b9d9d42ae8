"""An incremental scanner for the members of a JSON object or array, without I/O.

`partial_object` and `by_json_member` use it. The scanner finds where each member begins and ends,
and leaves the member's value to a decoder, so that no text is parsed twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from mellea_rx.errors import FormatError


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

    A member is complete with its last character; a number with the character after it. Text before
    the first bracket and after the last one is skipped: models often add an introduction, or a code
    fence.

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
        """Begin and end of the object or array, in characters, once it is complete."""
        self.member_begin: int | None = None
        """Begin of the newest member, in characters; None before the first one."""
        self._may_be_empty = True
        self._index = 0
        self._key = ""
        self._on_token: Callable[[str], None] = self._on_value
        self._token: list[str] = []
        self._depth = 0
        self._quoted = False
        self._escaped = False
        self._found: Member | None = None

    def feed(self, text: str) -> Iterator[Member]:
        """Yield the members that are complete with `text`.

        Raises:
            FormatError: The text is not JSON; the message says where.
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
        """Return the line and column, in the whole text, of an index of the newest piece."""
        line = self._line + text.count("\n", 0, at)
        last = text.rfind("\n", 0, at)
        begin = self._line_begin if last < 0 else self._offset + last + 1
        return f"line {line}, column {self._offset + at - begin + 1}"

    def flush(self) -> None:
        """Check at the end of the text that the object or array is complete.

        Raises:
            FormatError: It is not.
        """
        if self.span is not None:
            return
        if not self._bracket:
            expected = " or ".join(f"`{bracket}`" for bracket in self._opening)
            message = f"the answer has no JSON: it ended without a {expected}"
            raise FormatError(message, place=self._place("", 0))
        last = f"field {self._key!r}" if self._bracket == "{" else f"element {self._index}"
        message = f"the answer's JSON is cut off, at {last} or after it"
        raise FormatError(message, place=self._place("", 0))

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
        """Expect a member; before the first one, also the end."""
        at = _after_space(text, at)
        if at == len(text):
            return at
        if self._may_be_empty and text[at] == _CLOSING[self._bracket]:
            return self._end(at)
        if self._bracket == "[":
            after = self._value(text, at)
        elif text[at] == '"':
            self._on_token = self._on_key
            after = self._begin_token(text, at)
        else:
            raise self._wrong(text, at, "a field's name in quotes")
        self.member_begin = self._offset + at
        return after

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
        self._on_token = self._on_value
        if text[at] in '"{[':
            return self._begin_token(text, at)
        self._step = self._scalar
        return at

    def _more(self, text: str, at: int) -> int:
        """Expect a comma or the end."""
        at = _after_space(text, at)
        if at == len(text):
            return at
        if text[at] == _CLOSING[self._bracket]:
            return self._end(at)
        if text[at] != ",":
            raise self._wrong(text, at, f"`,` or `{_CLOSING[self._bracket]}`")
        self._may_be_empty = False
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
        """Begin a string, object or array. `_depth` counts the open brackets."""
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
        self._on_token(token)

    def _on_key(self, token: str) -> None:
        try:
            self._key = msgspec.json.decode(token, type=str)
        except (msgspec.DecodeError, ValueError) as error:
            message = f"the answer's JSON has an invalid field name: {error}"
            raise FormatError(message, place="$") from error
        self._step = self._colon

    def _on_value(self, token: str) -> None:
        key = self._key if self._bracket == "{" else self._index
        self._found = Member(key, token)
        self._index += 1
        self._step = self._more

    def _wrong(self, text: str, at: int, expected: str) -> FormatError:
        excerpt = text[at : at + _EXCERPT]
        place = self._place(text, at)
        return FormatError(
            f"the answer is not JSON: expected {expected} at {place}, not {excerpt!r}", place=place
        )


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _pass_over(text: str, at: int) -> int:
    return len(text)
