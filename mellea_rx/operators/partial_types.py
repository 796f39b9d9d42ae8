"""Shapes of types for `partial_object`: the decoders of a type's fields, and its partial values."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import (
    Annotated,
    Any,
    Generic,
    NotRequired,
    Protocol,
    Required,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from typing_extensions import ReadOnly, is_typeddict

from mellea_rx.errors import InvalidInputError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Decode = Callable[[str], Any]
"""Decodes JSON into a value. Raises if it does not fit the type."""
Members = list[tuple[Any, Any]]
"""Keys (as in the JSON) and values, in the order of the JSON."""


class Shape(Protocol[T_co]):
    """A JSON object or array of a known type.

    Attributes:
        opening: The brackets with which its JSON may begin.
    """

    @property
    def opening(self) -> str: ...

    def decoder(self, key: str | int) -> Decode | None:
        """Return the decoder of a member's value; None if the type has no such member."""
        ...

    def partial(self, members: Members) -> T_co:
        """Return the value so far; missing fields have their default, or `msgspec.UNSET`."""
        ...

    def check(self, json: str) -> None:
        """Raise an exception if the whole JSON does not fit the type."""
        ...


def shape_of(kind: Any) -> Shape[Any]:
    """Return the shape of a type.

    Args:
        kind: A dataclass, TypedDict, msgspec Struct, Pydantic model, `list[...]` or
            `dict[str, ...]`; None for any JSON object or array.

    Raises:
        InvalidInputError: `kind` is not one of these types, or has a field that cannot be decoded.
    """
    if kind is None:
        return _Plain()
    origin, args = get_origin(kind) or kind, get_args(kind)
    if origin is list:
        return _List(kind, _decoder(args[0] if args else Any, kind))
    if origin is dict:
        return _Dict(kind, _decoder(args[1] if args else Any, kind))
    for is_a, make in _KINDS:
        if isinstance(kind, type) and is_a(kind):
            return make(kind)
    raise InvalidInputError(
        "partial_object takes a dataclass, TypedDict, msgspec Struct, Pydantic model, list[...], "
        f"dict[str, ...] or None, not {kind!r}"
    )


def _decoder(hint: Any, where: object) -> Decode:
    try:
        return msgspec.json.Decoder(hint, dec_hook=_from_plain).decode
    except TypeError as error:
        raise InvalidInputError(f"partial_object cannot decode {where}: {error}") from error


def _from_plain(kind: Any, value: object) -> Any:
    if _is_pydantic(kind):
        return kind.model_validate(value)
    raise NotImplementedError(f"{kind!r} cannot be made of JSON")


class _Plain:
    """Any JSON object or array."""

    opening = "{["

    def decoder(self, key: str | int) -> Decode | None:
        return msgspec.json.decode

    def partial(self, members: Members) -> Any:
        if members and isinstance(members[0][0], int):
            return [value for _, value in members]
        return dict(members)

    def check(self, json: str) -> None:
        """There is nothing to check: its members are decoded already."""


@dataclasses.dataclass(frozen=True)
class _List:
    kind: Any
    decode: Decode
    opening = "["

    def decoder(self, key: str | int) -> Decode | None:
        return self.decode

    def partial(self, members: Members) -> list[Any]:
        return [value for _, value in members]

    def check(self, json: str) -> None:
        """As `_Plain`."""


@dataclasses.dataclass(frozen=True)
class _Dict:
    kind: Any
    decode: Decode
    opening = "{"

    def decoder(self, key: str | int) -> Decode | None:
        return self.decode

    def partial(self, members: Members) -> dict[Any, Any]:
        return dict(members)

    def check(self, json: str) -> None:
        """As `_Plain`."""


