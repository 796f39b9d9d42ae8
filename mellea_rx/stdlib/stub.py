"""`Stub`: the task, parameters and return type of a function stub, for `@generative`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from mellea_rx.core.format import OutputFormat
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.formats import as_format
from mellea_rx.stdlib.keywords import KEYWORDS

__all__ = ["Stub", "stub_of"]

_SETTINGS = ("requirements", "strategy", "require", "model_options", *KEYWORDS)
_PACKED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Stub:
    """A function without code: its docstring and types describe a task.

    Attributes:
        function: The function itself.
        task: Its docstring.
        signature: Its parameters.
        format: The format of its answers; None for text.
    """

    function: Callable[..., Any]
    task: str
    signature: inspect.Signature
    format: OutputFormat[Any] | None

    @property
    def is_method(self) -> bool:
        """Whether its first parameter is `self`."""
        return _is_self(next(iter(self.signature.parameters.values()), None))

    def arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name, defaults included.

        Raises:
            InvalidInputError: They do not fit the function's parameters.
        """
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            name = self.function.__name__
            settings = [each for each in kwargs if each in _SETTINGS]
            advice = f"; {settings[0]} goes into {name}.using(...)" if settings else ""
            raise InvalidInputError(f"{name}(): {error}{advice}") from None
        bound.apply_defaults()
        return bound.arguments


def stub_of(function: Any) -> Stub:
    """Read a stub.

    Raises:
        InvalidInputError: It is not a function, has no docstring, a parameter without a type or
            `*args`, or its return type is missing or not a supported answer type.
    """
    if not inspect.isfunction(function):
        raise InvalidInputError(
            f"@generative takes a function (def or async def), not {type(function).__name__}"
        )
    name = function.__name__
    task = inspect.cleandoc(function.__doc__ or "")
    if not task:
        raise InvalidInputError(f"{name}() has no docstring: it is what the model is asked to do")
    signature = inspect.signature(function)
    _require_types(name, signature)
    return Stub(function, task, signature, _returned(function))


def _require_types(name: str, signature: inspect.Signature) -> None:
    for index, parameter in enumerate(signature.parameters.values()):
        if parameter.kind in _PACKED:
            shown = str(parameter).partition(":")[0]
            raise InvalidInputError(f"{name}() takes {shown}: name each of its parameters")
        is_typed = parameter.annotation is not parameter.empty
        if not is_typed and not (index == 0 and _is_self(parameter)):
            raise InvalidInputError(f"parameter {parameter.name!r} of {name}() has no type")


def _is_self(first: inspect.Parameter | None) -> bool:
    return first is not None and first.name == "self" and first.annotation is first.empty


def _returned(function: Callable[..., Any]) -> OutputFormat[Any] | None:
    name = function.__name__
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:  # an annotation may run any code
        raise InvalidInputError(
            f"the types of {name}() cannot be looked up: {error} (they have to be known where it "
            "is defined, at the top of a module)"
        ) from error
    if hints.get("return", type(None)) is type(None):
        raise InvalidInputError(f"{name}() has no return type: it is the form of the answer")
    try:
        return as_format(hints["return"])
    except InvalidInputError as error:
        raise InvalidInputError(f"the return type of {name}() cannot be used: {error}") from error
