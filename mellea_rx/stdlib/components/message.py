"""`Message` and `ToolMessage`: the components of a conversation's messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mellea_rx.core.component import Said, Template, TextComponent
from mellea_rx.core.image import Images, as_images
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.components.parts import Text, require_text

__all__ = ["MESSAGE", "TOOL_MESSAGE", "Message", "Speaker", "ToolMessage"]

MESSAGE = Template("{{ content }}", name="message")
TOOL_MESSAGE = Template("{{ content }}", name="tool_message")

Speaker = Literal["user", "assistant", "system"]


@dataclass(frozen=True, slots=True)
class Message(TextComponent):
    """A message, taken word for word.

    Attributes:
        content: The text, never rendered; or a thunk, waited for.
        role: "user", "assistant" (at the end of a prompt: the prefill) or "system".
        images: Pictures that belong to it; see `Image`.

    Raises:
        InvalidInputError: It is empty, or an attribute cannot be used; the message names it.
    """

    content: Text
    role: Speaker = "user"
    images: Images = ()

    def __post_init__(self) -> None:
        if not isinstance(self.content, ModelOutputThunk):
            require_text(self.content, "the message")
        if self.role not in get_args(Speaker):
            roles = ", ".join(map(repr, get_args(Speaker)))
            raise InvalidInputError(
                f"role must be one of {roles}, not {self.role!r} (a tool's result is a ToolMessage)"
            )
        object.__setattr__(self, "images", as_images(self.images))

    def template(self) -> Template:
        """The content."""
        return MESSAGE.given(content=self.content)

    def said(self) -> tuple[Said, ...]:
        """One message."""
        return (Said(self.template(), self.role, as_images(self.images)),)


@dataclass(frozen=True, slots=True)
class ToolMessage(TextComponent):
    """A tool's result, for the model that asked to call it.

    Attributes:
        name: The tool's name.
        content: The result as text, never rendered; it may be empty.
        call_id: The `ToolCall.id` of the call ("" where the server gave none).

    Raises:
        InvalidInputError: The name is empty, or the content is not a text.
    """

    name: str
    content: str
    call_id: str = ""

    def __post_init__(self) -> None:
        require_text(self.name, "the tool's name")
        if not isinstance(self.content, str):
            kind = type(self.content).__name__
            raise InvalidInputError(f"a tool message's content must be a str, not {kind}")

    def template(self) -> Template:
        """The content."""
        return TOOL_MESSAGE.given(content=self.content)

    def said(self) -> tuple[Said, ...]:
        """One message of the tool."""
        return (Said(self.template(), "tool", tool_name=self.name, tool_call_id=self.call_id),)
