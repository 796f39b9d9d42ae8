"""`query` and `transform`: any object, by its public attributes and its text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from mellea_rx import InvalidInputError, MelleaSession, ScriptedBackend


def shown(obj: object, verb: str = "query") -> str:
    """The prompt about an object."""
    m = MelleaSession(ScriptedBackend("a"))
    getattr(m, verb)(obj, "What is it?")
    content: str = m.backend.requests[-1].messages[-1].content  # type: ignore[attr-defined]
    return content


@dataclass
class Recipe:
    name: str
    steps: list[str]
    _secret: str = "hidden"


class Account:
    currency = "EUR"

    def __init__(self) -> None:
        self.owner = "Ada"
        self._pin = "1234"

    @property
    def balance(self) -> int:
        return 42

    def close(self) -> None: ...


class Slotted:
    __slots__ = ("_b", "a")

    def __init__(self) -> None:
        self.a, self._b = "shown", "hidden"


class Written:
    def __str__(self) -> str:
        return "a text of its own"


@pytest.mark.parametrize("verb", ["query", "transform"])
def test_a_dataclass_shows_its_fields(verb: str) -> None:
    text = shown(Recipe("Soup", ["boil", "eat"]), verb)
    assert "Recipe" in text
    assert "- name: Soup" in text
    assert "- steps: ['boil', 'eat']" in text
    assert "hidden" not in text
    assert "What is it?" in text


def test_an_object_shows_attributes_and_properties() -> None:
    text = shown(Account())
    assert "- owner: Ada" in text
    assert "- balance: 42" in text
    assert "1234" not in text
    assert "close" not in text


def test_slots_are_attributes() -> None:
    text = shown(Slotted())
    assert "- a: shown" in text
    assert "hidden" not in text


def test_a_str_of_its_own_is_shown() -> None:
    assert "a text of its own" in shown(Written())


def test_a_dict_shows_its_items() -> None:
    text = shown({"colour": "red", 5: "five"})
    assert "- colour: red" in text
    assert "- 5: five" in text


@pytest.mark.parametrize("obj", ["plain text", 42, [1, 2], (1, 2), 3.5])
def test_values_are_shown_as_they_are(obj: object) -> None:
    assert str(obj) in shown(obj)


def test_what_looks_like_a_template_stays_what_it_is() -> None:
    assert "{{7*7}}" in shown("{{7*7}}")
    assert "{{7*7}}" in shown({"a": "{{7*7}}"})
    assert "- {{7*7}}: x" in shown({"{{7*7}}": "x"})
    assert "{% raw %}" in shown(Recipe("{% raw %}", []))


def test_a_property_that_cannot_be_read_does_not_hide_the_others() -> None:
    class Lazy:
        here = property(lambda self: "here")

        @property
        def gone(self) -> str:
            raise AttributeError("not loaded yet")

    text = shown(Lazy())
    assert "- here: here" in text


def test_a_property_that_raises_anything_does_not_hide_the_others() -> None:
    class Broken:
        here = property(lambda self: "here")

        @property
        def bad(self) -> str:
            raise ZeroDivisionError("oops")

    assert "- here: here" in shown(Broken())


@pytest.mark.parametrize("verb", ["query", "transform"])
def test_an_object_that_shows_nothing_is_refused(verb: str) -> None:
    class Opaque:
        def __init__(self) -> None:
            self._inside = 1

    with pytest.raises(InvalidInputError, match="Opaque"):
        shown(Opaque(), verb)


@pytest.mark.parametrize("obj", [None, object(), lambda: None])
def test_nothing_at_all_is_refused(obj: Any) -> None:
    with pytest.raises(InvalidInputError):
        shown(obj)


def test_the_object_is_left_alone() -> None:
    recipe = Recipe("{{name}}", ["boil"])
    shown(recipe)
    assert recipe == Recipe("{{name}}", ["boil"])


def test_the_results_text_is_the_value() -> None:
    m = MelleaSession(ScriptedBackend("shorter"))
    assert m.transform("a long text", "Shorten it.").value == "shorter"
    assert "Shorten it." in m.backend.requests[-1].messages[-1].content  # type: ignore[attr-defined]
