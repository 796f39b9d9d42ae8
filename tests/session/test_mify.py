"""`mify`: what a model sees of an object, and what its class stays."""

from __future__ import annotations

import copy
import dataclasses
import enum
import pickle
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
import pytest

from mellea_rx import (
    CallbackError,
    InvalidInputError,
    MelleaSession,
    ScriptedBackend,
    TemplateError,
    mify,
)
from mellea_rx.stdlib.components import Mified


def shown(obj: object, verb: str = "query") -> str:
    """The lines of a prompt that are about an object."""
    m = MelleaSession(ScriptedBackend("a"))
    getattr(m, verb)(obj, "What is it?")
    content: str = m.backend.requests[-1].messages[-1].content  # type: ignore[attr-defined]
    return content.split("\n\n", 1)[1].rsplit("\n\n", 1)[0]


@mify(fields_exclude={"margin"})
@dataclass
class Offer:
    name: str
    price: float
    margin: float = 0.4


@mify(fields_include={"owner", "_note", "balance", "kind"})
class Account:
    kind = "savings"

    def __init__(self) -> None:
        self.owner = "Ada"
        self.pin = "1234"
        self._note = "kept"

    @property
    def balance(self) -> int:
        return 42

    @cached_property
    def history(self) -> str:
        return "long"


# Fields.


@pytest.mark.parametrize("verb", ["query", "transform"])
def test_excluded_fields_are_not_shown(verb: str) -> None:
    assert shown(Offer("Tea", 3.5), verb) == "Offer\n- name: Tea\n- price: 3.5"


def test_only_included_fields_are_shown_also_private_ones() -> None:
    assert set(shown(Account()).splitlines()) == {
        *("Account", "- owner: Ada", "- _note: kept", "- balance: 42", "- kind: savings"),
    }


def test_without_a_word_all_public_fields_are_shown() -> None:
    @mify
    class Plain:
        def __init__(self) -> None:
            self.a, self._b = 1, 2

    assert shown(Plain()) == "Plain\n- a: 1"


def test_an_own_text_would_tell_what_is_excluded_and_so_is_left_out() -> None:
    class Told:
        def __init__(self) -> None:
            self.a, self.pin = 1, "1234"

        def __str__(self) -> str:
            return f"my pin is {self.pin}"

    assert shown(mify(Told(), fields_exclude={"pin"})) == "Told\n- a: 1"
    assert "1234" in shown(mify(Told()))
    assert shown(mify(Told(), stringify=str)) == "my pin is 1234"


def test_a_subclass_is_described_as_its_base_is() -> None:
    @dataclass
    class Special(Offer):
        until: str = "May"

    assert shown(Special("Tea", 3.5)) == "Special\n- name: Tea\n- price: 3.5\n- until: May"


def test_one_object_is_described_by_a_view_and_left_alone() -> None:
    offer = Offer("Tea", 3.5)
    view = mify(offer, fields_include={"name"})
    assert isinstance(view, Mified)
    assert shown(view) == "Offer\n- name: Tea"
    assert view.obj is offer
    assert shown(offer) == "Offer\n- name: Tea\n- price: 3.5"
    assert vars(offer) == {"name": "Tea", "price": 3.5, "margin": 0.4}


def test_a_view_of_a_view_is_of_the_object() -> None:
    view = mify(mify(Offer("Tea", 3.5), fields_include={"name"}), fields_include={"margin"})
    assert shown(view) == "Offer\n- margin: 0.4"


def test_an_objects_own_attributes_count() -> None:
    offer: Any = Offer("Tea", 3.5)
    offer.colour = "green"
    assert shown(mify(offer, fields_include={"colour"})) == "Offer\n- colour: green"


def test_a_view_goes_into_a_prompt_like_any_value() -> None:
    backend = ScriptedBackend("a")
    view = mify(Offer("Tea", 3.5), fields_include={"name"})
    MelleaSession(backend).instruct("Sell this: {{it}}", user_variables={"it": view})
    assert backend.requests[0].messages[0].content == "Sell this: Offer\n- name: Tea"


