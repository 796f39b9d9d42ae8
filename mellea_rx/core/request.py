"""What a backend is asked: frozen, and without a word of components, contexts or sessions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import Any, Literal, Protocol

from mellea_rx.core.chunk import ToolCall
from mellea_rx.core.image import Image
from mellea_rx.core.options import Options

__all__ = ["Request", "Role", "WireMessage", "begins", "images_of"]

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class WireMessage:
    """One message of a conversation, as servers take it.

    Attributes:
        role: Who speaks.
        content: What is said.
        images: The pictures that belong to it.
        tool_calls: The tool calls that an assistant asked for in it.
        tool_name: Whose result a tool's message is.
        tool_call_id: Which call it answers, where the server gave calls an id.
    """

    role: Role
    content: str
    images: tuple[Image, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_name: str = ""
    tool_call_id: str = ""


def begins(messages: Sequence[WireMessage]) -> bool:
    """Whether the last message is the assistant's: how the answer begins."""
    return bool(messages) and messages[-1].role == "assistant"


class _Illustrated(Protocol):
    """A message, before or after it is rendered."""

    @property
    def images(self) -> tuple[Image, ...]: ...


_images = attrgetter("images")


def images_of(messages: Iterable[_Illustrated]) -> tuple[Image, ...]:
    """All pictures of these messages."""
    return tuple(chain.from_iterable(map(_images, messages)))


@dataclass(frozen=True, slots=True)
class Request:
    """One generation, as a backend gets it.

    Attributes:
        messages: The conversation, the system prompt included, oldest first. Where the last one is
            the assistant's, the answer goes on from it (only with `Capabilities.continues`).
        options: The model options that are left for the backend.
        schema: A JSON schema that the answer has to fit; None for free text.
    """

    messages: tuple[WireMessage, ...]
    options: Options = field(default_factory=Options)
    schema: Mapping[str, Any] | None = None

    @property
    def prompt(self) -> str:
        """What the model is asked: the last message that is not how its answer begins."""
        index = -2 if len(self.messages) > 1 and begins(self.messages) else -1
        return self.messages[index].content

    @property
    def beginning(self) -> str:
        """How the answer begins; "" where that is left to the model."""
        return self.messages[-1].content if begins(self.messages) else ""

    @property
    def images(self) -> tuple[Image, ...]:
        """All its pictures."""
        return images_of(self.messages)
