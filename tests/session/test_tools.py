"""Tools out of functions: the schema from signature and docstring, and arguments against it."""

from __future__ import annotations

import datetime
import enum
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest

from mellea_rx import InvalidInputError, Tool, ToolCallError, tool


class Unit(enum.Enum):
    CELSIUS = "celsius"
    KELVIN = "kelvin"


@dataclass
class Place:
    city: str
    country: str = "NL"


class Span(TypedDict):
    first: int
    last: int


class Point(NamedTuple):
    x: float
    y: float


class Book(msgspec.Struct):
    title: str


class Author(pydantic.BaseModel):
    name: str


class Person(pydantic.BaseModel):
    author: Author
    age: int


def weather(place: Place, unit: Unit = Unit.CELSIUS, days: int | None = None) -> str:
    """The weather forecast.

    For any place on Earth.

    Args:
        place: Where.
        unit: Of temperatures.
    """
    return f"{place.city} {unit.name} {days}"


def of_type(kind: Any) -> Tool[..., Any]:
    def f(x: Any) -> Any:
        return x

    f.__annotations__["x"] = kind
    return Tool.from_callable(f)


def test_a_tool_is_read_from_its_function() -> None:
    made = Tool.from_callable(weather)
    assert made.name == "weather"
    assert made.description == "The weather forecast.\n\nFor any place on Earth."
    properties = made.parameters["properties"]
    assert properties["place"] == {"$ref": "#/$defs/Place", "description": "Where."}
    assert properties["unit"]["default"] == "celsius"
    assert properties["days"]["default"] is None
    assert made.parameters["required"] == ["place"]
    assert made.parameters["additionalProperties"] is False
    assert set(made.parameters["$defs"]) == {"Place", "Unit"}


GOOGLE = """Add.

Args:
    x: The first.
    y (int): The second.
"""
NUMPY = """Add.

Parameters
----------
x : int
    The first.
y : int
    The second.
"""
REST = """Add.

:param x: The first.
:param int y: The second.
"""


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, REST], ids=["google", "numpy", "rest"])
def test_docstrings_of_all_styles_describe_parameters(docstring: str) -> None:
    def add(x: int, y: int) -> int:
        return x + y

    add.__doc__ = docstring
    made = Tool.from_callable(add)
    assert made.description == "Add."
    described = {name: each["description"] for name, each in made.parameters["properties"].items()}
    assert described == {"x": "The first.", "y": "The second."}


def test_annotated_describes_and_constrains() -> None:
    @tool
    def f(x: Annotated[int, "The number."], y: Annotated[int, msgspec.Meta(ge=1)] = 1) -> None: ...

    assert f.parameters["properties"] == {
        "x": {"type": "integer", "description": "The number."},
        "y": {"type": "integer", "minimum": 1, "default": 1},
    }
    with pytest.raises(
        ToolCallError, match=r"tool 'f' do not fit: Expected `int` >= 1 - at `\$\.y`"
    ):
        f.bind({"x": 1, "y": 0})


@pytest.mark.parametrize(
    ("kind", "given", "taken"),
    [
        (int, 3, 3),
        (float, 3, 3.0),
        (str, "3", "3"),
        (bool, True, True),
        (int, "3", 3),
        (bool, "true", True),
        (int | None, None, None),
        (int | str, "3", "3"),
        (Literal["a", "b"], "b", "b"),
        (Unit, "kelvin", Unit.KELVIN),
        (list[int], [1, 2], [1, 2]),
        (dict[str, list[int]], {"a": [1]}, {"a": [1]}),
        (Place, {"city": "Delft"}, Place("Delft")),
        (list[Place], [{"city": "Delft"}], [Place("Delft")]),
        (Span, {"first": 1, "last": 2}, {"first": 1, "last": 2}),
        (Point, [1, 2], Point(1.0, 2.0)),
        (Book, {"title": "Ulysses"}, Book("Ulysses")),
        (datetime.date, "2026-11-24", datetime.date(2026, 11, 24)),
        (Any, {"a": [1]}, {"a": [1]}),
        (Person, {"author": {"name": "A"}, "age": 3}, Person(author=Author(name="A"), age=3)),
    ],
    ids=str,
)
def test_arguments_are_converted_to_the_functions_types(kind: Any, given: Any, taken: Any) -> None:
    value = of_type(kind).bind({"x": given})()
    assert value == taken
    assert type(value) is type(taken)


