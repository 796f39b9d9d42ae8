"""The interface of components, which prompts are made of; verbs and formatters use it.

A component is an author's template, and values that are never rendered themselves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar, cast, runtime_checkable

import msgspec

from mellea_rx.core.interfaces.optional import optional_member
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.types.image import Image
from mellea_rx.core.types.request import Role
from mellea_rx.errors import CallbackError, InvalidInputError, MelleaRxError

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
            templates and components (rendered first, then inserted as text), thunks (waited for).
        name: The name under which a user's file may replace `source`; "" for none.
    """

    source: str
    variables: Mapping[str, Any] = MappingProxyType({})
    name: str = ""

    def given(self, **variables: Any) -> Template:
        """This template with these values."""
        return Template(self.source, variables, self.name)


@runtime_checkable
class Component(Protocol[T_co]):
    """A prompt or a part of one: a template, and a parser of the model's answer.

    Any object with these two methods is one. `BaseComponent` has the optional method, `said`, with
    its default.

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
        """The template of its text in a prompt. The template's variables are its parts."""
        ...

    def parse(self, text: str) -> T_co:
        """The object that the model's answer stands for (`thunk.parsed`)."""
        ...


class Said(msgspec.Struct, frozen=True):
    """One message of a component: a template, and what belongs to the message besides its text.

    Attributes:
        template: The template of its text.
        role: The role of its sender. An assistant's message at the end is the answer's prefill.
        images: The pictures that belong to it.
        tool_name: The tool's name, in a message with a tool's result.
        tool_call_id: The id of the call that this result belongs to.
    """

    template: Template
    role: Role = "user"
    images: tuple[Image, ...] = ()
    tool_name: str = ""
    tool_call_id: str = ""


class BaseComponent(ABC, Generic[T_co]):
    """A base class for components, with the default of the optional method.

    Inheriting it is a convenience. A component of another class may have `said` too, and gets the
    default where it lacks it.
    """

    __slots__ = ()

    @abstractmethod
    def template(self) -> Template:
        """See `Component`."""

    @abstractmethod
    def parse(self, text: str) -> T_co:
        """See `Component`."""

    def said(self) -> tuple[Said, ...]:
        """Its messages; by default one of the user's, with its template.

        Only a component of several messages, or of one that is not the user's, overrides this.
        `template` is then its text as a part of another component.
        """
        return (Said(template_of(self)),)


class TextComponent(BaseComponent[str]):
    """A base class for components whose answer is text."""

    __slots__ = ()

    def parse(self, text: str) -> str:
        """The text as it is."""
        return text


def template_of(component: Component[Any]) -> Template:
    """The template of a component.

    Raises:
        CallbackError: Its `template()` raised.
        InvalidInputError: It returned something else.
    """
    returned = _call(component, component.template)
    if not isinstance(returned, Template):
        kind = type(component).__name__
        raise InvalidInputError(
            f"{kind}.template() has to return a Template, not {type(returned).__name__}"
        )
    return returned


def messages_of(component: Component[Any]) -> tuple[Said, ...]:
    """The messages of a component; see `BaseComponent.said`.

    Raises:
        CallbackError: Its `said()` or `template()` raised.
        InvalidInputError: They returned something else.
    """
    messages: Any = _call(component, optional_member(component, BaseComponent, "said"))
    is_tuple = isinstance(messages, tuple) and bool(messages)
    if is_tuple and all(isinstance(each, Said) for each in messages):
        return messages  # type: ignore[no-any-return]
    kind = type(component).__name__
    raise InvalidInputError(f"{kind}.said() has to return a tuple of Said, not {messages!r}")


def _call(component: Component[Any], method: Callable[[], object]) -> object:
    try:
        return method()
    except (MelleaRxError, RecursionError):
        raise
    except Exception as error:
        raise CallbackError(
            f"{type(component).__name__} cannot be rendered: {type(error).__name__}: {error}"
        ) from error


@lru_cache(maxsize=256)
def _has_members(kind: Hashable) -> bool:
    return callable(getattr(kind, "template", None)) and callable(getattr(kind, "parse", None))


def is_component(value: object) -> bool:
    """Whether a value is a component, as `isinstance` with the protocol, but cached by class.

    (`isinstance` looks up every member of the protocol for each value: 10 us each.)
    """
    return _has_members(cast("Hashable", type(value)))


def parts_of(value: object) -> Iterable[object]:
    """The parts of a value in a prompt; none of a value whose kind has no parts."""
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
    """Every thunk among a prompt's parts, in order; the parts of parts included."""
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
