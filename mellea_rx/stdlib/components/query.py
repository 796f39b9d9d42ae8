"""Questions about an object, and changes to it: any object, by its public attributes and text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from mellea_rx.core.component import Template
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.components.parts import require_text

__all__ = ["OBJECT", "QUERY", "TRANSFORM", "Query", "Transform", "public_face"]

OBJECT = Template(
    "{% if kind %}"
    "{{ kind }}{% for name, value in attributes %}{{ '\n- ' }}{{ name }}: {{ value }}{% endfor %}"
    "{{ '\n' if text is not none else '' }}"
    "{% endif %}"
    "{% if text is not none %}{{ text }}{% endif %}",
    name="object",
)

QUERY = Template(
    """\
Read this, then answer the question about it.

{{ face }}

Question: {{ question }}""",
    name="query",
)

TRANSFORM = Template(
    """\
Rewrite this as the task says. Answer with the result only.

{{ face }}

Task: {{ task }}""",
    name="transform",
)


def public_face(obj: object) -> Template:
    """What a model is shown of an object: its class, its public attributes, and its own text.

    Args:
        obj: Text, a container, a thunk (waited for), or any object with public attributes or a
            `__str__` of its own.

    Raises:
        InvalidInputError: The object shows nothing.
    """
    if isinstance(obj, (str, int, float, bool, list, tuple, set, frozenset, ModelOutputThunk)):
        return OBJECT.given(kind="", attributes=(), text=obj)
    attributes = _attributes(obj)
    has_text = type(obj).__str__ is not object.__str__ and not is_dataclass(obj)
    if not attributes and not has_text:
        raise InvalidInputError(
            f"an object of type {type(obj).__name__} shows nothing to a model: it has no public "
            "attributes and no __str__ of its own"
        )
    pairs = [[name, value] for name, value in attributes.items()]
    kind = "" if isinstance(obj, Mapping) and not pairs else type(obj).__name__
    text = str(obj) if has_text and not isinstance(obj, Mapping) else None
    return OBJECT.given(kind=kind, attributes=pairs, text=text)


def _attributes(obj: object) -> dict[str, Any]:
    if isinstance(obj, Mapping):
        return {str(key): value for key, value in obj.items()}
    names = [each.name for each in fields(obj)] if is_dataclass(obj) else []
    names += list(getattr(obj, "__dict__", ()))
    for kind in type(obj).__mro__:
        names += [n for n, v in vars(kind).items() if isinstance(v, property)]
        slots = vars(kind).get("__slots__", ())
        names += [slots] if isinstance(slots, str) else list(slots)
    public = dict.fromkeys(name for name in names if not name.startswith("_"))
    found: dict[str, Any] = {}
    for name in public:
        try:
            value = getattr(obj, name)
        except Exception:  # a property of the user's that does not work now: nothing to show
            continue
        if not callable(value):
            found[name] = value
    return found


@dataclass(frozen=True, slots=True)
class Query:
    """A question about an object.

    Attributes:
        obj: What it is about.
        question: The question.

    Raises:
        InvalidInputError: The question is empty, or the object shows nothing.
    """

    obj: Any
    question: str

    def __post_init__(self) -> None:
        require_text(self.question, "the question")
        public_face(self.obj)

    def template(self) -> Template:
        """The object, then the question."""
        return QUERY.given(face=public_face(self.obj), question=self.question)

    def parse(self, text: str) -> str:
        """The text as it is."""
        return text


@dataclass(frozen=True, slots=True)
class Transform:
    """A change to an object, as text.

    Attributes:
        obj: What to change.
        transformation: How.

    Raises:
        InvalidInputError: The transformation is empty, or the object shows nothing.
    """

    obj: Any
    transformation: str

    def __post_init__(self) -> None:
        require_text(self.transformation, "the transformation")
        public_face(self.obj)

    def template(self) -> Template:
        """The object, then the task."""
        return TRANSFORM.given(face=public_face(self.obj), task=self.transformation)

    def parse(self, text: str) -> str:
        """The text as it is."""
        return text