@pytest.mark.parametrize(
    ("kind", "arguments", "told"),
    [
        (int, {"x": "three"}, r"Expected `int`, got `str` - at `\$\.x`"),
        (int, {}, "missing required field `x`"),
        (int, {"x": 1, "z": 2}, "unknown field `z`"),
        (Literal["a"], {"x": "c"}, "Invalid enum value 'c'"),
        (list[Place], {"x": [{"country": "NL"}]}, r"`city` - at `\$\.x\[0\]`"),
        (Person, {"x": {"author": {}, "age": 3}}, r"(?s)author\.name.*at `\$\.x`"),
    ],
)
def test_arguments_that_do_not_fit_are_told_by_place(
    kind: Any, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(ToolCallError, match=told):
        of_type(kind).bind(arguments)


def test_defaults_are_the_functions_own() -> None:
    made = Tool.from_callable(weather)
    assert made.bind({"place": {"city": "Delft"}})() == "Delft CELSIUS None"

    marker = object()

    def with_odd_default(x: int = marker) -> bool:  # type: ignore[assignment]
        return x is marker

    odd = Tool.from_callable(with_odd_default)
    assert odd.parameters["properties"] == {"x": {"type": "integer"}}
    assert odd.bind({})() is True


def test_definitions_of_pydantic_models_are_found_from_the_top() -> None:
    schema = of_type(list[Person]).parameters
    assert "Author" in schema["$defs"]
    assert "$defs" not in schema["properties"]["x"]["items"]


def test_a_schema_says_nothing_that_llama_cpp_refuses() -> None:
    x = of_type(tuple[int, str]).parameters["properties"]["x"]
    assert (x["maxItems"], "items" in x) == (2, False)


def test_a_tool_is_still_its_function() -> None:
    @tool(name="sum-of", description="Add up.")
    def add(x: int, y: int = 2) -> int:
        """Something else."""
        return x + y

    assert (add(1), add(1, y=5)) == (3, 6)
    assert (add.name, add.description) == ("sum-of", "Add up.")
    assert add.json == {
        "type": "function",
        "function": {"name": "sum-of", "description": "Add up.", "parameters": add.parameters},
    }


class Shop:
    def price(self, item: str) -> int:
        """What it costs."""
        return len(item)


def test_bound_methods_partials_and_callable_objects_are_tools() -> None:
    class Adder:
        def __call__(self, x: int) -> int:
            return x + 1

    def power(base: int, exponent: int) -> int:
        """A power."""
        return int(base**exponent)

    assert Tool.from_callable(Shop().price).bind({"item": "tea"})() == 3
    assert Tool.from_callable(Adder()).bind({"x": 1})() == 2
    square = Tool.from_callable(functools.partial(power, exponent=2), name="square")
    assert (square.description, square.bind({"base": 3})()) == ("A power.", 9)
    no_arguments = Tool.from_callable(lambda: "now", name="now")
    assert no_arguments.parameters["properties"] == {}
    assert no_arguments.bind({})() == "now"


def untyped(x) -> None: ...  # type: ignore[no-untyped-def]


def with_args(*numbers: int) -> None: ...


def with_kwargs(**options: int) -> None: ...


def positional(x: int, /) -> None: ...


def unsupported(when: complex) -> None: ...


def called(back: Callable[[int], int]) -> None: ...


def endless(numbers: Iterable[int]) -> None: ...


def unknown(x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (untyped, "tool 'untyped': parameter 'x' has no type"),
        (Shop.price, "tool 'price': parameter 'self' has no type.*when it is bound"),
        (with_args, r"by name, which \*numbers: int cannot be"),
        (with_kwargs, r"by name, which \*\*options: int cannot be"),
        (positional, "by name, which x: int cannot be"),
        (unsupported, "parameter 'when' has a type that cannot be a JSON schema: .*complex"),
        (called, "parameter 'back' has a type.*Callable"),
        (endless, "parameter 'numbers' has a type.*Iterable"),
        (unknown, "tool 'unknown': a type .* 'Nowhere' is not defined"),
        (lambda: 1, "a tool cannot be called '<lambda>'"),
        (max, "tool 'max' has no signature"),
        (3, "made of a function, not int"),
    ],
)
def test_what_can_be_no_tool_is_refused_by_name(function: Any, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        tool(function)


@pytest.mark.parametrize("name", ["", "two words", "é", "x" * 65])
def test_names_that_servers_do_not_take_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be called"):
        Tool(name, "", {}, lambda: None)
