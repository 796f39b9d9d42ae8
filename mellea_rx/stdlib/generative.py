"""`@generative`: a typed function stub that a model carries out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import update_wrapper
from inspect import iscoroutinefunction
from typing import (
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    cast,
    get_type_hints,
    overload,
)

from mellea_rx.core.interfaces.component import Template
from mellea_rx.core.interfaces.sampling import SamplingStrategy
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.types.output_format import OutputFormat
from mellea_rx.errors import InvalidInputError
from mellea_rx.helpers.sync_verbs import blocking_thunk, wait_for_thunk
from mellea_rx.stdlib.components.instruction import FunctionCall
from mellea_rx.stdlib.formats import as_format
from mellea_rx.stdlib.objects.description import describe_object
from mellea_rx.stdlib.requirements import as_requirements
from mellea_rx.stdlib.session.call_options import (
    DEFAULT_STRATEGY,
    KEYWORDS,
    CallOptions,
    ModelOptions,
    Requirements,
    StreamKwargs,
    with_keywords,
)
from mellea_rx.stdlib.session.session import MelleaSession, get_session

__all__ = [
    "AsyncGenerativeFunction",
    "GenerativeFunction",
    "Stub",
    "generative",
    "stub_of",
]


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
            hint = f"; {settings[0]} goes into {name}.using(...)" if settings else ""
            raise InvalidInputError(f"{name}(): {error}{hint}") from None
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


P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")

_settled = blocking_thunk(wait_for_thunk)


class _Startable(Generic[P, R]):
    """The common base of sync and async generative functions."""

    def __init__(self, stub: Stub, spec: CallOptions, bound: tuple[Any, ...] = ()) -> None:
        update_wrapper(cast("Any", self), stub.function)
        parameters = list(stub.signature.parameters.values())[len(bound) :]
        self.__signature__ = stub.signature.replace(parameters=parameters)
        self._stub = stub
        self._spec = spec
        self._bound = bound

    @overload
    def start(
        self, session: MelleaSession, /, *args: P.args, **kwargs: P.kwargs
    ) -> ModelOutputThunk[R]: ...

    @overload
    def start(self, /, *args: P.args, **kwargs: P.kwargs) -> ModelOutputThunk[R]: ...

    def start(self, /, *args: Any, **kwargs: Any) -> ModelOutputThunk[Any]:
        """Start a call, and return its thunk at once.

        Args:
            args: The session (by default the one whose `with` block encloses the call), then the
                function's own arguments. Thunks among them are waited for, in the pipeline.
            kwargs: The function's own arguments, by name.

        Returns:
            The running thunk; its `parsed` is what the function returns.

        Raises:
            InvalidInputError: The arguments are not those of the function.
            NoSessionError: The arguments have no session, and none is open here.
        """
        given = bool(args) and isinstance(args[0], MelleaSession)
        session = args[0] if given else get_session()
        arguments = self._stub.arguments((*self._bound, *args[given:]), kwargs)
        stated = tuple(each.description for each in self._spec.requirements if not each.check_only)
        action = FunctionCall(self._stub.task, _shown(arguments, self._stub), stated)
        return session._start(action, self._spec)

    def using(
        self,
        *,
        requirements: Requirements | None = None,
        strategy: SamplingStrategy | None = DEFAULT_STRATEGY,
        require: bool = False,
        model_options: ModelOptions | None = None,
        **options: Unpack[StreamKwargs],
    ) -> Self:
        """This function with other settings, which are those of `ainstruct`.

        Example:
            >>> careful = classify.using(temperature=0)      # doctest: +SKIP

        Raises:
            InvalidInputError: A value is not a requirement.
        """
        model_options = with_keywords(self.using, model_options, options)
        checks = as_requirements(requirements)
        spec = CallOptions(checks, strategy, require, model_options, self._stub.format)
        return type(self)(self._stub, spec, self._bound)

    def _of(self, instance: object) -> Self:
        return self if instance is None else type(self)(self._stub, self._spec, (instance,))

    def __repr__(self) -> str:
        return f"<generative {self._stub.function.__qualname__}{self._stub.signature}>"


class GenerativeFunction(_Startable[P, R]):
    """A function that a model carries out; see `generative`."""

    @overload
    def __call__(self, session: MelleaSession, /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Make the call, and wait for the object that the model returns; see `start`.

        Raises:
            FormatError: No answer fits the return type.
            MelleaRxError: The generation failed.
        """
        return _settled(self.start(*args, **kwargs)).parsed

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...

    @overload
    def __get__(
        self: GenerativeFunction[Concatenate[S, Q], R], instance: S, owner: type | None = None
    ) -> GenerativeFunction[Q, R]: ...

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """As a method: the prompt shows the object as `query` does."""
        return self._of(instance)


