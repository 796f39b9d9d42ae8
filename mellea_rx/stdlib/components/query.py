"""`Query` and `Transform`: the components of the verbs `query` and `transform`, for any object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mellea_rx.core.interfaces.component import Template, TextComponent
from mellea_rx.stdlib.components.parts import require_text
from mellea_rx.stdlib.objects.description import describe_object

__all__ = ["QUERY", "TRANSFORM", "Query", "Transform"]

QUERY = Template(
    """\
Read this, then answer the question about it.

{{ description }}

Question: {{ question }}""",
    name="query",
)

TRANSFORM = Template(
    """\
Rewrite this as the task says. Answer with the result only.

{{ description }}

Task: {{ task }}""",
    name="transform",
)


@dataclass(frozen=True, slots=True)
class Query(TextComponent):
    """A question about an object.

    Attributes:
        obj: The object.
        question: The question.

    Raises:
        InvalidInputError: The question is empty, or the object shows nothing.
    """

    obj: Any
    question: str

    def __post_init__(self) -> None:
        require_text(self.question, "the question")
        describe_object(self.obj)

    def template(self) -> Template:
        """The object, then the question."""
        return QUERY.given(description=describe_object(self.obj), question=self.question)


@dataclass(frozen=True, slots=True)
class Transform(TextComponent):
    """A change to an object, as text.

    Attributes:
        obj: The object to change.
        transformation: The change, in words.

    Raises:
        InvalidInputError: The transformation is empty, or the object shows nothing.
    """

    obj: Any
    transformation: str

    def __post_init__(self) -> None:
        require_text(self.transformation, "the transformation")
        describe_object(self.obj)

    def template(self) -> Template:
        """The object, then the task."""
        return TRANSFORM.given(description=describe_object(self.obj), task=self.transformation)
