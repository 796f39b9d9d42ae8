"""The operator `partial_object`: fields or elements of a JSON answer while it streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, overload

from reactivex import Observable, compose

from mellea_rx.core.streams.buffers import TextBuffer
from mellea_rx.core.text.json_members import Member, MemberScanner
from mellea_rx.errors import FormatError
from mellea_rx.operators.partial_types import Members, Shape, shape_of
from mellea_rx.operators.text import decode, text

__all__ = ["Part", "partial_object"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """A complete field of an object, or element of an array.

    Attributes:
        key: The field's name in the JSON, or the element's index.
        value: Its value, of the type of the field or element.
    """

    key: str | int
    value: Any
    _shape: Shape[T] = field(repr=False, compare=False)
    _members: Members = field(repr=False, compare=False)
    _count: int = field(repr=False, compare=False)

    def snapshot(self) -> T:
        """Return a new object or array of the parts up to and including this one.

        A field that has not arrived has its default, or `msgspec.UNSET` if it has none (in a
        TypedDict it is missing). No validator and no `__post_init__` runs.
        """
        return self._shape.partial(self._members[: self._count])


@overload
def partial_object(
    kind: type[T],
) -> Callable[[Observable[object]], Observable[Part[T]]]: ...


@overload
def partial_object(
    kind: None = None,
) -> Callable[[Observable[object]], Observable[Part[Any]]]: ...


def partial_object(
    kind: Any = None,
) -> Callable[[Observable[object]], Observable[Part[Any]]]:
    """Emit each field or element of a JSON answer once, when it is complete.

    The time is linear in the text. Text before the first bracket and after the last one is skipped,
    and so are fields that the type does not have. With the last bracket, the whole is validated,
    once.

        source:             -{"a":1,"b"-:[2,3]}-|
        partial_object():   -a=1--------b=[2,3]-|

    Example:
        >>> from dataclasses import dataclass
        >>> import reactivex as rx
        >>> @dataclass
        ... class Book:
        ...     title: str
        ...     year: int
        >>> answer = rx.of('{"title": "The Sea ', 'Around Us", "year": 19', "51}")
        >>> _ = answer.pipe(partial_object(Book)).subscribe(lambda part: print(part.snapshot()))
        Book(title='The Sea Around Us', year=UNSET)
        Book(title='The Sea Around Us', year=1951)

    Args:
        kind: A dataclass, TypedDict, msgspec Struct, Pydantic model, `list[...]` or
            `dict[str, ...]`; None for any JSON object or array.

    Returns:
        An operator that takes chunks or strings. It fails with `FormatError`, which has the text
        and the place, when the text is not JSON, ends too early, or does not fit the type.

    Raises:
        InvalidInputError: `kind` is not one of these types, or has a field that cannot be decoded.
    """
    shape = shape_of(kind)
    return compose(text(), decode(lambda: _Parts(shape)))


class _Parts:
    """Decodes text into parts.

    Args:
        shape: The expected type of the text.
    """

    def __init__(self, shape: Shape[Any]) -> None:
        self._shape = shape
        self._scanner = MemberScanner(shape.opening)
        self._text = TextBuffer()
        self._members: Members = []
        self._is_checked = False

    def feed(self, text: str) -> Iterator[Part[Any]]:
        self._text.add(text)
        try:
            for member in self._scanner.feed(text):
                yield from self._part(member)
            self._check()
        except FormatError as error:
            error.text = str(self._text)
            raise

    def flush(self) -> tuple[()]:
        try:
            self._scanner.flush()
        except FormatError as error:
            error.text = str(self._text)
            raise
        return ()

    def _part(self, member: Member) -> Iterator[Part[Any]]:
        decoder = self._shape.decoder(member.key)
        if decoder is None:
            return
        try:
            value = decoder(member.json)
        except Exception as error:  # a type's own code may raise any exception
            named = isinstance(member.key, str)
            what = f"field {member.key!r}" if named else f"element {member.key}"
            place = f"$.{member.key}" if named else f"$[{member.key}]"
            message = f"the answer's {what} does not fit: {error}"
            raise FormatError(message, place=place) from error
        self._members.append((member.key, value))
        yield Part(member.key, value, self._shape, self._members, len(self._members))

    def _check(self) -> None:
        span = self._scanner.span
        if span is None or self._is_checked:
            return
        self._is_checked = True
        try:
            self._shape.check(str(self._text)[slice(*span)])
        except Exception as error:
            message = f"the answer as a whole does not fit: {error}"
            raise FormatError(message, place="$") from error
