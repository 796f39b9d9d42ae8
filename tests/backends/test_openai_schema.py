"""Schemas for OpenAI's protocol: strict if possible, and with an object as the root."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import jsonschema
import msgspec
import pytest
from pydantic import BaseModel, Field

from mellea_rx.backends import OpenAIBackend, Options, Request, RequestMessage
from mellea_rx.backends.openai_schema import response_format
from mellea_rx.stdlib.formats import as_format
from tests.core.hand import PATIENCE, Recorder
from tests.support.server_process import ServerProcess


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Place(TypedDict):
    street: str
    floor: NotRequired[int]


@dataclass
class Person:
    """Somebody."""

    name: Annotated[str, msgspec.Meta(description="In full.", max_length=80)]
    age: Annotated[int, msgspec.Meta(ge=0, le=150)] = 30
    colour: Colour = Colour.RED
    home: Place | None = None
    friends: list[Person] = field(default_factory=list)
    mood: Literal["good", "bad", 1] = "good"


class Model(BaseModel):
    name: str = Field(min_length=1, examples=["Ada"])
    parts: list[Model] = []


def schema_of(kind: Any) -> Any:
    format = as_format(kind)
    assert format is not None
    return format.schema


def sent_for(kind: Any) -> Any:
    return response_format(schema_of(kind))["json_schema"]


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """All schemas in a schema."""
    yield schema
    for key in ("properties", "$defs"):
        for each in schema.get(key, {}).values():
            yield from nodes(each)
    for each in schema.get("anyOf", ()):
        yield from nodes(each)
    if "items" in schema:
        yield from nodes(schema["items"])


@pytest.mark.parametrize("kind", [Person, Model, Place])
def test_a_type_of_fields_goes_out_strict(kind: Any) -> None:
    sent = sent_for(kind)
    assert sent["strict"] is True
    for each in nodes(sent["schema"]):
        assert not {"default", "minLength", "maxLength", "examples"} & set(each)
        assert "$ref" in each or "anyOf" in each or "type" in each
        if each.get("type") == "object":
            assert each["additionalProperties"] is False
            assert each["required"] == list(each["properties"])


def test_strict_keeps_what_it_has_words_for() -> None:
    schema = sent_for(Person)["schema"]
    assert schema["description"] == "Somebody."
    assert schema["properties"]["name"] == {"type": "string", "description": "In full."}
    assert schema["properties"]["age"] == {"type": "integer", "minimum": 0, "maximum": 150}
    assert schema["properties"]["mood"] == {
        "enum": [1, "bad", "good"],
        "type": ["integer", "string"],
    }


def test_what_fits_the_strict_schema_fits_the_type() -> None:
    whole = {
        "name": "Ada",
        "age": 36,
        "colour": "green",
        "home": {"street": "Elm", "floor": 2},
        "friends": [],
        "mood": "bad",
    }
    jsonschema.validate(whole, sent_for(Person)["schema"])
    jsonschema.validate(whole, schema_of(Person))
    format = as_format(Person)
    assert format is not None
    home = Place(street="Elm", floor=2)
    ada = Person("Ada", 36, Colour.GREEN, home, [], "bad")
    assert format.decode(msgspec.json.encode(whole).decode()) == ada


@pytest.mark.parametrize(
    "schema",
    [
        schema_of(dict[str, int]),
        {"type": "object"},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"type": "object", "properties": {}, "patternProperties": {"^a": {"type": "string"}}},
        {"type": "object", "properties": {"a": {}}},
        {"type": "object", "properties": {"a": True}},
        {"type": "object", "properties": {}, "required": ["a"]},
        {"allOf": [{"type": "object"}], "type": "object", "properties": {}},
        {"type": "object", "properties": {"a": {"type": "array", "prefixItems": [{}]}}},
        {"type": "object", "properties": {"a": {"enum": [[1]]}}},
        {"type": "object", "properties": {"a": {"type": "array"}}},
        {"type": "object", "properties": {"a": {"type": ["object", "null"]}}},
        {"type": "object", "properties": {}, "anyOf": [{"required": ["a"]}]},
    ],
)
def test_what_strict_mode_has_no_words_for_goes_out_as_it_is(schema: Any) -> None:
    sent = response_format(schema)["json_schema"]
    assert (sent["strict"], sent["schema"]) == (False, schema)


def asked_and_said(server: ServerProcess, schema: Any, *chunks: str) -> tuple[Any, str]:
    """The schema of the request, and the text of the answer."""
    server.script("m", chunks=list(chunks))
    backend = OpenAIBackend("m", base_url=server.url)
    recorder = Recorder()
    recorder.to(backend.stream(Request((RequestMessage("user", "Go."),), Options(), schema)))
    assert recorder.ended.wait(PATIENCE)
    backend.close()
    assert recorder.terminals == ["completed"]
    sent = server.log("m")[-1]["body"]["response_format"]["json_schema"]
    assert sent["schema"]["type"] == "object"
    return sent["schema"], recorder.text


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Literal["good", "bad"], '"good"'),
        (list[int], "[1, 2, {}]"),
        (int | None, "null"),
        (list[Person], '[{"name": "}"}]'),
        (Colour, '"red"'),
    ],
)
def test_what_is_no_object_goes_out_in_one_and_comes_alone(
    kind: Any, text: str, server: ServerProcess
) -> None:
    said = f'{{"value": {text}}}'
    sent, came = asked_and_said(server, schema_of(kind), *said)
    assert sent["required"] == ["value"]
    assert came == text
    jsonschema.Draft202012Validator.check_schema(sent)


def test_a_server_that_does_not_constrain_may_leave_the_object_out(server: ServerProcess) -> None:
    assert asked_and_said(server, schema_of(list[int]), "[1", ", 2]")[1] == "[1, 2]"


def test_an_object_goes_as_it_is(server: ServerProcess) -> None:
    sent, came = asked_and_said(server, schema_of(Place), '{"value"', ': {"street": "Elm"}}')
    assert sorted(sent["properties"]) == ["floor", "street"]
    assert came == '{"value": {"street": "Elm"}}'


@pytest.mark.parametrize("root", ["#", "#/$defs/Tree", "#/anyOf/1"])
def test_references_lead_where_they_did(root: str, server: ServerProcess) -> None:
    tree = {"type": "array", "items": {"$ref": root}}
    schema = {"$defs": {"Tree": tree}, "anyOf": [{"type": "integer"}, tree]}
    sent, _ = asked_and_said(server, schema, "1")
    jsonschema.validate({"value": [[]]}, sent)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"value": [["x"]]}, sent)
