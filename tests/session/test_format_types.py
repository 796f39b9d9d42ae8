"""The types that may be a format, their values, and the error for a text that does not fit."""

from __future__ import annotations

import enum
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator

from mellea_rx import FormatError, InvalidInputError
from mellea_rx.stdlib.formats import OutputFormat, as_format


@dataclass
class Person:
    name: str
    age: int = 30
    friends: list[Person] = field(default_factory=list)


class Place(TypedDict):
    street: str


class Point(NamedTuple):
    x: int
    y: int = 0


class Struct(msgspec.Struct):
    count: Annotated[int, msgspec.Meta(ge=0)]


class Colour(enum.Enum):
    RED = "red"


class Model(BaseModel):
    name: str
    parts: list[Model] = []

    @field_validator("name")
    @classmethod
    def has_no_digit(cls, name: str) -> str:
        if name.isdigit():
            raise ValueError("a number is no name")
        return name


@dataclass
class Box:
    model: Model


SCHEMA = {
    "title": "Count",
    "type": "object",
    "properties": {"count": {"type": "integer", "minimum": 0}},
    "required": ["count"],
}

PART = Model(name="b")
ADA = '{"name": "Ada", "age": 36}'


def of(given: Any) -> OutputFormat[Any]:
    format = as_format(given)
    assert format is not None
    return format


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Person, ADA, Person("Ada", 36)),
        (Place, '{"street": "Elm"}', {"street": "Elm"}),
        (Point, "[1, 2]", Point(1, 2)),
        (Struct, '{"count": 2}', Struct(2)),
        (Colour, '"red"', Colour.RED),
        (
            Model,
            '{"name": "a", "parts": [{"name": "b"}]}',
            Model(name="a", parts=[Model(name="b")]),
        ),
        (Box, '{"model": {"name": "a"}}', Box(Model(name="a"))),
        (list[Model], '[{"name": "a"}]', [Model(name="a")]),
        (list[Person], f"[{ADA}]", [Person("Ada", 36)]),
        (dict[str, Person], f'{{"a": {ADA}}}', {"a": Person("Ada", 36)}),
        (Literal["a", "b"], '"b"', "b"),
        (Literal["a", 1], "1", 1),
        (int, "5", 5),
        (float, "5", 5.0),
        (bool, "true", True),
        (int | None, "null", None),
        (Person | int, "7", 7),
        (tuple[int, str], '[1, "a"]', (1, "a")),
        (dict, '{"a": [1]}', {"a": [1]}),
        (Annotated[int, msgspec.Meta(lt=3)], "2", 2),
        (SCHEMA, '{"count": 2}', {"count": 2}),
    ],
)
def test_a_text_becomes_its_object(kind: Any, text: str, value: object) -> None:
    found = of(kind).decode(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Person, "Person"),
        (list[Person], "list[Person]"),
        (Literal["a.b", "c"], "Literal['a.b', 'c']"),
        (int | None, "int | None"),
        (SCHEMA, "JSON schema 'Count'"),
        ({"type": "object"}, "JSON schema"),
    ],
)
def test_messages_call_it_by_its_name(kind: Any, name: str) -> None:
    assert of(kind).name == name


def test_plain_text_is_no_format_and_a_format_is_one() -> None:
    assert as_format(None) is None
    assert as_format(str) is None
    format = of(Person)
    assert as_format(format) is format


def test_the_schema_of_a_class_has_its_fields_at_the_root() -> None:
    for kind in (Place, Struct):
        assert of(kind).schema["type"] == "object"
        assert "$defs" not in of(kind).schema
    for recursive in (Person, Model):  # they refer to themselves, and so stay among the definitions
        schema = of(recursive).schema
        assert schema["type"] == "object"
        assert list(schema["$defs"]) == [recursive.__name__]


def test_models_in_other_types_share_the_roots_definitions() -> None:
    schema = of(Box).schema
    assert schema["properties"]["model"] == {"$ref": "#/$defs/Model"}
    assert set(schema["$defs"]) == {"Model"}


def test_a_tuples_length_is_told_in_words_that_every_server_has() -> None:
    assert "items" not in of(tuple[int, str]).schema
    assert of(tuple[int, str]).schema["maxItems"] == 2


@given(st.builds(Person, st.text(), st.integers(-(2**63), 2**63 - 1)))
def test_what_is_written_of_an_object_reads_back(person: Person) -> None:
    assert of(Person).decode(msgspec.json.encode(person).decode()) == person


