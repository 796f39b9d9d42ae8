"""`StreamContext`: the answer before the unit that a streaming validation judges."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, overload

from mellea_rx.core.types.chunk import ToolCall


class Units(Sequence[str]):
    """The units of an answer so far: a view of a list that only grows, with a fixed length.

    Args:
        units: The list.
    """

    __slots__ = ("_size", "_units")

    def __init__(self, units: list[str]) -> None:
        self._units = units
        self._size = len(units)

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        # A range knows what a negative index and a slice mean for this length.
        at = range(self._size)[index]
        if isinstance(at, int):
            return self._units[at]
        return [self._units[each] for each in at]

    def __repr__(self) -> str:
        return repr(self._units[: self._size])


@dataclass(frozen=True, slots=True)
class StreamContext:
    """The answer before a unit, for a streaming validation that takes two arguments.

    Example:
        >>> def no_repetition(unit: str, so_far: StreamContext) -> bool:
        ...     return unit not in so_far.units

    Attributes:
        units: The units before this one.
        attempt: The number of the attempt, from 1.
        tool_calls: The tool calls that the model asked for so far.
        seconds: The time since the attempt began, in seconds.
    """

    units: Sequence[str]
    attempt: int
    tool_calls: tuple[ToolCall, ...]
    seconds: float

    @property
    def text(self) -> str:
        """The text before this unit."""
        return "".join(self.units)


def takes_context(function: Callable[..., Any]) -> bool:
    """Whether a streaming validation takes a `StreamContext` besides the unit.

    It does where it has a second positional parameter that has no default, or is called `so_far`.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature
        return False
    by_place = [
        each
        for each in parameters
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    if len(by_place) < 2:
        return False
    second = by_place[1]
    return second.default is second.empty or second.name == "so_far"
