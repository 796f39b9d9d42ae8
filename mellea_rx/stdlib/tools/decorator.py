"""`@tool`: makes a tool of a function. For users."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, overload

from mellea_rx.core.types.tool import Tool

P = ParamSpec("P")
R = TypeVar("R")


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    *, name: str | None = None, description: str | None = None
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
) -> Tool[P, R] | Callable[[Callable[P, R]], Tool[P, R]]:
    """Make a tool of a function: `@tool`, or `@tool(name=..., description=...)`.

    Its name, description and parameters are read from the function; see `Tool.from_callable`.
    Calling the tool calls the function.

    Example:
        >>> @tool
        ... def double(number: int) -> int:
        ...     '''Twice a number.'''
        ...     return 2 * number
        >>> double(4), double.name, double.description
        (8, 'double', 'Twice a number.')

    Raises:
        InvalidInputError: A parameter has no type, cannot be passed by name, or has a type that
            JSON does not have; the message names it.
    """

    def make(function: Callable[P, R]) -> Tool[P, R]:
        return Tool.from_callable(function, name=name, description=description)

    return make if function is None else make(function)
