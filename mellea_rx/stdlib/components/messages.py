"""Messages and documents: turns of a conversation, tool results, and grounding texts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from mellea_rx.core.interfaces.component import Said, Template, TextComponent
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.types.image import Images, as_images
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.components.parts import Text, require_text

DOCUMENT = Template(
    "{% if doc_id %}[{{ doc_id }}]{{ ' ' if title else '\n' }}{% endif %}"
    "{% if title %}{{ title }}{{ '\n' }}{% endif %}"
    "{{ text }}",
    name="document",
)


@dataclass(frozen=True, slots=True)
class Document(TextComponent):
    """A text with its title and id: for `grounding_context`, or as a part of any prompt.

    Example:
        >>> opening = Document("Open from 9 to 5.", title="At the door", doc_id="sign-1")

    Attributes:
        text: The text, never rendered; or a thunk, waited for.
        title: Its title; None for none.
        doc_id: The id by which an answer can cite it; None for none.

    Raises:
        InvalidInputError: The text is empty, or the title or `doc_id` is not a text.
    """

    text: Text
    title: str | None = None
    doc_id: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.text, ModelOutputThunk):
            require_text(self.text, "the document")
        for name in ("title", "doc_id"):
            if getattr(self, name) is not None:
                require_text(getattr(self, name), f"the document's {name}")

    def template(self) -> Template:
        """Its id and title, then the text."""
        return DOCUMENT.given(text=self.text, title=self.title, doc_id=self.doc_id)


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
