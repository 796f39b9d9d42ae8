"""What a prompt is made of: an author's template, and values that are never rendered."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import msgspec

from mellea_rx.core.image import Image
from mellea_rx.core.request import Role
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.errors import CallbackError, InvalidInputError, MelleaRxError

__all__ = [
    "Component",
    "Said",
    "Template",
    "is_component",
    "parts_of",
    "said_by",
    "template_of",
    "thunks_in",
]

T_co = TypeVar("T_co", covariant=True)

_PLAIN = (str, bytes, int, float)
_SEQUENCES = (list, tuple, set, frozenset)


class Template(msgspec.Struct, frozen=True):
    """A Jinja template and its values.

    Example:
        >>> Template("Greet {{ name }}.").given(name="Ada")
        Template(source='Greet {{ name }}.', variables={'name': 'Ada'}, name='')

    Attributes:
        source: The template, as its author wrote it. Only this is rendered, once.
        variables: Its values, by name: text, objects whose attributes the template reads, other
            templates and components (rendered first, then taken as text), thunks (waited for).
        name: Under which a file of the user's may take the place of `source`; "" for none.
    """

    source: str
    variables: Mapping[str, Any] = MappingProxyType({})
    name: str = ""

    def given(self, **variables: Any) -> Template:
        """This template with these values."""
        return Template(self.source, variables, self.name)


@runtime_checkable
class Component(Protocol[T_co]):
    """Something that can be asked of a model, or be a part of what is asked.

    What consists of several messages, or of one that is not the user's, has a method `said()`
    besides, which returns its messages as a tuple of `Said`; `template()` is then how it reads as
    a part of another component.

    Example:
        >>> class Synonyms:
        ...     def __init__(self, word):
        ...         self.word = word
        ...     def template(self):
        ...         return Template("Synonyms of {{ word }}, one a line:", {"word": self.word})
        ...     def parse(self, text):
        ...         return text.split()
        >>> is_component(Synonyms("big"))
        True
    """

    def template(self) -> Template:
        """How it reads in a prompt. Its variables are its parts."""
        ...

    def parse(self, text: str) -> T_co:
        """What the model's answer to it stands for."""
        ...


class Said(msgspec.Struct, frozen=True):
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


def template_of(component: Component[Any]) -> Template:
    """How a component reads, in its own words.

    Raises:
        CallbackError: Its `template()` raised.
        InvalidInputError: It returned something else.
    """
    given: object = _told(component, component.template)
    if not isinstance(given, Template):
        kind = type(component).__name__
        raise InvalidInputError(
            f"{kind}.template() has to return a Template, not {type(given).__name__}"
        )
    return given


def said_by(component: Component[Any]) -> tuple[Said, ...]:
    """The messages of a component: what its `said()` gives, else its template, as the user's.

    Raises:
        CallbackError: Its `said()` or `template()` raised.
        InvalidInputError: They returned something else.
    """
    said: Callable[[], object] | None = getattr(component, "said", None)
    if said is None:
        return (Said(template_of(component)),)
    given = _told(component, said)
    if not (given and isinstance(given, tuple) and all(isinstance(s, Said) for s in given)):
        kind = type(component).__name__
        raise InvalidInputError(f"{kind}.said() has to return a tuple of Said, not {given!r}")
    return given


def _told(component: Component[Any], method: Callable[[], object]) -> object:
    try:
        return method()
    except (MelleaRxError, RecursionError):
        raise
    except Exception as error:
        raise CallbackError(
            f"{type(component).__name__} cannot say how it reads: {type(error).__name__}: {error}"
        ) from error


@lru_cache(maxsize=256)
def _has_face(kind: Hashable) -> bool:
    return callable(getattr(kind, "template", None)) and callable(getattr(kind, "parse", None))


def is_component(value: object) -> bool:
    """Whether a value is a component: what `isinstance` says of the protocol, at its class's cost.

    (Checking a protocol looks every attribute up again for each value: 10 us each.)
    """
    return _has_face(cast("Hashable", type(value)))


def parts_of(value: object) -> Iterable[object]:
    """What a prompt's value is made of; nothing where it has no parts that a prompt knows."""
    if value is None or isinstance(value, _PLAIN):
        return ()
    if isinstance(value, Template):
        return value.variables.values()
    if isinstance(value, _SEQUENCES):
        return value
    if isinstance(value, Mapping):
        return value.values()
    if is_component(value):
        return (template_of(cast("Component[Any]", value)),)
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, each.name, None) for each in fields(value)]
    return ()


def thunks_in(parts: Iterable[object]) -> list[ModelOutputThunk[Any]]:
    """Every thunk among a prompt's parts, in order, each part looked into."""
    found: list[ModelOutputThunk[Any]] = []
    for part in parts:
        if isinstance(part, _PLAIN) or (isinstance(part, _SEQUENCES) and not part):
            continue  # most parts
        if isinstance(part, Template):  # first: it is what a prompt is made of
            found += thunks_in(part.variables.values())
        elif isinstance(part, ModelOutputThunk):
            found.append(part)
        else:
            found += thunks_in(parts_of(part))
    return found