class AsyncGenerativeFunction(_Startable[P, R]):
    """An async function that a model carries out; see `generative`."""

    @overload
    def __call__(
        self, session: MelleaSession, /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...

    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]: ...

    def __call__(self, /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """A coroutine that makes the call and returns the model's object; see `start`.

        Raises:
            FormatError: (when awaited) No answer fits the return type.
            MelleaRxError: (when awaited) The generation failed.
        """
        return self._returned(*args, **kwargs)

    async def _returned(self, /, *args: Any, **kwargs: Any) -> Any:
        return (await wait_for_thunk(self.start(*args, **kwargs))).parsed

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...

    @overload
    def __get__(
        self: AsyncGenerativeFunction[Concatenate[S, Q], R],
        instance: S,
        owner: type | None = None,
    ) -> AsyncGenerativeFunction[Q, R]: ...

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """As a method: the prompt shows the object as `query` does."""
        return self._of(instance)


# An async stub is a function too: the first overload that matches is taken.
@overload
def generative(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    stub: Callable[P, Coroutine[Any, Any, R]],
) -> AsyncGenerativeFunction[P, R]: ...


@overload
def generative(stub: Callable[P, R]) -> GenerativeFunction[P, R]: ...


def generative(stub: Callable[..., Any]) -> Any:
    """Turn a typed stub into a function that a model carries out.

    The docstring is the task, the prompt shows the arguments by name, and the return type is the
    format of the answer (as `format=`; `str` is plain text). The stub's own body never runs. Calls
    take a session first; inside its `with` block it may be left out. Where the answer does not fit
    the format, there is one more attempt; `using` changes that, and sets requirements and options.

    Args:
        stub: A function (def or async def) or method whose parameters and result have types.

    Returns:
        The function. Calling it returns the model's object (an async one: a coroutine of it);
        `start` returns the running thunk at once.

    Example:
        >>> from typing import Literal
        >>> from mellea_rx import MelleaSession, ScriptedBackend
        >>> @generative
        ... def mood(text: str) -> Literal["good", "bad"]:
        ...     '''What is the mood of the text?'''
        >>> mood(MelleaSession(ScriptedBackend('"good"')), text="What a day!")
        'good'

    Raises:
        InvalidInputError: There is no docstring, a parameter has no type, the return type is
            missing or not a supported answer type, or the stub takes `*args`.
    """
    looked_over = stub_of(stub)
    kind = AsyncGenerativeFunction if iscoroutinefunction(stub) else GenerativeFunction
    spec = CallOptions(strategy=DEFAULT_STRATEGY, format=looked_over.format)
    return kind(looked_over, spec)


def _shown(arguments: dict[str, Any], stub: Stub) -> dict[str, Any]:
    """The arguments as a prompt shows them; the object of a method as `query` shows it."""
    if not stub.is_method:
        return arguments
    (name, instance), *rest = arguments.items()
    try:
        description: dict[str, Template] = {name: describe_object(instance)}
    except InvalidInputError:  # an object without anything to show is left out
        description = {}
    return {**description, **dict(rest)}
