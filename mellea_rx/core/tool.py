"""What a model may ask to have called: a function, and what a model is told of it."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pickle import PicklingError
from typing import Any, Generic, ParamSpec, Self, TypeAlias, TypeVar

from mellea_rx.core.arguments import name_of
from mellea_rx.core.chunk import ToolCall
from mellea_rx.core.signature import documented, signature_of
from mellea_rx.errors import InvalidInputError, ToolCallError, ToolError

__all__ = [
    "Offer",
    "Tool",
    "ToolResult",
    "described",
    "described_name",
    "merged_tools",
    "offer_of",
    "offered",
]

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Tool(Generic[P, R_co]):
    """A function that a model may ask to have called.

    It is still the function: calling it calls it.

    Example:
        >>> def area(width: float, height: float = 1.0) -> float:
        ...     '''The area of a rectangle, in square metres.'''
        ...     return width * height
        >>> tool = Tool.from_callable(area)
        >>> tool.description, sorted(tool.parameters["properties"])
        ('The area of a rectangle, in square metres.', ['height', 'width'])
        >>> tool.bind({"width": 3.0})()
        3.0

    Attributes:
        name: What the model calls it: letters, digits, "_" and "-", at most 64.
        description: What it does, for the model.
        parameters: A JSON schema of its arguments: an object.
        function: What is called; sync or async.
        convert: The model's arguments into the function's; raises ValueError where they do not
            fit.

    Raises:
        InvalidInputError: The name is none that servers take.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    function: Callable[P, R_co]
    convert: Callable[[Mapping[str, Any]], Mapping[str, Any]] = field(default=dict, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise InvalidInputError(
                f"a tool cannot be called {self.name!r}: give it a name= of letters, digits, '_' "
                "and '-', 64 at most"
            )

    @staticmethod
    def from_callable(
        function: Callable[Q, T],
        *,
        name: str | None = None,
        description: str | None = None,
    ) -> Tool[Q, T]:
        """A tool from a function's signature and docstring.

        Args:
            function: Any callable whose parameters have types; sync or async.
            name: The function's own by default.
            description: What its docstring (Google's, NumPy's or reST's style) says by default;
                what that says of the parameters goes into the schema.

        Raises:
            InvalidInputError: A parameter without a type, one that cannot be given by name, or a
                type that JSON does not have; the message names it.
        """
        if not callable(function):
            raise InvalidInputError(f"a tool is made of a function, not {type(function).__name__}")
        known = name or name_of(function)
        said = documented(function)
        taken = signature_of(function, known, said.parameters)
        text = said.text if description is None else description
        return Tool(known, text, taken.schema, function, taken.convert)

    def __reduce__(self) -> tuple[Any, ...]:
        """By name, as functions are pickled: this tool, or the function that it is made of.

        Raises:
            PicklingError: Neither is at the top level of a module.
        """
        module = getattr(self.function, "__module__", None) or ""
        path = getattr(self.function, "__qualname__", "")
        found = _found(module, path)
        if found is self:
            return _found, (module, path)
        if found is not self.function:
            raise PicklingError(
                f"tool {self.name!r} cannot be pickled: define its function at the top level of a "
                "module, so that it can be found there by its name"
            )
        return _remade, (self.function, self.name, self.description)

    def __deepcopy__(self, _: object) -> Self:
        """Itself: it does not change."""
        return self

    @property
    def json(self) -> dict[str, Any]:
        """What servers are told of it."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }
        return {"type": "function", "function": function}

    def bind(self, arguments: Mapping[str, Any]) -> partial[R_co]:
        """The function with a model's arguments: checked, converted, not yet called.

        Raises:
            ToolCallError: They do not fit; the message says what, and where.
        """
        try:
            converted = self.convert(arguments)
        except ValueError as error:
            raise ToolCallError(
                f"the arguments of tool {self.name!r} do not fit: {error}"
            ) from None
        except Exception as error:  # code of the user's: a type's own validation
            raise ToolCallError(
                f"the arguments of tool {self.name!r} cannot be converted: "
                f"{type(error).__name__}: {error}"
            ) from error
        return partial(self.function, **converted)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """What the function returns."""
        return self.function(*args, **kwargs)


def _found(module: str, path: str) -> Any:
    """What a module has at a path of names; None where there is nothing."""
    here: Any = sys.modules.get(module)
    if here is None and module:
        here = import_module(module)
    for name in path.split("."):
        here = getattr(here, name, None)
    return here


def _remade(function: Callable[..., Any], name: str, description: str) -> Tool[..., Any]:
    return Tool.from_callable(function, name=name, description=description)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What became of a tool call.

    Attributes:
        call: What the model asked for.
        content: What it is told: the value as text, or what was wrong.
        value: What the function returned.
        error: Why there is no value: a `ToolCallError`, or a `ToolError` with what the function
            raised as its cause.
    """

    call: ToolCall
    content: str
    value: Any = None
    error: ToolCallError | ToolError | None = None


def offered(given: Iterable[Any]) -> tuple[Tool[..., Any] | Mapping[str, Any], ...]:
    """What a call offers: tools, functions (made into tools) and JSON descriptions.

    Raises:
        InvalidInputError: Something else, a function that can be no tool, or two of one name.
    """
    if not isinstance(given, Iterable) or isinstance(given, (str, Mapping)):
        name = getattr(given, "name", None) or getattr(given, "__name__", type(given).__name__)
        raise InvalidInputError(f"tools are a list of tools, not {name} alone: give [{name}]")
    each = tuple(_offered(one) for one in given)
    names = Counter(name for one in each if (name := described_name(described(one))))
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise InvalidInputError(f"two tools are called {twice[0]!r}: give one of them another name")
    return each


def _offered(given: Any) -> Tool[..., Any] | Mapping[str, Any]:
    if isinstance(given, (Tool, Mapping)):
        return given
    if callable(given):
        return Tool.from_callable(given)
    raise InvalidInputError(
        f"a tool is a Tool, a function or a JSON description, not {type(given).__name__}"
    )


def described(one: Tool[..., Any] | Mapping[str, Any]) -> Mapping[str, Any]:
    """What servers are told of a tool."""
    return one.json if isinstance(one, Tool) else one


def described_name(description: Mapping[str, Any]) -> str:
    """The name in a JSON description; "" where it has none (it is the server's own)."""
    function = description.get("function")
    return str(function.get("name", "")) if isinstance(function, Mapping) else ""


Offer: TypeAlias = "tuple[Sequence[Mapping[str, Any]], tuple[Tool[..., Any], ...]]"
"""The JSON descriptions of tools, and those of the tools that can be called."""


def offer_of(given: Iterable[Any]) -> Offer:
    """The offer of tools, functions and JSON descriptions.

    Raises:
        InvalidInputError: As `offered`.
    """
    known = offered(given)
    return [described(each) for each in known], tuple(
        each for each in known if isinstance(each, Tool)
    )


def merged_tools(
    base: Offer, added: Offer
) -> tuple[list[Mapping[str, Any]], tuple[Tool[..., Any], ...]]:
    """Both offers; of two tools with one name, the added one."""
    names = {described_name(each) for each in added[0]} - {""}
    kept = [each for each in base[0] if described_name(each) not in names and each not in added[0]]
    tools = tuple(each for each in base[1] if each.name not in names)
    return [*kept, *added[0]], (*tools, *added[1])
