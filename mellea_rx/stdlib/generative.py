"""`@generative`: a typed function stub that a model carries out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import update_wrapper
from inspect import iscoroutinefunction
from typing import (
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    Unpack,
    cast,
    get_type_hints,
    overload,
)

import msgspec

from mellea_rx.core.interfaces.component import Template
from mellea_rx.core.interfaces.sampling import Requirements, SamplingStrategy
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.types.output_format import OutputFormat
from mellea_rx.core.types.release import OnReject, Release, as_wish
from mellea_rx.core.types.requirement import Requirement
from mellea_rx.core.types.validation import either_name
from mellea_rx.errors import InvalidInputError
from mellea_rx.helpers.sync_verbs import blocking_thunk, wait_for_thunk
from mellea_rx.stdlib.components.instruction import FunctionCall
from mellea_rx.stdlib.formats import as_format
from mellea_rx.stdlib.objects.description import describe_object
from mellea_rx.stdlib.requirements import as_requirements
from mellea_rx.stdlib.requirements.preconditions import Preconditions
from mellea_rx.stdlib.session.call_options import (
    DEFAULT_STRATEGY,
    KEYWORDS,
    CallOptions,
    ModelOptions,
    StreamKwargs,
    requirements_with,
    with_keywords,
)
from mellea_rx.stdlib.session.session import MelleaSession, get_session

__all__ = [
    "AsyncGenerativeFunction",
    "GenerativeDecorator",
    "GenerativeFunction",
    "Stub",
    "generative",
    "stub_of",
]


_SETTINGS = (
    *("requirements", "preconditions", "precondition_requirements", "strategy", "require"),
    *("release", "on_reject", "model_options", *KEYWORDS),
)
_PACKED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Stub:
    """A function without code: its docstring and types describe a task.

    Attributes:
        function: The function itself.
        task: Its docstring.
        signature: Its parameters.
        format: The format of its answers; None for text.
        preconditions: The requirements on the arguments of each call.
    """

    function: Callable[..., Any]
    task: str
    signature: inspect.Signature
    format: OutputFormat[Any] | None
    preconditions: tuple[Requirement, ...] = ()

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

    def __init__(
        self,
        stub: Stub,
        spec: CallOptions,
        preconditions: tuple[Requirement, ...],
        bound: tuple[Any, ...] = (),
    ) -> None:
        update_wrapper(cast("Any", self), stub.function)
        parameters = list(stub.signature.parameters.values())[len(bound) :]
        self.__signature__ = stub.signature.replace(parameters=parameters)
        self._stub = stub
        self._spec = spec
        self._preconditions = preconditions
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
            PreconditionError: (when read) The arguments do not meet a precondition.
        """
        given = bool(args) and isinstance(args[0], MelleaSession)
        session = args[0] if given else get_session()
        arguments = self._stub.arguments((*self._bound, *args[given:]), kwargs)
        stated = tuple(each.description for each in self._spec.requirements if not each.check_only)
        shown = _shown(arguments, self._stub)
        action = FunctionCall(self._stub.task, shown, stated)
        spec = self._spec
        if self._preconditions:
            name = self._stub.function.__name__
            judged = Preconditions(name, self._preconditions, arguments, shown)
            spec = msgspec.structs.replace(spec, preconditions=judged)
        return session._start(action, spec)

    def using(
        self,
        *,
        requirements: Requirements | None = None,
        preconditions: Requirements | None = None,
        strategy: SamplingStrategy | None = DEFAULT_STRATEGY,
        require: bool = False,
        release: Release | None = None,
        on_reject: OnReject | None = None,
        model_options: ModelOptions | None = None,
        precondition_requirements: Requirements | None = None,
        **options: Unpack[StreamKwargs],
    ) -> Self:
        """This function with other settings.

        Args:
            requirements: The requirements on the answer, as those of `ainstruct`.
            preconditions: Requirements on the arguments, beside those of the decorator; see
                `generative`.
            strategy: As that of `ainstruct`.
            require: As that of `ainstruct`.
            release: As that of `ainstruct`.
            on_reject: As that of `ainstruct`.
            model_options: As those of `ainstruct`.
            precondition_requirements: Another name of `preconditions`.
            options: Model options as keywords (`temperature=0`); see `ModelKwargs`.

        Example:
            >>> careful = classify.using(temperature=0)      # doctest: +SKIP

        Raises:
            InvalidInputError: A value is not a requirement, or the preconditions were given by
                both names.
        """
        model_options = with_keywords(self.using, model_options, options)
        checks = requirements_with(requirements, strategy)
        spec = CallOptions(
            checks,
            strategy,
            require,
            model_options,
            self._stub.format,
            release=as_wish(release, on_reject),
        )
        added = _preconditions(preconditions, precondition_requirements)
        return type(self)(self._stub, spec, (*self._stub.preconditions, *added), self._bound)

    def _of(self, instance: object) -> Self:
        if instance is None:
            return self
        return type(self)(self._stub, self._spec, self._preconditions, (instance,))

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
            PreconditionError: The arguments do not meet a precondition.
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
            PreconditionError: (when awaited) The arguments do not meet a precondition.
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
class GenerativeDecorator(Protocol):
    """A decorator of stubs, as `generative(preconditions=...)` returns it."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self, stub: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncGenerativeFunction[P, R]: ...

    @overload
    def __call__(self, stub: Callable[P, R], /) -> GenerativeFunction[P, R]: ...


@overload
def generative(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    stub: Callable[P, Coroutine[Any, Any, R]],
    *,
    preconditions: Requirements | None = None,
    precondition_requirements: Requirements | None = None,
) -> AsyncGenerativeFunction[P, R]: ...


@overload
def generative(
    stub: Callable[P, R],
    *,
    preconditions: Requirements | None = None,
    precondition_requirements: Requirements | None = None,
) -> GenerativeFunction[P, R]: ...


@overload
def generative(
    *,
    preconditions: Requirements | None = None,
    precondition_requirements: Requirements | None = None,
) -> GenerativeDecorator: ...


def generative(
    stub: Callable[..., Any] | None = None,
    *,
    preconditions: Requirements | None = None,
    precondition_requirements: Requirements | None = None,
) -> Any:
    """Turn a typed stub into a function that a model carries out.

    The docstring is the task, the prompt shows the arguments by name, and the return type is the
    format of the answer (as `format=`; `str` is plain text). The stub's own body never runs. Calls
    take a session first; inside its `with` block it may be left out. Where the answer does not fit
    the format, there is one more attempt; `using` changes that, and sets requirements and options.

    Preconditions are requirements on the arguments. They are decided before anything is generated;
    where one is not met, the call fails with `PreconditionError`. Their functions get an `Output`
    whose text has "name: value" for each argument, with blank lines between, as the prompt shows
    them, and whose `parsed` is a dict of the arguments by name (with the text of a thunk instead of
    the thunk). Where there is no function, the model judges that text.

    Args:
        stub: A function (def or async def) or method whose parameters and result have types.
        preconditions: Requirements on the arguments of each call: texts (judged by the model) or
            `Requirement`s; `using` adds more.
        precondition_requirements: Another name of `preconditions`.

    Returns:
        The function. Calling it returns the model's object (an async one: a coroutine of it);
        `start` returns the running thunk at once. Without `stub`: a decorator.

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
            missing or not a supported answer type, the stub takes `*args`, or a precondition is
            not a requirement.
    """
    checks = _preconditions(preconditions, precondition_requirements)

    def decorate(stub: Callable[..., Any]) -> Any:
        looked_over = replace(stub_of(stub), preconditions=checks)
        kind = AsyncGenerativeFunction if iscoroutinefunction(stub) else GenerativeFunction
        spec = CallOptions(strategy=DEFAULT_STRATEGY, format=looked_over.format)
        return kind(looked_over, spec, checks)

    return decorate if stub is None else decorate(stub)


def _preconditions(
    preconditions: Requirements | None, precondition_requirements: Requirements | None
) -> tuple[Requirement, ...]:
    """The preconditions, given by one of two names."""
    given: tuple[str, Requirements | None] = either_name(
        "preconditions", preconditions, "precondition_requirements", precondition_requirements
    )
    return as_requirements(given[1])


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
