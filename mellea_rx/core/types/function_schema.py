"""A function's parameters as a JSON schema, and a model's arguments checked against it.

Used by tools and by the formats of Python types. msgspec makes the schemas and decodes the
arguments; Pydantic models describe themselves; docstring-parser reads the descriptions of the
parameters.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, get_args, get_origin

import msgspec

from mellea_rx.core.runtime.fork import no_fork
from mellea_rx.errors import InvalidInputError


def models_into(shared: dict[str, Any]) -> Callable[[Any], dict[str, Any]]:
    """A `schema_hook` of msgspec for models; their own definitions are added to `shared`."""

    def model_schema(model: Any) -> dict[str, Any]:
        if not hasattr(model, "model_json_schema"):
            raise TypeError(f"{getattr(model, '__name__', model)} has no JSON form")
        schema: dict[str, Any] = model.model_json_schema()
        shared.update(schema.pop("$defs", {}))
        return schema

    return model_schema


def model_from(kind: Any, value: Any) -> Any:
    """A `dec_hook` of msgspec: makes a model of its part of the JSON."""
    return kind.model_validate_json(msgspec.json.encode(value))


def without_false_items(schema: Any) -> Any:
    """The schema without `"items": false`, which llama.cpp refuses; `maxItems` says the same."""
    if isinstance(schema, list):
        return [without_false_items(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: without_false_items(value)
        for key, value in schema.items()
        if not (key == "items" and value is False)
    }


_UNSET: Any = object()
_KINDS = inspect.Parameter


@dataclass(frozen=True, slots=True)
class Documented:
    """The contents of a docstring.

    Attributes:
        text: The description of the function.
        parameters: The description of each parameter, by name.
    """

    text: str
    parameters: Mapping[str, str]


def documented(function: Callable[..., Any]) -> Documented:
    """Read a function's docstring, in Google, NumPy or reST style."""
    named = function.func if isinstance(function, partial) else function
    source = inspect.getdoc(named)
    if not source:
        return Documented("", {})
    with no_fork:
        import docstring_parser  # only programs with tools need it

    read = docstring_parser.parse(source)
    parameters = {each.arg_name: each.description or "" for each in read.params}
    return Documented((read.description or "").strip(), parameters)


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of a function.

    Attributes:
        schema: Its parameters as a JSON schema: an object without additional properties.
        struct: The same as a type that arguments are converted to.
    """

    schema: Mapping[str, Any]
    struct: type[msgspec.Struct]

    def convert(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Convert a model's arguments; those with a default may be missing.

        Where they do not fit, texts that read as a number, a bool or null are converted to it,
        since models confuse them.

        Raises:
            ValueError: They do not fit; the message says where and why.
        """
        read = partial(msgspec.convert, dict(arguments), self.struct, dec_hook=model_from)
        try:
            values = read()
        except msgspec.ValidationError as error:
            try:
                values = read(strict=False)
            except msgspec.ValidationError:
                raise ValueError(str(error)) from None
        found = {name: getattr(values, name) for name in self.struct.__struct_fields__}
        return {name: value for name, value in found.items() if value is not _UNSET}


def signature_of(function: Callable[..., Any], name: str, doc: Mapping[str, str]) -> Signature:
    """The signature of a function.

    Args:
        function: Any callable with typed parameters that can be passed by name.
        name: Its name in messages.
        doc: The description of each parameter, by name; `Annotated[type, "text"]` wins over it.

    Raises:
        InvalidInputError: A parameter has no type, cannot be passed by name, or has a type that
            JSON does not have; the message names it.
    """
    given = _parameters(function, name)
    fields = [_field(each, doc.get(each.name, "")) for each in given]
    definitions: dict[str, Any] = {}
    for field in fields:
        _check_type(name, field[0], field[1])
    struct = msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)
    (top,), components = msgspec.json.schema_components(
        [struct],
        ref_template="#/$defs/{name}",
        schema_hook=models_into(definitions),
    )
    schema = dict(components.pop(top["$ref"].rsplit("/", 1)[-1]))
    schema.pop("title", None)
    for each in given:
        if each.default is not _KINDS.empty:
            _add_default(schema["properties"][each.name], each.default)
    if components or definitions:
        schema["$defs"] = {**components, **definitions}
    return Signature(without_false_items(schema), struct)


def _parameters(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    try:
        given = list(inspect.signature(function, eval_str=True).parameters.values())
    except NameError as error:
        raise InvalidInputError(
            f"tool {name!r}: a type of its parameters cannot be found: {error} "
            "(define it at the top of the module)"
        ) from None
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"tool {name!r} has no signature that can be read: {error}"
        ) from None
    for each in given:
        if each.kind in (_KINDS.VAR_POSITIONAL, _KINDS.VAR_KEYWORD, _KINDS.POSITIONAL_ONLY):
            raise InvalidInputError(
                f"tool {name!r}: a model gives arguments by name, which {each} cannot be"
            )
        if each.annotation is _KINDS.empty:
            bound = " (of a method, make a tool when it is bound)" if each.name == "self" else ""
            raise InvalidInputError(
                f"tool {name!r}: parameter {each.name!r} has no type, and a model "
                f"needs one: write {each.name}: str, or whatever it takes{bound}"
            )
    return given


def _field(parameter: inspect.Parameter, doc: str) -> tuple[str, Any, Any]:
    kind = parameter.annotation
    notes = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    text = next((note for note in notes if isinstance(note, str)), doc)
    if text:
        kind = Annotated[kind, msgspec.Meta(description=text)]
    if parameter.default is _KINDS.empty:
        return parameter.name, kind, msgspec.field()
    # A missing argument is not passed, so that the function's own default holds.
    return parameter.name, kind, msgspec.field(default_factory=lambda: _UNSET)


def _check_type(tool: str, parameter: str, kind: Any) -> None:
    try:
        msgspec.json.schema(kind, schema_hook=models_into({}))
    except Exception as error:  # a type's own code may raise anything
        why = (str(error).splitlines() or [type(error).__name__])[-1]
        raise InvalidInputError(
            f"tool {tool!r}: parameter {parameter!r} has a type that cannot be a JSON schema: {why}"
        ) from error


def _add_default(schema: dict[str, Any], default: Any) -> None:
    try:
        schema["default"] = msgspec.to_builtins(default)
    except (TypeError, ValueError):
        return  # a default that JSON does not have is left out of the schema
