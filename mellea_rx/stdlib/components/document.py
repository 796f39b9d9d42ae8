"""`Document`: a text with a title, for `grounding_context` and other parts of prompts."""

from __future__ import annotations

from dataclasses import dataclass

from mellea_rx.core.component import Template, TextComponent
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.stdlib.components.parts import Text, require_text

__all__ = ["DOCUMENT", "Document"]

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
