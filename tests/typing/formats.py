"""Typed use of formats and stubs: checked by mypy --strict and pyright, never run."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypedDict, assert_type

import msgspec
from pydantic import BaseModel

from mellea_rx import (
    ComputedThunk,
    MelleaSession,
    ModelOption,
    ModelOutputThunk,
    generative,
)
from mellea_rx.stdlib.components import Message
from mellea_rx.stdlib.formats import OutputFormat
from mellea_rx.stdlib.requirements import check, simple_validate
from mellea_rx.stdlib.sampling import RejectionSampling


@dataclass
class Person:
    name: str
    age: int


class Place(TypedDict):
    street: str


class Point(NamedTuple):
    x: int


class Count(msgspec.Struct):
    count: int


class Colour(enum.Enum):
    RED = "red"


class Model(BaseModel):
    name: str


async def a_verbs(m: MelleaSession) -> None:
    thunk = await m.ainstruct("Who is it?", format=Person, model_options={ModelOption.SEED: 7})
    assert_type(thunk, ModelOutputThunk[Person])
    assert_type(thunk.parsed, Person | None)
    assert_type(thunk.value, str | None)
    assert_type(await thunk, str)
    assert_type(await m.achat("Who is it?", format=Model), ComputedThunk[Model])
    assert_type(await m.aquery([1], "How many?", format=int), ModelOutputThunk[int])
    assert_type(await m.aact(Message("Hi."), format=Person), ModelOutputThunk[Person])
    assert_type(await m.aact(Message("Hi.")), ModelOutputThunk[str])
    counted = OutputFormat("a count", {"type": "integer"}, int)
    assert_type(await m.ainstruct("How many?", format=counted), ModelOutputThunk[int])
    assert_type(await m.ainstruct("Who is it?", format=None), ModelOutputThunk[str])
    assert_type(await m.ainstruct("Who is it?", format=str), ModelOutputThunk[str])


def verbs(m: MelleaSession) -> None:
    strategy = RejectionSampling(loop_budget=3)
    thunk = m.instruct("Who is it?", format=Person, strategy=strategy, requirements=["short"])
    assert_type(thunk, ComputedThunk[Person])
    assert_type(thunk.parsed, Person)
    assert_type(m.chat("Who is it?", format=Place), ComputedThunk[Place])
    assert_type(m.query([1], "How many?", format=Count), ComputedThunk[Count])
    assert_type(m.act(Message("Hi."), format=Point), ComputedThunk[Point])
    assert_type(m.instruct("Which?", format=Colour), ComputedThunk[Colour])
    assert_type(m.instruct("Who?", format=list[Person]), ComputedThunk[list[Person]])
    assert_type(m.instruct("Who?", format=dict[str, int]), ComputedThunk[dict[str, int]])


def without_a_type_of_its_own(m: MelleaSession) -> None:
    assert_type(m.instruct("Which?", format=Literal["a", "b"]), ComputedThunk[Any])
    assert_type(m.instruct("How many?", format=int | None), ComputedThunk[Any])
    assert_type(m.instruct("What?", format={"type": "object"}), ComputedThunk[Any])


@generative
def mood(text: str, language: str = "English") -> Literal["good", "bad"]:
    """What is the mood of the text?"""
    raise NotImplementedError


@generative
async def person(text: str) -> Person:
    """Who is it?"""
    raise NotImplementedError


@generative(preconditions=["It is short.", check("any", simple_validate(lambda o: bool(o)))])
def judged(text: str) -> int:
    """How long is the text?"""
    raise NotImplementedError


@generative(precondition_requirements="It is short.")
async def ajudged(text: str) -> int:
    """How long is the text?"""
    raise NotImplementedError


class Shop:
    @generative
    def rating(self, who: str) -> int:
        """How good is it?"""
        raise NotImplementedError

    @generative
    async def slogan(self) -> str:
        """Write a slogan."""
        raise NotImplementedError


async def generative_functions(m: MelleaSession) -> None:
    assert_type(mood(m, "a"), Literal["good", "bad"])
    assert_type(mood(m, text="a", language="German"), Literal["good", "bad"])
    assert_type(mood("a"), Literal["good", "bad"])
    assert_type(mood.start(m, text="a"), ModelOutputThunk[Literal["good", "bad"]])
    assert_type(mood.using(model_options={"top_k": 1})(text="a"), Literal["good", "bad"])
    assert_type(judged(m, "a"), int)
    assert_type(judged.using(preconditions=["It is kind."]).start(m, "a").parsed, int | None)
    assert_type(await ajudged(m, text="a"), int)
    assert_type(await person("a"), Person)
    assert_type(person.start("a").parsed, Person | None)
    assert_type(await person.using(require=True)(m, "a"), Person)


async def generative_methods(m: MelleaSession, shop: Shop) -> None:
    assert_type(shop.rating(m, "a"), int)
    assert_type(shop.rating(who="a"), int)
    assert_type(Shop.rating(m, shop, "a"), int)
    assert_type(await shop.slogan(m), str)
    assert_type(shop.slogan.start(m), ModelOutputThunk[str])