def refused(kind: Any, text: str) -> FormatError:
    with pytest.raises(FormatError) as caught:
        of(kind).decode(text)
    assert caught.value.text == text
    assert of(kind).name in str(caught.value)
    assert caught.value.place in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("kind", "text", "place", "told"),
    [
        (Person, "Ada is 36.", "line 1, column 1", "Expecting value"),
        (Person, '{"name":\n  "Ada",\n  age: 36}', "line 3, column 3", "property name"),
        (Person, '{"name": "Ädä", x', "line 1, column 17", "property name"),
        (Person, '{"name":\n "Ad', "line 2, column 5", "MAX_NEW_TOKENS"),
        (Person, "", "line 1, column 1", "ends before the JSON does"),
        (Person, ADA + " and more", "line 1, column 28", "Extra data"),
        (Person, '{"age": 36}', "$", "missing required field `name`"),
        (Person, '{"name": "A", "age": "old"}', "$.age", "Expected `int`, got `str`"),
        (Person, '{"name": "A", "friends": [{"name": 5}]}', "$.friends[0].name", "`int`"),
        (Struct, '{"count": -1}', "$.count", ">= 0"),
        (Literal["a", "b"], '"c"', "$", "'c'"),
        (list[int], '[1, "x"]', "$[1]", "`str`"),
        (int, "1.5", "$", "`float`"),
        (float, "NaN", "line 1, column 1", "no JSON"),
        (Model, '{"name": 5}', "$.name", "valid string"),
        (Model, '{"name": "5"}', "$.name", "a number is no name"),
        (Model, '{"name": "a", "parts": [{}]}', "$.parts[0].name", "required"),
        (Box, '{"model": {"name": "5"}}', "$.model.name", "a number is no name"),
        (list[Model], '[{"name": "a"}, {}]', "$[1].name", "required"),
        (SCHEMA, '{"count": -1}', "$.count", "less than the minimum"),
        (SCHEMA, "[]", "$", "not of type 'object'"),
        (SCHEMA, '{"count"', "line 1, column 9", "ends before"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(
    kind: Any, text: str, place: str, told: str
) -> None:
    error = refused(kind, text)
    assert error.place == place
    assert told in str(error)


@pytest.mark.parametrize("text", ["\ud800", '{"name": "\ud800"}', "[" * 100_000, "1" * 5_000])
def test_texts_that_are_hard_to_read_are_refused_like_others(text: str) -> None:
    for kind in (Person, list[Any], SCHEMA):
        assert len(str(refused(kind, text))) < 700


def test_the_error_travels() -> None:
    error = pickle.loads(pickle.dumps(refused(Struct, '{"count": -1}')))
    assert (error.place, error.text) == ("$.count", '{"count": -1}')


class Strange:
    pass


def lacking() -> type:
    """A class whose annotation cannot be looked up."""

    @dataclass
    class Lacking:
        here: Nowhere  # type: ignore[name-defined]  # noqa: F821 - this is the point

    return Lacking


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: 5, "5"),
        (lambda: "json", "'json'"),
        (lambda: [int], "int"),
        (lambda: Person("a"), "Person"),
        (lambda: Strange, "Strange"),
        (lambda: list[Strange], "Strange"),
        (lambda: object, "object"),
        (lambda: len, "len"),
        (lambda: Person | Place, "more than one dict-like"),
        (lacking, "Nowhere"),
        (lambda: {"type": "nonsense"}, r"\$.type: 'nonsense'"),
        (lambda: {"a": Strange()}, "not a JSON schema"),
        (lambda: {"$ref": "#/$defs/Gone"}, "#/\\$defs/Gone"),
        (lambda: {"items": {"$ref": "http://127.0.0.1:1/x"}}, "nothing is fetched"),
    ],
)
def test_what_is_no_format_is_refused_and_the_message_says_what_is(
    make: Callable[[], Any], told: str
) -> None:
    given = make()
    with pytest.raises(InvalidInputError, match=told) as caught:
        as_format(given)
    assert "JSON schema" in str(caught.value)


def test_a_schema_may_use_any_draft_and_refer_to_its_own_parts() -> None:
    old = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"name": {"type": "string"}},
        "type": "array",
        "items": [{"$ref": "#/definitions/name"}],
    }
    assert of(old).decode('["a"]') == ["a"]
    assert refused(old, "[1]").place == "$[0]"
    tree = {"type": "object", "properties": {"inner": {"$ref": "#"}}}
    assert refused(tree, '{"inner": {"inner": 1}}').place == "$.inner.inner"


def test_the_schema_is_what_it_was_when_it_was_given() -> None:
    given: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}}
    before = repr(given)
    format = of(given)
    assert format.schema == given
    assert repr(given) == before
    given["properties"]["a"]["type"] = "string"
    assert repr(format.schema) == before
    assert format.decode('{"a": 1}') == {"a": 1}


def test_the_code_of_a_type_may_refuse_and_its_bugs_are_its_own() -> None:
    @dataclass
    class Odd:
        number: int

        def __post_init__(self) -> None:
            if self.number == 0:
                raise ZeroDivisionError("a bug")
            if self.number % 2 == 0:
                raise ValueError("even")

    assert of(Odd).decode('{"number": 1}') == Odd(1)
    assert "even" in str(refused(Odd, '{"number": 2}'))
    with pytest.raises(ZeroDivisionError):
        of(Odd).decode('{"number": 0}')
