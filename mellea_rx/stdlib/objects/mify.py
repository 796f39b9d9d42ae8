"""`mify`: describes to a model which fields of an object it sees, and which methods it may call."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, TypedDict, TypeVar, Unpack, overload

from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.objects.description import (
    PLAIN,
    Mified,
    ObjectDescription,
    field_names,
    set_description,
)

K = TypeVar("K", bound=type)

_UNSET: Any = object()

_NO_OBJECTS = {
    *(*PLAIN, FunctionType, BuiltinFunctionType, MethodType, ModuleType, partial),
    *(object, type(None)),
}

_EITHER = (
    ("fields_include", "fields_exclude"),
    ("methods_include", "methods_exclude"),
    ("stringify", "template"),
)


class _How(TypedDict, total=False):
    """The keywords of `mify`."""

    fields_include: Collection[str] | None
    fields_exclude: Collection[str] | None
    methods_include: Collection[str] | None
    methods_exclude: Collection[str] | None
    stringify: Callable[[Any], str] | None
    template: str | None


# A class is an object as well, and the first that fits is taken.
@overload
def mify(target: K, /, **how: Unpack[_How]) -> K: ...  # type: ignore[overload-overlap]
@overload
def mify(**how: Unpack[_How]) -> Callable[[K], K]: ...
@overload
def mify(target: object, /, **how: Unpack[_How]) -> Mified: ...
def mify(
    target: Any = _UNSET,
    /,
    *,
    fields_include: Collection[str] | None = None,
    fields_exclude: Collection[str] | None = None,
    methods_include: Collection[str] | None = None,
    methods_exclude: Collection[str] | None = None,
    stringify: Callable[[Any], str] | None = None,
    template: str | None = None,
) -> Any:
    """Describe an object to a model: the fields that it sees, and the methods that it may call.

    Decorates a class, `@mify` or `@mify(...)`: the class itself is returned, and its objects are
    what they were. For one object, `mify(obj, ...)` gives a view of it to hand to `query` and
    `transform`; the object is left alone. Subclasses are described as their base is.

    Args:
        target: A class or an object. A field that the class only makes up at run time has to be
            declared (`name: str`) to be named here.
        fields_include: Only these fields are shown; also private ones, where they are named.
        fields_exclude: All public fields but these are shown.
        methods_include: The methods that `transform` may have the model call. By default it may
            call none: a method acts.
        methods_exclude: All public methods with a docstring that the class itself defines may be
            called, but these.
        stringify: Makes the text that is shown instead of the fields.
        template: A Jinja template of the fields, by name, that is shown instead of their list.

    Example:
        >>> @mify(fields_exclude={"margin"}, methods_include={"discounted"})
        ... class Offer:
        ...     def __init__(self, price: float) -> None:
        ...         self.price = price
        ...         self.margin = 0.4
        ...
        ...     def discounted(self, percent: int) -> float:
        ...         '''The price with a discount.'''
        ...         return self.price * (100 - percent) / 100

    Raises:
        InvalidInputError: A name that the class does not have (with one that is near), lists that
            contradict each other, or something that has no fields to describe.
    """
    how: _How = {
        "fields_include": fields_include,
        "fields_exclude": fields_exclude,
        "methods_include": methods_include,
        "methods_exclude": methods_exclude,
        "stringify": stringify,
        "template": template,
    }
    if target is _UNSET:
        return partial(mify, **how)
    if type(target) in _NO_OBJECTS:
        raise InvalidInputError(
            f"mify takes a class or an object with fields, not {type(target).__name__}"
        )
    obj = target.obj if isinstance(target, Mified) else target
    if not isinstance(obj, type):
        return Mified(obj, _description(type(obj), _own(obj), how))
    set_description(obj, _description(obj, (), how))
    return obj


def _description(kind: type, own: Iterable[str], how: _How) -> ObjectDescription:
    for one, other in _EITHER:
        if how.get(one) is not None and how.get(other) is not None:
            raise InvalidInputError(f"give {one} or {other}, not both")
    stringify, template = how.get("stringify"), how.get("template")
    if stringify is not None and not callable(stringify):
        raise InvalidInputError(f"stringify must be a function, not {type(stringify).__name__}")
    if template is not None and not isinstance(template, str):
        raise InvalidInputError(f"template must be a str, not {type(template).__name__}")
    fields = {*_fields(kind), *own}
    all_methods = {name for base in kind.__mro__[:-1] for name in _methods(base)}
    methods = _names("methods_include", how.get("methods_include"), all_methods, kind)
    excluded = _names("methods_exclude", how.get("methods_exclude"), all_methods, kind)
    if excluded is not None:
        methods = frozenset(_documented_methods(kind)) - excluded
    return ObjectDescription(
        _names("fields_include", how.get("fields_include"), fields, kind),
        _names("fields_exclude", how.get("fields_exclude"), fields, kind) or frozenset(),
        methods or frozenset(),
        stringify,
        template,
    )


def _names(
    argument: str, given: Iterable[str] | None, known: set[str], kind: type
) -> frozenset[str] | None:
    if given is None:
        return None
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InvalidInputError(f"{argument} must be a set of names, not {given!r}")
    names = frozenset(given)
    for name in names:
        if name in known:
            continue
        near = get_close_matches(str(name), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f" (it has {_listed(known)})"
        raise InvalidInputError(
            f"{argument} names {name!r}, which {kind.__name__} does not have{hint}"
        )
    return names


def _listed(known: set[str]) -> str:
    public = sorted(name for name in known if not name.startswith("_"))
    return ", ".join(map(repr, public)) or "none"


def _own(obj: object) -> Iterator[str]:
    if isinstance(obj, Mapping):
        yield from map(str, obj)
    yield from field_names(obj)


def _methods(kind: type) -> Iterator[str]:
    """The methods that a class itself has, static and class methods among them."""
    for name, value in vars(kind).items():
        if isinstance(value, (FunctionType, staticmethod, classmethod)):
            yield name


def _documented_methods(kind: type) -> Iterator[str]:
    """The methods of a class that are public and have a docstring, which the model reads."""
    for name in _methods(kind):
        if not name.startswith("_") and getattr(kind, name).__doc__:
            yield name


def _fields(kind: type) -> Iterator[str]:
    """The fields that a class's objects can have, as far as the class tells."""
    for base in kind.__mro__[:-1]:
        yield from inspect.get_annotations(base)
        for name, value in vars(base).items():
            if isinstance(value, FunctionType):
                yield from _assigned(inspect.unwrap(value))
            elif not name.startswith("__") and not isinstance(value, (staticmethod, classmethod)):
                yield name  # properties, slots, values of the class


def _assigned(function: Callable[..., Any]) -> Iterator[str]:
    """The attributes that a function sets: `self.owner = …` in an `__init__`, say."""
    for step in dis.get_instructions(function):
        if step.opname == "STORE_ATTR":
            yield step.argval
