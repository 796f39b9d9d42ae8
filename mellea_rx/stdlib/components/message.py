"""A user's message in a conversation."""

from __future__ import annotations

from dataclasses import dataclass

from mellea_rx.core.component import Template
from mellea_rx.stdlib.components.instruction import require_text

__all__ = ["Message"]


@dataclass(frozen=True, slots=True)
class Message:
    """What a user says, as it is.

    Attributes:
        content: The text; never rendered.

    Raises:
        InvalidInputError: It is empty.
    """

    content: str

    def __post_init__(self) -> None:
        require_text(self.content, "the message")

    def template(self) -> Template:
        """The content."""
        return Template("{{ content }}", {"content": self.content})

    def parse(self, text: str) -> str:
        """The text as it is."""
        return text
