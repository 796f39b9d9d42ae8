"""Structure in the text while it streams: JSON members, and reasoning between tags."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, NotRequired, TypedDict

import msgspec
import pydantic
import pydantic.dataclasses
import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as ops
from reactivex.testing import TestScheduler

from mellea_rx import Chunk, FormatError, InvalidInputError, StreamInterruptedError, Usage
from mellea_rx.operators import Part, partial_object, split_thinking
from tests.operators.cuts import cut, places, texts
from tests.operators.linear import assert_linear
from tests.operators.virtual import Log, cold, seen


def parts_of(kind: Any, *pieces: str) -> Log:
    """Return the log of partial_object for a text in these pieces."""
    return seen(TestScheduler(), rx.of(*pieces).pipe(partial_object(kind)))


def pairs(log: Log) -> list[tuple[str | int, Any]]:
    """Keys and values of the parts."""
    return [(part.key, part.value) for part in log.items]


# partial_object: laws

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
    | st.sampled_from(['"', "\\", '\\"', "{", "]", "é", "\U0001f600", "\n"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
encodings = st.builds(
    dict,
    ensure_ascii=st.booleans(),
    indent=st.none() | st.integers(0, 2),
    separators=st.sampled_from([None, (",", ":"), (" , ", " : ")]),
)
around = st.sampled_from([("", ""), ("Here it is:\n```json\n", "\n```\nEnjoy!"), (" \n", "\n ")])


@given(st.dictionaries(st.text(max_size=4), values, max_size=5), encodings, around, places)
def test_the_fields_of_any_object_however_it_is_cut(
    whole: dict[str, Any], how: dict[str, Any], fence: tuple[str, str], at: list[int]
) -> None:
    text = json.dumps(whole, **how).join(fence)
    log = parts_of(None, *cut(text, at))
    assert pairs(log) == list(whole.items())
    assert log.terminals == ["completed"]
    for count, part in enumerate(log.items):
        assert part.snapshot() == dict(list(whole.items())[: count + 1])


@given(st.lists(values, max_size=5), encodings, around, places)
def test_the_elements_of_any_array_however_it_is_cut(
    whole: list[Any], how: dict[str, Any], fence: tuple[str, str], at: list[int]
) -> None:
    text = json.dumps(whole, **how).join(fence)
    for kind in (None, list, list[Any]):
        log = parts_of(kind, *cut(text, at))
        assert pairs(log) == list(enumerate(whole))
        assert log.terminals == ["completed"]
        assert [part.snapshot() for part in log.items] == [
            whole[: count + 1] for count in range(len(whole))
        ]


@given(st.text(alphabet='{}[],:"\\ 1tfné\n', max_size=30), places)
def test_any_text_gives_parts_or_one_typed_error_however_it_is_cut(
    text: str, at: list[int]
) -> None:
    whole, pieces = parts_of(None, text), parts_of(None, *cut(text, at))
    assert pairs(whole) == pairs(pieces)
    assert whole.terminals == pieces.terminals
    if whole.error is not None:
        assert isinstance(whole.error, FormatError)
        assert isinstance(pieces.error, FormatError)
        assert text.startswith(pieces.error.text)


@given(st.dictionaries(st.text(max_size=4), values, min_size=1, max_size=4), st.data())
def test_a_text_that_is_cut_off_is_an_error_after_the_parts_that_came(
    whole: dict[str, Any], data: st.DataObject
) -> None:
    text = json.dumps(whole)
    end = data.draw(st.integers(0, len(text) - 1))
    log = parts_of(None, text[:end])
    assert pairs(log) == list(whole.items())[: len(log.items)]
    assert isinstance(log.error, FormatError)
    assert log.error.text == text[:end]


# partial_object: moments


@pytest.mark.parametrize(
    ("before", "telling"),
    [
        ('{"a": "x', '"'),
        ('{"a": [1, {"b": "]}"}', "]"),
        ('{"a": {"b": 1', "}"),
        ('{"a": 12', ","),
        ('{"a": tru', "e}"),
        ('{"a": 12', "\n"),
    ],
)
def test_a_part_is_out_with_the_character_that_completes_it(before: str, telling: str) -> None:
    time = TestScheduler()
    source = cold(time, t1=before, t2=telling)
    log = seen(time, source.pipe(partial_object()))
    assert log.times == [2]
    assert [part.key for part in log.items] == ["a"]


def test_an_error_of_the_source_is_the_error() -> None:
    time = TestScheduler()
    broken = StreamInterruptedError("it broke")
    log = seen(time, cold(time, t1='{"a": 1, "b', t2=broken).pipe(partial_object()))
    assert pairs(log) == [("a", 1)]
    assert log.error is broken


def test_it_takes_chunks() -> None:
    chunks = rx.of(Chunk('{"a"'), Chunk(thinking="hm"), Chunk(": 1}", usage=Usage(1, 2)))
    assert [part.value for part in chunks.pipe(partial_object(), ops.to_list()).run()] == [1]


# partial_object: types


@dataclass(frozen=True, slots=True)
class Author:
    name: str
    born: int = 0


@dataclass
class Book:
    title: str
    author: Author
    year: int = 1900
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        assert self.title is not msgspec.UNSET


class BookStruct(msgspec.Struct, rename="camel", kw_only=True, frozen=True):
    title: str
    first_author: Author
    year: int = 1900
    tags: list[str] = msgspec.field(default_factory=list)


class Picky(msgspec.Struct):
    a: int
    b: int

    def __post_init__(self) -> None:
        if self.a > self.b:
            raise ValueError("a is above b")


class BookDict(TypedDict):
    title: str
    author: Author
    year: NotRequired[int]
    tags: Annotated[list[str], msgspec.Meta(max_length=2)]


class AuthorModel(pydantic.BaseModel):
    name: str
    born: int = 0


VALIDATED: list[str] = []


class BookModel(pydantic.BaseModel):
    title: str = pydantic.Field(min_length=2)
    author: AuthorModel = pydantic.Field(alias="writer")
    year: Annotated[int, pydantic.Field(gt=0)] = 1900
    tags: list[str] = []

    @pydantic.model_validator(mode="after")
    def fits(self) -> BookModel:
        VALIDATED.append(self.title)
        if "sea" in self.tags and "Sea" not in self.title:
            raise ValueError("tagged sea, and no Sea in its title")
        return self


BOOK = '{"title": "The Sea", "author": {"name": "Rachel"}, "isbn": 7, "tags": ["sea"]}'


def test_a_dataclass() -> None:
    log = parts_of(Book, *BOOK)
    author = Author("Rachel")
    assert pairs(log) == [("title", "The Sea"), ("author", author), ("tags", ["sea"])]
    first, _, last = log.items
    half = first.snapshot()
    assert isinstance(half, Book)
    assert (half.title, half.year, half.tags) == ("The Sea", 1900, [])
    assert half.author is msgspec.UNSET
    assert repr(half)
    assert last.snapshot() == Book("The Sea", author, tags=["sea"])
    assert half.tags is not first.snapshot().tags


def test_a_struct() -> None:
    log = parts_of(BookStruct, *BOOK.replace("author", "firstAuthor"))
    assert [part.key for part in log.items] == ["title", "firstAuthor", "tags"]
    assert log.items[0].snapshot().first_author is msgspec.UNSET
    whole = BookStruct(title="The Sea", first_author=Author("Rachel"), tags=["sea"])
    assert log.items[-1].snapshot() == whole


def test_a_structs_own_check_runs_on_the_whole_only() -> None:
    log = parts_of(Picky, '{"a": 3, ', '"b": 2}')
    assert [(each.a, each.b) for each in (part.snapshot() for part in log.items)] == [
        (3, msgspec.UNSET),
        (3, 2),
    ]
    assert isinstance(log.items[0].snapshot(), Picky)
    assert isinstance(log.error, FormatError)
    assert "a is above b" in str(log.error)


def test_a_typed_dict() -> None:
    log = parts_of(BookDict, *BOOK)
    assert log.items[0].snapshot() == {"title": "The Sea"}
    assert log.items[-1].snapshot() == {
        "title": "The Sea",
        "author": Author("Rachel"),
        "tags": ["sea"],
    }
    assert "tags" in str(parts_of(BookDict, '{"tags": ["a", "b", "c"]}').error)


def test_a_pydantic_model_whose_validators_run_once_on_the_whole() -> None:
    VALIDATED.clear()
    log = parts_of(BookModel, *BOOK.replace("author", "writer"))
    author = AuthorModel(name="Rachel")
    assert pairs(log) == [("title", "The Sea"), ("writer", author), ("tags", ["sea"])]
    assert VALIDATED == ["The Sea"]
    half = log.items[0].snapshot()
    assert isinstance(half, BookModel)
    assert (half.year, half.author) == (1900, msgspec.UNSET)
    assert log.items[-1].snapshot().author == author
    assert VALIDATED == ["The Sea"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"title": "T"', "'title'"),
        ('{"year": 0,', "'year'"),
        ('{"title": "Land", "writer": {"name": "R"}, "tags": ["sea"]}', "no Sea in its title"),
        ('{"title": "Land"}', "writer"),
    ],
)
def test_what_does_not_fit_a_pydantic_model(text: str, says: str) -> None:
    log = parts_of(BookModel, text, "")
    assert isinstance(log.error, FormatError)
    assert says in str(log.error)
    assert log.error.text == text


def test_a_pydantic_model_that_is_filled_by_names_too() -> None:
    class ByName(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(populate_by_name=True)
        author: str = pydantic.Field(alias="writer")

    for name in ("author", "writer"):
        log = parts_of(ByName, f'{{"{name}": "Rachel"}}')
        assert pairs(log) == [(name, "Rachel")]
        assert log.items[0].snapshot().author == "Rachel"
        assert log.terminals == ["completed"]


def test_a_pydantic_dataclass_is_a_dataclass() -> None:
    @pydantic.dataclasses.dataclass
    class Point:
        x: int
        y: int = 0

    log = parts_of(Point, '{"x": 1}')
    assert pairs(log) == [("x", 1)]
    assert isinstance(log.items[0].snapshot(), Point)
    assert log.items[0].snapshot().y == 0


def test_lists_and_dicts_of_types() -> None:
    log = parts_of(list[Author], '[{"name": "A"}, {"na', 'me": "B", "born": 7}]')
    assert pairs(log) == [(0, Author("A")), (1, Author("B", 7))]
    assert log.items[0].snapshot() == [Author("A")]
    log = parts_of(list[AuthorModel], '[{"name": "A"}]')
    assert log.items[0].snapshot() == [AuthorModel(name="A")]
    log = parts_of(dict[str, list[int]], '{"a": [1], "b": [2, 3]}')
    assert log.items[-1].snapshot() == {"a": [1], "b": [2, 3]}
    assert "element 1" in str(parts_of(list[int], '[1, "x"]').error)


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        (Book, '{"title": 3,', "field 'title' does not fit"),
        (Book, '{"title": "The Sea"}', "as a whole does not fit"),
        (Book, '{"title": "The Sea" "year"', "expected `,` or `}` at line 1, column 21"),
        (Book, '{"title" 3}', "expected `:`"),
        (Book, "{title", "expected a field's name in quotes"),
        (Book, '{"year": 1, }', "expected a field's name in quotes"),
        (Book, '{"year": }', "expected a value"),
        (Book, '{"year": NaN}', "field 'year' does not fit"),
        (Book, "Sorry, I cannot.", "no JSON: it ended without a `{`"),
        (None, "Sorry, I cannot.", "without a `{` or `[`"),
        (list, "[1, ", "cut off"),
        (list, "[1,,2]", "expected a value"),
        (list, "[[1}]", "element 0 does not fit"),
        (list, "[" * 100_000, "cut off"),
        (list, "[" * 100_000 + "]" * 100_000, "element 0 does not fit"),
        (None, '{"\\x": 1}', "an invalid field name"),
        (None, '{"a": "\ud800"}', "field 'a' does not fit"),
    ],
)
def test_what_does_not_fit_says_where(kind: Any, text: str, says: str) -> None:
    log = parts_of(kind, text)
    assert isinstance(log.error, FormatError)
    assert says in str(log.error)
    assert log.error.text == text
    assert log.terminals == ["error"]


@pytest.mark.parametrize(
    ("kind", "text", "place"),
    [
        (None, '{\n "a": 1\n "b"', "line 3, column 2"),
        (None, '{\n "a": 1,\n', "line 3, column 1"),
        (None, '{\n  "\\x": 1}', "$"),
        (None, "Sorry.", "line 1, column 7"),
        (None, '{"a": x,', "$.a"),
        (list[int], '[1, "x"', "$[1]"),
        (Author, "{}", "$"),
    ],
)
def test_the_place_of_what_is_wrong_is_known_however_the_text_is_cut(
    kind: Any, text: str, place: str
) -> None:
    for pieces in ([text], list(text)):
        log = parts_of(kind, *pieces)
        assert isinstance(log.error, FormatError)
        assert log.error.place == place


def test_a_repeated_field_comes_again_and_the_last_one_stands() -> None:
    log = parts_of(None, '{"a": 1, "a": 2}')
    assert pairs(log) == [("a", 1), ("a", 2)]
    assert log.items[-1].snapshot() == {"a": 2}


def test_a_field_that_cannot_be_decoded_is_refused_at_once() -> None:
    @dataclass
    class Odd:
        run: complex | tuple[int, str] | list[str]

    with pytest.raises(InvalidInputError, match=r"run"):
        partial_object(Odd)


def test_a_part_is_a_value() -> None:
    first, again = parts_of(None, '{"a": 1}').items[0], parts_of(None, '{"a": 1}').items[0]
    assert first == again
    assert repr(first) == "Part(key='a', value=1)"
    with pytest.raises(AttributeError):
        first.value = 2
    assert isinstance(first, Part)


LONG: dict[str, Callable[[int], str]] = {
    "many elements": lambda size: "[" + '{"a": [1, 2]}, ' * (size // 15) + "0]",
    "many numbers": lambda size: "[" + "12345, " * (size // 7) + "0]",
    "one long string": lambda size: '["' + "a" * size + '"]',
    "one long escaped string": lambda size: '["' + '\\"' * (size // 2) + '"]',
    "one large element": lambda size: "[[" + "[1], " * (size // 5) + "0]]",
    "one long number": lambda size: "[0." + "1" * size + "]",
    "many gaps": lambda size: "[" + " " * size + "1" + " " * size + "]",
    "much talk before": lambda size: "a" * size + "[1]",
    "much talk after": lambda size: "[1]" + "[" * size,
}


@pytest.mark.parametrize("text_of", LONG.values(), ids=LONG.keys())
def test_the_time_is_linear_in_the_text(text_of: Callable[[int], str]) -> None:
    def work(size: int) -> Callable[[], None]:
        text = text_of(size)
        source = rx.from_iterable([text[at : at + 5] for at in range(0, len(text), 5)])

        def run() -> None:
            assert source.pipe(partial_object(list), ops.count()).run()

        return run

    assert_linear(work)


# split_thinking

TAGGED = st.lists(st.sampled_from(["<think>", "</think>", "<thi", "</", ">"]) | texts, max_size=8)


def split(*pieces: str | Chunk, **tags: str) -> Chunk:
    """Return all text and all thinking that split_thinking makes of these."""
    log = seen(TestScheduler(), rx.of(*pieces).pipe(split_thinking(**tags)))
    assert log.terminals == ["completed"]
    assert all(chunk != Chunk() for chunk in log.items)
    return Chunk(
        "".join(chunk.text for chunk in log.items), "".join(chunk.thinking for chunk in log.items)
    )


def by_hand(text: str, open: str, close: str) -> Chunk:
    """Return the expected result, found in the whole text at once."""
    said, thought = "", ""
    while text:
        before, _, text = text.partition(open)
        inside, _, text = text.partition(close)
        said, thought = said + before, thought + inside
    return Chunk(said, thought)


@given(TAGGED.map("".join), places)
def test_what_is_between_the_tags_is_thinking_however_they_are_cut(
    text: str, at: list[int]
) -> None:
    assert split(*cut(text, at)) == by_hand(text, "<think>", "</think>")


@given(st.text(alphabet="ab", max_size=20), places, st.sampled_from(["a", "aa", "aab", "abab"]))
def test_any_tags(text: str, at: list[int], tag: str) -> None:
    assert split(*cut(text, at), open=tag, close="bb") == by_hand(text, tag, "bb")
    assert split(*cut(text, at), open=tag, close=tag) == by_hand(text, tag, tag)


def test_only_what_may_be_a_tag_is_held_back() -> None:
    time = TestScheduler()
    log = seen(time, cold(time, t1="a<", t2="b <th", t3="ree").pipe(split_thinking()))
    assert [chunk.text for chunk in log.items] == ["a", "<b ", "<three"]
    assert log.times == [1, 2, 3]


def test_whatever_else_a_chunk_has_stays() -> None:
    last = Chunk("</think>b", thinking="own ", usage=Usage(1, 2), finish_reason="stop")
    source = rx.of(Chunk("a<think>x", model="m"), last)
    chunks = source.pipe(split_thinking(), ops.to_list()).run()
    assert chunks == [
        Chunk("a", "x", model="m"),
        Chunk("b", "own ", usage=Usage(1, 2), finish_reason="stop"),
    ]


def test_splitting_takes_time_linear_in_the_text() -> None:
    def work(size: int) -> Callable[[], None]:
        text = "<think>a<</think>" * (size // 17)
        source = rx.from_iterable([text[at : at + 5] for at in range(0, len(text), 5)])

        def run() -> None:
            assert source.pipe(split_thinking(), ops.count()).run()

        return run

    assert_linear(work)


def test_reasoning_that_is_not_closed_is_reasoning() -> None:
    assert split("a<think>b</thi") == Chunk("a", "b</thi")