# How it reads.


def test_stringify_is_what_is_shown() -> None:
    view = mify(Offer("Tea", 3.5), stringify=lambda offer: f"{offer.name} {{{{7*7}}}}")
    assert shown(view) == "Tea {{7*7}}"


def test_a_template_is_of_the_fields_that_are_shown() -> None:
    view = mify(Offer("{{7*7}}", 3.5), template="{{ name }} for {{ price }} euros")
    assert shown(view) == "{{7*7}} for 3.5 euros"


@pytest.mark.parametrize("verb", ["query", "transform"])
def test_a_template_cannot_read_what_is_excluded(verb: str) -> None:
    view = mify(Offer("Tea", 3.5), fields_exclude={"margin"}, template="{{ margin }}")
    with pytest.raises(TemplateError, match="margin"):
        shown(view, verb)


def test_a_stringify_that_raises_is_an_error_that_says_so() -> None:
    with pytest.raises(CallbackError, match="stringify of Offer raised KeyError: 'x'"):
        shown(mify(Offer("Tea", 3.5), stringify=lambda offer: {}["x"]))


def test_a_stringify_that_gives_no_text_is_refused() -> None:
    wrong: Any = lambda offer: 5  # noqa: E731
    with pytest.raises(InvalidInputError, match="must return a str, not int"):
        shown(mify(Offer("Tea", 3.5), stringify=wrong))


@pytest.mark.parametrize("verb", ["query", "transform"])
def test_an_object_of_which_nothing_is_left_is_refused(verb: str) -> None:
    view = mify(Offer("Tea", 3.5), fields_include=())
    with pytest.raises(InvalidInputError, match=r"Offer shows nothing.*mify leaves none"):
        shown(view, verb)


# Objects within objects.


@mify(fields_include={"offers", "best", "by_day", "of"})
class Shop:
    def __init__(self, *offers: Offer) -> None:
        self.offers = list(offers)
        self.best = offers[0]
        self.by_day = {"Monday": offers[-1]}
        self.of: Shop | None = None


def test_objects_within_objects_are_shown_as_they_are_described() -> None:
    shop = Shop(Offer("Tea", 3.5), Offer("Cake\nwith cream", 2.5))
    assert shown(shop).splitlines() == [
        "Shop",
        "- offers: list",
        "  - 1: Offer",
        "    - name: Tea",
        "    - price: 3.5",
        "  - 2: Offer",
        "    - name: Cake",
        "      with cream",
        "    - price: 2.5",
        "- best: Offer",
        "  - name: Tea",
        "  - price: 3.5",
        "- by_day: dict",
        "  - Monday: Offer",
        "    - name: Cake",
        "      with cream",
        "    - price: 2.5",
        "- of: None",
    ]


@pytest.mark.parametrize("wrap", [list, tuple, lambda offers: {"a": offers[0]}])
def test_containers_of_objects_may_be_asked_about(wrap: Any) -> None:
    text = shown(wrap([Offer("Tea", 3.5)]))
    assert "  - name: Tea" in text
    assert "margin" not in text


def test_an_object_within_itself_is_named() -> None:
    shop = Shop(Offer("Tea", 3.5))
    shop.of = shop
    assert shown(shop).endswith("- of: Shop (above)")


def test_an_object_within_that_shows_nothing_is_named() -> None:
    shop = Shop(Offer("Tea", 3.5))
    shop.best = mify(shop.best, fields_include=())  # type: ignore[assignment]
    assert "- best: Offer\n- by_day" in shown(shop)


