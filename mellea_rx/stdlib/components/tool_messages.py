"""`ToolMessages`: the component of the results of several tool calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mellea_rx.core.component import Said, Template, TextComponent
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.components.message import ToolMessage

__all__ = ["ToolMessages"]

_LINES = "{{ messages | join('\n') }}"


@dataclass(frozen=True, slots=True)
class ToolMessages(TextComponent):
    """The results of `call_tools`, from which the model goes on: `m.act(ToolMessages(results))`.

    Attributes:
        messages: The results, in the order of their calls.

    Raises:
        InvalidInputError: There are none, or something is not a `ToolMessage`.
    """

    messages: Iterable[ToolMessage]

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", tuple(self.messages))
        if not self.messages:
            raise InvalidInputError("there are no results of tools: the model called none")
        for each in self.messages:
            if not isinstance(each, ToolMessage):
                raise InvalidInputError(
                    f"messages are what call_tools returned, not {type(each).__name__}"
                )

    def template(self) -> Template:
        """The results, one a line."""
        return Template(_LINES, {"messages": list(self.messages)})

    def said(self) -> tuple[Said, ...]:
        """A message for each."""
        return tuple(said for each in self.messages for said in each.said())
