"""`Tool`: a function that a model may ask to call, with its description for the model.

`Options` holds the tools of a call; `stdlib.tools` runs their calls.
"""

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

from mellea_rx.core.types.chunk import ToolCall
from mellea_rx.core.types.function_schema import documented, signature_of
from mellea_rx.core.types.validation import name_of
from mellea_rx.errors import InvalidInputError, ToolCallError, ToolError

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Tool(Generic[P, R_co]):
    """A function that a model may ask to call.

    Calling the tool calls the function.

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
        name: Its name for the model: letters, digits, "_" and "-", at most 64.
        description: Its description for the model.
        parameters: The JSON schema of its arguments: an object.
        function: The function; sync or async.
        convert: Converts the model's arguments into the function's; raises ValueError where they
            do not fit.

    Raises:
        InvalidInputError: Servers do not accept the name.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    function: Callable[P, R_co]
    # Made of the function, anew each time: tools of one function are equal.
    convert: Callable[[Mapping[str, Any]], Mapping[str, Any]] = field(
        default=dict, repr=False, compare=False
    )

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
            description: By default that of the docstring (Google, NumPy or reST style), whose
                descriptions of parameters go into the schema.

        Raises:
            InvalidInputError: A parameter has no type, cannot be passed by name, or has a type
                that JSON does not have; the message names it.
        """
        if not callable(function):
            raise InvalidInputError(f"a tool is made of a function, not {type(function).__name__}")
        known = name or name_of(function)
        doc = documented(function)
        signature = signature_of(function, known, doc.parameters)
        text = doc.text if description is None else description
        return Tool(known, text, signature.schema, function, signature.convert)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name, as functions are pickled: this tool, or the function that it is made of.

        Raises:
            PicklingError: Neither of them is at the top level of a module.
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
        """The same tool, since it is immutable."""
        return self

    @property
    def json(self) -> dict[str, Any]:
        """Its description as servers take it."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }
        return {"type": "function", "function": function}

    def bind(self, arguments: Mapping[str, Any]) -> partial[R_co]:
        """The function with a model's arguments, checked and converted; it is not called yet.

        Raises:
            ToolCallError: They do not fit; the message says where and why.
        """
        try:
            converted = self.convert(arguments)
        except ValueError as error:
            raise ToolCallError(
                f"the arguments of tool {self.name!r} do not fit: {error}"
            ) from None
        except Exception as error:  # a type's own validation is the user's code
            raise ToolCallError(
                f"the arguments of tool {self.name!r} cannot be converted: "
                f"{type(error).__name__}: {error}"
            ) from error
        return partial(self.function, **converted)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function."""
        return self.function(*args, **kwargs)


def _found(module: str, path: str) -> Any:
    """The object at a path of names in a module; None where there is none."""
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
    """The result of a tool call.

    Attributes:
        call: The call that the model asked for.
        content: The text for the model: the value, or the error's message.
        value: The function's return value.
        error: The reason where there is no value: a `ToolCallError`, or a `ToolError` whose cause
            is the function's exception.
    """

    call: ToolCall
    content: str
    value: Any = None
    error: ToolCallError | ToolError | None = None


def normalize_tools(given: Iterable[Any]) -> tuple[Tool[..., Any] | Mapping[str, Any], ...]:
    """The tools of a call, with functions made into tools; JSON descriptions stay as they are.

    Raises:
        InvalidInputError: Something else, a function that cannot be a tool, or two of one name.
    """
    if not isinstance(given, Iterable) or isinstance(given, (str, Mapping)):
        name = getattr(given, "name", None) or getattr(given, "__name__", type(given).__name__)
        raise InvalidInputError(f"tools are a list of tools, not {name} alone: give [{name}]")
    each = tuple(_offered(one) for one in given)
    names = Counter(name for one in each if (name := tool_name(tool_schema(one))))
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


def tool_schema(one: Tool[..., Any] | Mapping[str, Any]) -> Mapping[str, Any]:
    """The JSON description of a tool, as servers take it."""
    return one.json if isinstance(one, Tool) else one


def tool_name(description: Mapping[str, Any]) -> str:
    """The name in a JSON description; "" where it has none (a kind of tool of one server)."""
    function = description.get("function")
    return str(function.get("name", "")) if isinstance(function, Mapping) else ""


Offer: TypeAlias = "tuple[Sequence[Mapping[str, Any]], tuple[Tool[..., Any], ...]]"
"""The JSON descriptions of some tools, and the callable ones among these tools."""


def offer_of(given: Iterable[Any]) -> Offer:
    """The `Offer` of tools, functions and JSON descriptions.

    Raises:
        InvalidInputError: As `normalize_tools`.
    """
    known = normalize_tools(given)
    return [tool_schema(each) for each in known], tuple(
        each for each in known if isinstance(each, Tool)
    )


def merged_tools(
    base: Offer, added: Offer
) -> tuple[list[Mapping[str, Any]], tuple[Tool[..., Any], ...]]:
    """Both offers together; of two tools with one name, the added one."""
    names = {tool_name(each) for each in added[0]} - {""}
    kept = [each for each in base[0] if tool_name(each) not in names and each not in added[0]]
    tools = tuple(each for each in base[1] if each.name not in names)
    return [*kept, *added[0]], (*tools, *added[1])
