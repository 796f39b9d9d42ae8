"""llama.cpp accepts the schema of every kind of type; otherwise its message is in the error."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import msgspec
import pytest
from pydantic import BaseModel

from mellea_rx import BadRequestError, FormatError, LocalBackend, MelleaSession, ModelOption


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Place(TypedDict):
    street: str
    floor: NotRequired[int]


class Point(NamedTuple):
    x: int
    y: int = 0


class Tree(msgspec.Struct):
    size: Annotated[int, msgspec.Meta(ge=0, le=9)]
    parts: list[Tree] = []


class Model(BaseModel):
    name: str
    parts: list[Model] = []


@dataclass
class Person:
    name: Annotated[str, msgspec.Meta(pattern="^[A-Z][a-z]+$", max_length=8)]
    colour: Colour = Colour.RED
    home: Place | None = None
    trees: dict[str, Tree] = field(default_factory=dict)


@pytest.mark.parametrize(
    "kind",
    [
        *(Person, Place, Point, Tree, Model, Colour, list[Person], dict[str, Model]),
        *(Literal["a", "b"], Literal["a", 1], int, float, bool, int | str, Person | None),
        *(tuple[int, str], {"type": "object", "properties": {"a": {"const": 5}}}),
    ],
)
def test_it_takes_the_schema_of(kind: Any, tiny_model: Path) -> None:
    # The weights are random: the text does not matter, but that any text is possible does.
    options = {ModelOption.MAX_NEW_TOKENS: 3, ModelOption.SEED: 1}
    with MelleaSession(LocalBackend(tiny_model), model_options=options) as m:
        try:
            m.instruct("Go.", format=kind, strategy=None)
        except FormatError as error:
            told = str(error)
        else:
            told = "it fits"
    assert "ends before the JSON does" in told or told == "it fits"


@pytest.mark.parametrize("how", [{}, {"strategy": None}])
def test_a_schema_that_it_does_not_take_is_named_with_its_words(
    how: dict[str, Any], tiny_model: Path
) -> None:
    pair = {"title": "Pair", "type": "array", "prefixItems": [{"type": "integer"}], "items": False}
    with MelleaSession(LocalBackend(tiny_model)) as m, pytest.raises(BadRequestError) as caught:
        m.instruct("Go.", format=pair, **how)
    assert "schema must be an object" in str(caught.value)
    assert "format=JSON schema 'Pair'" in str(caught.value)
