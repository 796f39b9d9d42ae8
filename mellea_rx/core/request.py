"""What a backend is asked: frozen, and without a word of components, contexts or sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mellea_rx.core.chunk import ToolCall
from mellea_rx.core.options import Options

__all__ = ["Image", "Request", "Role", "WireMessage"]

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Image:
    """A picture in a message: its bytes, or where a server finds it.

    Attributes:
        media_type: "image/png", "image/jpeg" or "image/webp"; "" for one that is only a URL.
        data: The file's bytes; b"" for one that is only a URL.
        url: Where it is; never fetched by this library. "" for one that is bytes.
    """

    media_type: str = ""
    data: bytes = field(default=b"", repr=False)
    url: str = ""


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