# Names.


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"fields_exclude": {"marign"}}, "fields_exclude names 'marign', .* mean 'margin'"),
        ({"fields_include": {"zzz"}}, r"'zzz', which Item does not have \(it has .*'name'"),
        ({"fields_include": {"sell"}}, "fields_include names 'sell'"),
        ({"methods_include": {"sel"}}, "methods_include names 'sel', .* mean 'sell'"),
        ({"methods_include": {"name"}}, "methods_include names 'name'"),
        ({"methods_exclude": {"buy"}}, "methods_exclude names 'buy'"),
        ({"fields_include": "name"}, "must be a set of names, not 'name'"),
        ({"fields_include": 5}, "must be a set of names, not 5"),
        ({"fields_include": {"name"}, "fields_exclude": {"price"}}, "not both"),
        ({"methods_include": (), "methods_exclude": ()}, "not both"),
        ({"stringify": str, "template": "x"}, "not both"),
        ({"stringify": "x"}, "stringify must be a function"),
        ({"template": str}, "template must be a str"),
    ],
)
@pytest.mark.parametrize("of", ["class", "object"])
def test_what_cannot_be_is_refused_at_once(of: str, how: Any, told: str) -> None:
    class Item:
        def __init__(self) -> None:
            self.name, self.margin = "a", 1

        def sell(self) -> None:
            """Sell it."""

    with pytest.raises(InvalidInputError, match=told):
        mify(**how)(Item) if of == "class" else mify(Item(), **how)


def test_an_argument_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="field_exclude"):
        mify(field_exclude={"pin"})  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("wrong", [None, 5, "text", [1], len, lambda: 1, object(), pickle])
def test_what_has_no_fields_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="mify takes a class or an object with fields"):
        mify(wrong)


def test_a_class_that_takes_no_attributes_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="int, which takes no attributes"):
        mify(int)


def test_names_may_come_from_anywhere_in_the_class() -> None:
    class Base:
        declared: str

        def later(self) -> None:
            self.found = 1

    @mify(fields_exclude={"declared", "found", "slot", "computed", "cached", "constant"})
    class Known(Base):
        __slots__ = ("slot",)
        constant = 5

        @property
        def computed(self) -> int:
            return 1

        @cached_property
        def cached(self) -> int:
            return 1

    assert isinstance(Known, type)


# What it stays.


class Colour(NamedTuple):
    name: str
    code: int


class Level(enum.Enum):
    LOW = 1


class Struct(msgspec.Struct, frozen=True):
    name: str
    code: int


@mify(fields_exclude={"code"})
@dataclass(frozen=True, slots=True)
class Slotted:
    name: str
    code: int = field(default=5)


@dataclass(slots=True)
@mify(fields_exclude={"code"})
class SlottedAfter:
    name: str
    code: int = 5


@pytest.mark.parametrize("obj", [Slotted("a"), SlottedAfter("a"), Offer("a", 1.0), Account()])
def test_its_objects_are_what_they_were(obj: Any) -> None:
    copied = pickle.loads(pickle.dumps(obj))
    assert type(copied) is type(obj)
    assert shown(copied) == shown(copy.deepcopy(obj)) == shown(obj)
    if dataclasses.is_dataclass(obj):
        assert copied == obj
        assert next(each.name for each in dataclasses.fields(obj)) == "name"
        assert dataclasses.asdict(obj)["name"] == "a"  # type: ignore[arg-type]


@pytest.mark.parametrize("obj", [Slotted("a"), SlottedAfter("a")])
def test_slots_stay_slots(obj: Any) -> None:
    assert not hasattr(obj, "__dict__")
    assert shown(obj) == f"{type(obj).__name__}\n- name: a"


@pytest.mark.parametrize("kind", [Colour, Struct])
def test_other_kinds_of_records_can_be_described(kind: Any) -> None:
    assert shown(mify(kind("red", 7), fields_exclude={"code"})) == f"{kind.__name__}\n- name: red"
    sub = mify(fields_exclude={"code"})(type("Sub", (kind,), {}))
    assert shown(sub("red", 7)) == "Sub\n- name: red"


def test_an_enum_can_be_described() -> None:
    assert shown(mify(Level.LOW, stringify=lambda level: level.name.lower())) == "low"


def test_a_dict_can_be_described() -> None:
    assert shown(mify({"a": 1, "pin": 2}, fields_exclude={"pin"})) == "dict\n- a: 1"
