"""What a prompt is made of: an author's template, and values that are never rendered."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from mellea_rx.core.request import Image, Role
from mellea_rx.core.thunk import ModelOutputThunk

__all__ = ["Component", "Said", "Template", "is_component", "said_by", "thunks_in"]

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Template:
    """A Jinja template and its values.

    Attributes:
        source: The template, as its author wrote it. Only this is rendered, once.
        variables: Its values, by name: text, objects whose attributes the template reads, other
            templates and components (rendered first, then taken as text), thunks (waited for).
    """

    source: str
    variables: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@runtime_checkable
class Component(Protocol[T_co]):
    """Something that can be asked of a model."""

    def template(self) -> Template:
        """How it reads in a prompt."""
        ...

    def parse(self, text: str) -> T_co:
        """What the model's answer to it stands for."""
        ...


@dataclass(frozen=True, slots=True)
class Said:
    """One message of a component: a template, and what stands beside its text.

    Attributes:
        template: How it reads.
        role: Who says it. An assistant's message at the end is how the answer begins.
        images: The pictures that belong to it.
        tool_name: Whose result a tool's message is.
        tool_call_id: Which call it answers.
    """

    template: Template
    role: Role = "user"
    images: tuple[Image, ...] = ()
    tool_name: str = ""
    tool_call_id: str = ""


def said_by(component: Component[Any]) -> tuple[Said, ...]:
    """The messages of a component: what its `said()` gives, else its template, as the user's."""
    said: Callable[[], tuple[Said, ...]] | None = getattr(component, "said", None)
    return (Said(component.template()),) if said is None else said()


@lru_cache(maxsize=256)
def _has_face(kind: Hashable) -> bool:
    return callable(getattr(kind, "template", None)) and callable(getattr(kind, "parse", None))


def is_component(value: object) -> bool:
    """Whether a value is a component: what `isinstance` says of the protocol, at its class's cost.

    (Checking a protocol looks every attribute up again for each value: 10 us each.)
    """
    return _has_face(cast("Hashable", type(value)))


def thunks_in(value: object) -> Iterator[ModelOutputThunk[Any]]:
    """Every thunk that a prompt's value is made of, in order; containers are looked into."""
    if isinstance(value, (str, bytes, int, float)):
        return
    if isinstance(value, ModelOutputThunk):
        yield value
    elif isinstance(value, Template):
        yield from thunks_in(value.variables)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from thunks_in(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from thunks_in(item)
    elif is_component(value):
        yield from thunks_in(cast("Component[Any]", value).template())
