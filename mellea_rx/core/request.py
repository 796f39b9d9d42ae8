"""What a backend is asked: frozen, and without a word of components, contexts or sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mellea_rx.core.options import Options

__all__ = ["Request", "Role", "WireMessage"]

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class WireMessage:
    """One message of a conversation, as servers take it.

    Attributes:
        role: Who speaks.
        content: What is said.
    """

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Request:
    """One generation, as a backend gets it.

    Attributes:
        messages: The conversation, the system prompt included, oldest first.
        options: The model options that are left for the backend.
        schema: A JSON schema that the answer has to fit; None for free text.
    """

    messages: tuple[WireMessage, ...]
    options: Options = field(default_factory=Options)
    schema: Mapping[str, Any] | None = None
