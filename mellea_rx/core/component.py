"""What a prompt is made of: an author's template, and values that are never rendered."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from mellea_rx.core.thunk import ModelOutputThunk

__all__ = ["Component", "Template", "is_component", "thunks_in"]

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
