"""The description of an object for a model: its visible fields, and the methods it may call.

`mify` sets it; `Query`, `Transform` and `@generative` methods show it in prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any

from mellea_rx.core.interfaces.component import Template, TextComponent
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.errors import CallbackError, InvalidInputError

PLAIN = (str, bytes, int, float, bool, list, tuple, set, frozenset, ModelOutputThunk)
"""Types of values that are shown as they are."""

_ATTRIBUTE = "__mellea_rx_description__"
# On the class, not in a table: `dataclass(slots=True)` makes a new class with the same attributes.

_COMPUTED = (property, cached_property)

OBJECT = Template(
    "{% if kind %}"
    "{{ kind }}"
    "{% for name, value in attributes %}{{ '\n- ' }}{{ name }}: "
    "{{ value | string | indent(2) }}{% endfor %}"
    "{{ '\n' if text is not none else '' }}"
    "{% endif %}"
    "{% if text is not none %}{{ text }}{% endif %}",
    name="object",
)


@dataclass(frozen=True, slots=True)
class ObjectDescription:
    """The description of a class or an object, as set by `mify`.

    Attributes:
        fields_include: The fields that are shown; None for all public ones.
        fields_exclude: The fields that are hidden.
        methods: The methods that may be called.
        stringify: Makes its text, which is shown instead of its fields.
        template: A Jinja template of its fields, which is shown instead of their list.
    """

    fields_include: frozenset[str] | None = None
    fields_exclude: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    stringify: Callable[[Any], str] | None = None
    template: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all public fields are shown."""
        return self.fields_include is None and not self.fields_exclude

    def shows(self, name: str) -> bool:
        """Whether a field is shown."""
        if self.fields_include is not None:
            return name in self.fields_include
        return not name.startswith("_") and name not in self.fields_exclude


@dataclass(frozen=True, slots=True)
class Mified(TextComponent):
    """An object with a description of its own; the object itself is not changed.

    It can stand wherever the object can in a prompt: in `query`, `transform`, `user_variables`,
    another object's field.

    Attributes:
        obj: The object.
        description: Its description.
    """

    obj: Any
    description: ObjectDescription

    def template(self) -> Template:
        """The object as its description shows it."""
        return describe_object(self)


_WHOLE = ObjectDescription()


def set_description(kind: type, description: ObjectDescription) -> None:
    """Set the description of a class's objects.

    Raises:
        InvalidInputError: The class takes no attributes.
    """
    try:
        setattr(kind, _ATTRIBUTE, description)
    except TypeError:
        raise InvalidInputError(
            f"mify cannot describe {kind.__name__}, which takes no attributes: describe an object "
            "of it, mify(obj, ...)"
        ) from None


def description_of(obj: object) -> ObjectDescription | None:
    """The description of an object, or of its class; None for none."""
    description: ObjectDescription | None = getattr(type(obj), _ATTRIBUTE, None)
    return obj.description if isinstance(obj, Mified) else description


def describe_object(obj: object) -> Template:
    """The text of an object for a model: its class, its public attributes, and its own text.

    Descriptions set by `mify` apply, also to the values of its fields.

    Args:
        obj: Text, a container, a thunk (waited for), or any object with public attributes or a
            `__str__` of its own.

    Raises:
        InvalidInputError: The object shows nothing.
        CallbackError: Its `stringify` raised.
    """
    if description_of(obj) is None and isinstance(obj, PLAIN):
        return own_description(obj) or _listed("", {}, obj)
    shown = _description(obj, ())
    parts = shown.variables
    if shown.name == OBJECT.name and not parts["attributes"] and parts["text"] is None:
        raise InvalidInputError(_shows_nothing(obj))
    return shown


def own_description(value: object) -> Template | None:
    """The text of a value that has a description, or whose items have one; None for any other."""
    shown = _shown(value, ())
    return shown if isinstance(shown, Template) else None


def _listed(kind: str, values: Mapping[Any, Any], text: Any = None) -> Template:
    pairs = [[str(name), value] for name, value in values.items()]
    return OBJECT.given(kind=kind, attributes=pairs, text=text)


def _description(obj: object, within: tuple[int, ...]) -> Template:
    description = description_of(obj) or _WHOLE
    inner = obj.obj if isinstance(obj, Mified) else obj
    within = (*within, id(inner))
    if description.stringify is not None:
        return _listed("", {}, _stringified(inner, description.stringify))
    found = {name: _shown(value, within) for name, value in _attributes(inner, description).items()}
    if description.template is not None:
        return Template(description.template, found)
    text = _own_text(inner) if description.is_whole else None
    kind = "" if isinstance(inner, Mapping) and not found else type(inner).__name__
    return _listed(kind, found, text)


def _shown(value: Any, within: tuple[int, ...]) -> Any:
    """A value in a prompt, by its description where it has one, also within a container."""
    if description_of(value) is not None:
        inner = value.obj if isinstance(value, Mified) else value
        return (
            f"{type(inner).__name__} (above)"
            if id(inner) in within
            else _description(value, within)
        )
    items: Mapping[Any, Any]
    if isinstance(value, Mapping):
        items = value
    elif isinstance(value, (list, tuple, set, frozenset)):
        items = dict(enumerate(value, 1))
    else:
        return value
    if not any(description_of(each) is not None for each in items.values()):
        return value
    shown = {name: _shown(each, within) for name, each in items.items()}
    return _listed(type(value).__name__, shown)


def _shows_nothing(obj: object) -> str:
    description = description_of(obj)
    kind = type(obj.obj if isinstance(obj, Mified) else obj).__name__
    if description is None or description.is_whole:
        why = "it has no public attributes and no __str__ of its own"
    else:
        why = "mify leaves none of its fields (give stringify= or template= to show it otherwise)"
    return f"an object of type {kind} shows nothing to a model: {why}"


def _own_text(obj: object) -> str | None:
    if isinstance(obj, Mapping):
        return None if obj else str(obj)
    has_text = type(obj).__str__ is not object.__str__ and not is_dataclass(obj)
    return str(obj) if has_text else None


def _stringified(obj: object, stringify: Callable[[Any], str]) -> str:
    kind = type(obj).__name__
    try:
        text: Any = stringify(obj)
    except Exception as error:
        raise CallbackError(
            f"the stringify of {kind} raised {type(error).__name__}: {error}"
        ) from error
    if not isinstance(text, str):
        raise InvalidInputError(
            f"the stringify of {kind} must return a str, not {type(text).__name__}"
        )
    return text


def _attributes(obj: object, description: ObjectDescription) -> dict[str, Any]:
    if isinstance(obj, Mapping):
        return {str(key): value for key, value in obj.items() if description.shows(str(key))}
    found: dict[str, Any] = {}
    for name in dict.fromkeys((*field_names(obj), *sorted(description.fields_include or ()))):
        if not description.shows(name):
            continue
        try:
            value = getattr(obj, name)
        except Exception:  # a user's property may raise; it is left out
            continue
        if not callable(value):
            found[name] = value
    return found


def field_names(obj: object) -> Iterator[str]:
    """The names of an object's attributes: declared fields, its own, properties, slots."""
    if is_dataclass(obj):
        yield from (each.name for each in fields(obj))
    yield from getattr(type(obj), "__match_args__", ())
    yield from getattr(obj, "__dict__", ())
    for kind in type(obj).__mro__:
        yield from (name for name, value in vars(kind).items() if isinstance(value, _COMPUTED))
        slots = vars(kind).get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots
