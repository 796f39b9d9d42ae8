"""`Request`: the frozen value that a backend gets, without components, contexts or sessions.

Formatters make requests, pipelines change copies of them, backends send them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import Any, Literal, Protocol

from mellea_rx.core.types.chunk import ToolCall
from mellea_rx.core.types.image import Image
from mellea_rx.core.types.options import Options

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class RequestMessage:
    """One message of a conversation, as servers take it.

    Attributes:
        role: The role of its sender.
        content: Its text.
        images: The pictures that belong to it.
        tool_calls: The tool calls that an assistant's message asks for.
        tool_name: The tool's name, in a message with a tool's result.
        tool_call_id: The id of the call that this result belongs to, where calls have ids.
    """

    role: Role
    content: str
    images: tuple[Image, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_name: str = ""
    tool_call_id: str = ""


def has_prefill(messages: Sequence[RequestMessage]) -> bool:
    """Whether the last message is a prefill: an assistant's, which the answer goes on from."""
    return bool(messages) and messages[-1].role == "assistant"


class _Illustrated(Protocol):
    """A message with images, before or after it is rendered."""

    @property
    def images(self) -> tuple[Image, ...]: ...


_images = attrgetter("images")


def images_of(messages: Iterable[_Illustrated]) -> tuple[Image, ...]:
    """All pictures of some messages."""
    return tuple(chain.from_iterable(map(_images, messages)))


@dataclass(frozen=True, slots=True)
class Request:
    """One generation, as a backend gets it.

    Attributes:
        messages: The conversation, the system prompt included, oldest first. An assistant's
            message at the end is a prefill: the answer goes on from it (only with
            `Capabilities.prefill`).
        options: The model options for the backend.
        schema: A JSON schema that the answer has to fit; None for free text.
    """

    messages: tuple[RequestMessage, ...]
    options: Options = field(default_factory=Options)
    schema: Mapping[str, Any] | None = None

    @property
    def prompt(self) -> str:
        """The text of the last message that is not a prefill."""
        index = -2 if len(self.messages) > 1 and has_prefill(self.messages) else -1
        return self.messages[index].content

    @property
    def prefill(self) -> str:
        """The prefill: text that the answer goes on from; "" for none."""
        return self.messages[-1].content if has_prefill(self.messages) else ""

    @property
    def images(self) -> tuple[Image, ...]:
        """All pictures of its messages."""
        return images_of(self.messages)