@dataclasses.dataclass(frozen=True)
class _Record(Generic[T]):
    """A type with named fields.

    Attributes:
        fields: The attribute's name and the decoder of each field, by its name in the JSON.
        blank: Returns values for the fields that have not arrived, by attribute.
        build: Makes an object of attributes, without running the type's own code.
        whole: Decodes the whole JSON. Raises if it does not fit.
    """

    fields: Mapping[str, tuple[str, Decode]]
    blank: Callable[[], dict[str, Any]]
    build: Callable[[dict[str, Any]], T]
    whole: Decode
    opening = "{"

    def decoder(self, key: str | int) -> Decode | None:
        field = self.fields.get(str(key))
        return None if field is None else field[1]

    def partial(self, members: Members) -> T:
        arrived = {self.fields[key][0]: value for key, value in members}
        return self.build({**self.blank(), **arrived})

    def check(self, json: str) -> None:
        self.whole(json)


def _is_struct(kind: type) -> bool:
    return issubclass(kind, msgspec.Struct) and not kind.__struct_config__.array_like


def _struct(kind: Any) -> _Record[Any]:
    fields = msgspec.structs.fields(kind)
    bare = kind
    if hasattr(kind, "__post_init__"):  # it must not run on a part of the fields
        namespace = {"__post_init__": lambda self: None, "__module__": kind.__module__}
        bare = msgspec.defstruct(kind.__name__, [], bases=(kind,), namespace=namespace)
    return _Record(
        {f.encode_name: (f.name, _decoder(f.type, f"{kind}.{f.name}")) for f in fields},
        lambda: {field.name: msgspec.UNSET for field in fields if field.required},
        lambda values: bare(**values),
        _decoder(kind, kind),
    )


def _is_dataclass(kind: type) -> bool:
    return dataclasses.is_dataclass(kind)


def _dataclass(kind: Any) -> _Record[Any]:
    fields = [field for field in dataclasses.fields(kind) if field.init]
    hints = get_type_hints(kind, include_extras=True)

    def blank() -> dict[str, Any]:
        return {field.name: _default(field) for field in dataclasses.fields(kind)}

    def build(values: dict[str, Any]) -> Any:
        made = object.__new__(kind)
        for name, value in values.items():
            object.__setattr__(made, name, value)
        return made

    return _Record(
        {f.name: (f.name, _decoder(hints[f.name], f"{kind}.{f.name}")) for f in fields},
        blank,
        build,
        _decoder(kind, kind),
    )


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return msgspec.UNSET


def _typed_dict(kind: Any) -> _Record[Any]:
    hints = get_type_hints(kind, include_extras=True)
    return _Record(
        {name: (name, _decoder(_bare(hint), f"{kind}.{name}")) for name, hint in hints.items()},
        dict,
        lambda values: values,
        _decoder(kind, kind),
    )


def _bare(hint: Any) -> Any:
    while get_origin(hint) in (Required, NotRequired, ReadOnly):
        hint = get_args(hint)[0]
    return hint


def _is_pydantic(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "model_validate_json")


def _pydantic(kind: Any) -> _Record[Any]:
    # Pydantic is an optional dependency, and is imported if `kind` exists. Each field is checked
    # against its type and constraints when it arrives; the model's own validators run once, on the
    # whole.
    adapter: Any = sys.modules["pydantic"].TypeAdapter
    fields = kind.model_fields.items()

    def decode(field: Any) -> Decode:
        hint = field.annotation
        if field.metadata:
            hint = Annotated[(hint, *field.metadata)]
        validate: Decode = adapter(hint).validate_json
        return validate

    decoders = {name: (name, decode(field)) for name, field in fields}
    by_alias = {_alias(name, field): decoders[name] for name, field in fields}
    config = kind.model_config
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    return _Record(
        {**decoders, **by_alias} if by_name else by_alias,
        lambda: {name: msgspec.UNSET for name, field in fields if field.is_required()},
        lambda values: kind.model_construct(**values),
        kind.model_validate_json,
    )


def _alias(name: str, field: Any) -> str:
    alias = field.validation_alias
    return alias if isinstance(alias, str) else field.alias or name


_KINDS: list[tuple[Callable[[type], bool], Callable[[Any], Shape[Any]]]] = [
    (_is_struct, _struct),
    (_is_pydantic, _pydantic),
    (_is_dataclass, _dataclass),
    (is_typeddict, _typed_dict),
]
