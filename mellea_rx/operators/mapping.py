"""Operators that map inputs to calls: `map_async` and `map_generate`.

They run on the concurrent map, so many calls at once as the caller allows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar, cast, overload

from reactivex import Observable

from mellea_rx.core.streams.thunk import ModelOutputThunk, when_ended
from mellea_rx.core.text.placeholders import OptionalVariables
from mellea_rx.core.types.validation import require_choice, require_positive_int
from mellea_rx.errors import InvalidInputError
from mellea_rx.operators.bridges import Inputs, inputs_of, to_thunk
from mellea_rx.operators.concurrent_map import ConcurrentMap, Row
from mellea_rx.operators.rate_limit import RateLimit

_FIELDS = ("_fields", "__dataclass_fields__", "__struct_fields__", "__pydantic_fields__")
"""Class attributes with field names: of named tuples, dataclasses, Structs and Pydantic models."""


def variables_of(item: Any) -> OptionalVariables:
    """Return the variables of an input: its fields by their names, and the input as `input`.

    Example:
        >>> from collections import namedtuple
        >>> variables_of(namedtuple("Row", ["Index", "city"])(0, "Oslo"))["city"]
        'Oslo'
        >>> variables_of(5)
        {'input': 5}
    """
    if isinstance(item, Mapping):
        return OptionalVariables({"input": item, **item})
    named = {name: getattr(item, name) for name in _fields_of(type(item)) if hasattr(item, name)}
    return OptionalVariables({"input": item, **named})


def _fields_of(kind: type) -> Iterable[str]:
    for attribute in _FIELDS:
        fields = getattr(kind, attribute, None)
        if fields is not None:
            return cast("Iterable[str]", fields)
    return ()


A = TypeVar("A")
R = TypeVar("R")


# The parameter of a function is `Any`, not a type variable: type checkers would take that for the
# type of a lambda's parameter, and accept nothing that the lambda does with it.


@overload
def map_async(
    fn: Callable[[Any], Coroutine[Any, Any, R]], *, max_concurrent: int, ordered: bool = True
) -> Callable[[Inputs[Any]], Observable[R]]: ...
@overload
def map_async(
    fn: Callable[[Any], R], *, max_concurrent: int, ordered: bool = True
) -> Callable[[Inputs[Any]], Observable[R]]: ...
def map_async(
    fn: Callable[[Any], Any], *, max_concurrent: int, ordered: bool = True
) -> Callable[[Inputs[Any]], Observable[Any]]:
    """Call a function with each input, with a limit on concurrent calls, and emit its results.

        source:                                             (4,2,9|)
        map_async(slow, max_concurrent=2):                  ----(4,2)----(9|)
        map_async(slow, max_concurrent=2, ordered=False):   --2-4------(9|)

    (`slow` takes as many seconds as its input says.)

    An async function runs on the subscriber's event loop (without one, on a loop of its own), a
    sync one in a worker thread. The next input is pulled when a call has ended and the subscriber
    has taken its result, so an iterable or async iterable is never read ahead. An Observable pushes
    its items, which wait in a queue.

    Example:
        >>> from mellea_rx.operators import to_iterator
        >>> async def double(n: int) -> int:
        ...     return 2 * n
        >>> list(to_iterator(map_async(double, max_concurrent=2)([1, 2, 3])))
        [2, 4, 6]

    Args:
        fn: A sync or async function of one input. (A thunk or another Observable that it returns is
            a result; it is not awaited.)
        max_concurrent: The largest number of calls that run at once.
        ordered: Whether results keep the order of their inputs; else they are emitted as they
            arrive.

    Returns:
        An operator on any stream of inputs: iterable, async iterable or Observable. It fails with
        the exceptions of `fn` and of the inputs. Calls that still run when it fails, or when its
        subscription is disposed, are cancelled.

    Raises:
        InvalidInputError: `fn` is not callable, or `max_concurrent` is not an int of 1 or more.
    """
    if not callable(fn):
        raise InvalidInputError(f"map_async takes a function, not a {type(fn).__name__}")
    limit = require_positive_int("max_concurrent", max_concurrent)
    operation = _FunctionCalls(fn)

    def mapped(inputs: Inputs[Any]) -> Observable[Any]:
        return ConcurrentMap(
            inputs_of("map_async", inputs),
            lambda: operation,
            max_concurrent=limit,
            ordered=ordered,
        )

    return mapped


class _FunctionCalls:
    """The operation of a concurrent map that calls a function."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def pause(self) -> float:
        return 0.0

    def count_start(self) -> None:
        """There is no limit to count for."""

    def start(self, row: Row) -> None:
        row.call(self._function, row.complete)

    def count_end(self, row: Row) -> None:
        """There is no limit to count for."""


DEFAULT_CONCURRENT = 16
"""The default of `max_concurrent`: more calls than most servers answer at a time."""


Emit = Literal["generated", "started"]
"""The time at which `map_generate` emits a call: when it has ended, or when it starts."""


class Instructs(Protocol):
    """The part of a session that `map_generate` needs."""

    def ainstruct(
        self, description: str, *, user_variables: Mapping[str, Any] | None = None
    ) -> Coroutine[Any, Any, ModelOutputThunk[str]]:
        """Start a call, and return its thunk."""
        ...


@dataclass(frozen=True, slots=True)
class Started(Generic[A]):
    """An input with its running call. `str(started)` is the text so far.

    Attributes:
        index: The input's number, from 0.
        input: The input.
        thunk: Its call.
    """

    index: int
    input: A
    thunk: ModelOutputThunk[Any]

    @property
    def error(self) -> Exception | None:
        """The error of the call, if it has failed."""
        return self.thunk.error

    def __str__(self) -> str:
        return self.thunk.text


@dataclass(frozen=True, slots=True)
class Generated(Started[A]):
    """An input with its call, which has ended. `str(generated)` is the text.

    Attributes:
        index: The input's number, from 0.
        input: The input.
        thunk: Its call.
    """

    @property
    def value(self) -> str:
        """The whole text. Raises the error of a failed call."""
        return cast("str", self.thunk.value)  # a str, since the call has ended


StartCall: TypeAlias = Callable[[Any], Observable[Any] | Coroutine[Any, Any, Observable[Any]]]
"""Makes a call for an input: a thunk, a cold call or another Observable, or a coroutine of one."""


@overload
def map_generate(
    session: Instructs,
    template: str,
    /,
    *,
    max_concurrent: int = DEFAULT_CONCURRENT,
    ordered: bool = True,
    per_second: float | None = None,
    tokens_per_minute: float | None = None,
    emit: Literal["generated"] = "generated",
) -> Callable[[Inputs[A]], Observable[Generated[A]]]: ...
@overload
def map_generate(
    call: StartCall,
    /,
    *,
    max_concurrent: int = DEFAULT_CONCURRENT,
    ordered: bool = True,
    per_second: float | None = None,
    tokens_per_minute: float | None = None,
    emit: Literal["generated"] = "generated",
) -> Callable[[Inputs[A]], Observable[Generated[A]]]: ...
@overload
def map_generate(
    session: Instructs,
    template: str,
    /,
    *,
    max_concurrent: int = DEFAULT_CONCURRENT,
    ordered: bool = True,
    per_second: float | None = None,
    tokens_per_minute: float | None = None,
    emit: Literal["started"],
) -> Callable[[Inputs[A]], Observable[Started[A]]]: ...
@overload
def map_generate(
    call: StartCall,
    /,
    *,
    max_concurrent: int = DEFAULT_CONCURRENT,
    ordered: bool = True,
    per_second: float | None = None,
    tokens_per_minute: float | None = None,
    emit: Literal["started"],
) -> Callable[[Inputs[A]], Observable[Started[A]]]: ...
def map_generate(
    call: Any,
    template: str | None = None,
    /,
    *,
    max_concurrent: int = DEFAULT_CONCURRENT,
    ordered: bool = True,
    per_second: float | None = None,
    tokens_per_minute: float | None = None,
    emit: Emit = "generated",
) -> Callable[[Inputs[Any]], Observable[Any]]:
    """Call the model for each input, with a limit on concurrent calls, and emit the calls.

        source:                                            (4,2,9|)
        map_generate(m, "{{ input }}", max_concurrent=2):  ----(4,2)----(9|)

    (`m` takes as many seconds as its prompt says.)

    The next input is pulled when a call has ended and the subscriber has taken its item, so an
    iterable or async iterable is never read ahead. A call that fails is an item too, and the others
    go on: the item's `error` is set, and its `value` raises it. When the subscription is disposed,
    the running calls are cancelled.

    Example:
        >>> from mellea_rx import MelleaSession, ScriptedBackend
        >>> from mellea_rx.operators import to_iterator
        >>> m = MelleaSession(ScriptedBackend(lambda request: request.messages[-1].content.upper()))
        >>> rows = [{"city": "Oslo"}, {"city": "Rome"}]
        >>> done = map_generate(m, "Describe {{ city }}.", max_concurrent=2)(rows)
        >>> [(each.input["city"], each.value) for each in to_iterator(done)]
        [('Oslo', 'DESCRIBE OSLO.'), ('Rome', 'DESCRIBE ROME.')]

    Args:
        call: A session, or a function that makes a call for an input: a coroutine of a verb, a
            thunk, a cold call, or an Observable made of one. An async function runs on the
            subscriber's event loop, a sync one in a worker thread.
        template: With a session: the description for `instruct`. Each input is the variable
            `input`; the fields of a mapping, named tuple, dataclass, Struct or Pydantic model are
            variables too. The template need not use all of them.
        max_concurrent: The largest number of calls that run at once.
        ordered: Whether items keep the order of the inputs; else they are emitted as they arrive.
        per_second: The largest number of calls that start per second, evenly spaced.
        tokens_per_minute: The largest number of tokens (prompt and completion) per minute. The
            tokens of a call are known when it has ended; until then it counts with the average.
        emit: "generated": each call is emitted when it has ended, as `Generated`. "started": each
            call is emitted when it starts, as `Started` with a running thunk, for output that is
            shown while it streams.

    Returns:
        An operator on any stream of inputs: iterable, async iterable or Observable. It fails with
        the exceptions of the inputs, and of the function that makes a call.

    Raises:
        InvalidInputError: An argument cannot be used; the message names it.
    """
    require_choice("emit", emit, Emit)
    options = _Options(max_concurrent, ordered, per_second, tokens_per_minute, emit)
    return _calls("map_generate", call, template, options)


@overload
def map_thunks(
    session: Instructs,
    template: str,
    /,
    *,
    max_concurrent: int = DEFAULT_CONCURRENT,
    per_second: float | None = None,
    tokens_per_minute: float | None = None,
) -> Callable[[Inputs[A]], Observable[Started[A]]]: ...
@overload
def map_thunks(
    call: StartCall,
    /,
    *,
    max_concurrent: int = DEFAULT_CONCURRENT,
    per_second: float | None = None,
    tokens_per_minute: float | None = None,
) -> Callable[[Inputs[A]], Observable[Started[A]]]: ...
def map_thunks(
    call: Any,
    template: str | None = None,
    /,
    *,
    max_concurrent: int = DEFAULT_CONCURRENT,
    per_second: float | None = None,
    tokens_per_minute: float | None = None,
) -> Callable[[Inputs[Any]], Observable[Started[Any]]]:
    """Emit each call when it starts: an alias of `map_generate(..., emit="started")`.

        source:                                           (3,1|)
        map_thunks(m, "{{ input }}", max_concurrent=1):   3--1|

    (`m` takes as many seconds as its prompt says; each item is drawn as its input.)

    Example:
        >>> from mellea_rx import MelleaSession, ScriptedBackend
        >>> from mellea_rx.operators import to_iterator
        >>> m = MelleaSession(ScriptedBackend("Snow.", "Sun."))
        >>> running = map_thunks(m, "Weather in {{ input }}?", max_concurrent=1)(["Oslo", "Rome"])
        >>> [str(each.thunk) for each in to_iterator(running)]
        ['Snow.', 'Sun.']

    Args:
        call: As in `map_generate`.
        template: As in `map_generate`.
        max_concurrent: As in `map_generate`.
        per_second: As in `map_generate`.
        tokens_per_minute: As in `map_generate`.

    Returns:
        An operator on any stream of inputs, which completes when all calls have ended.

    Raises:
        InvalidInputError: An argument cannot be used; the message names it.
    """
    options = _Options(max_concurrent, True, per_second, tokens_per_minute, "started")
    return _calls("map_thunks", call, template, options)


@dataclass(frozen=True, slots=True)
class _Options:
    """The keyword arguments of `map_generate`. Creating it validates them.

    Attributes:
        max_concurrent: As in `map_generate`.
        ordered: As in `map_generate`.
        per_second: As in `map_generate`.
        tokens_per_minute: As in `map_generate`.
        emit: As in `map_generate`.
    """

    max_concurrent: int
    ordered: bool
    per_second: float | None
    tokens_per_minute: float | None
    emit: Emit

    def __post_init__(self) -> None:
        require_positive_int("max_concurrent", self.max_concurrent)
        self.new_limit()

    def new_limit(self) -> RateLimit:
        """Return a new rate limit, for one subscription."""
        return RateLimit(self.per_second, self.tokens_per_minute)


def _calls(
    name: str, call: Any, template: str | None, options: _Options
) -> Callable[[Inputs[Any]], Observable[Any]]:
    maker = _maker(name, call, template)

    def mapped(inputs: Inputs[Any]) -> Observable[Any]:
        return ConcurrentMap(
            inputs_of(name, inputs),
            lambda: _Generations(maker, options.new_limit(), options.emit),
            max_concurrent=options.max_concurrent,
            ordered=options.ordered,
        )

    return mapped


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the call for an input.

    Attributes:
        function: The function that makes the call.
        is_quick: Whether the function never blocks, and so needs neither a task nor a thread.
    """

    function: Callable[[Any], Any]
    is_quick: bool = False


def _maker(name: str, call: Any, template: str | None) -> _Maker:
    if template is None:
        if callable(call):
            return _Maker(call)
        raise InvalidInputError(
            f"{name} takes a session and a template, or a function that makes a call for an input, "
            f"not a {type(call).__name__} alone"
        )
    if not hasattr(call, "ainstruct"):
        raise InvalidInputError(f"{name} takes a template with a session only")
    session: Instructs = call

    def variables(item: Any) -> Mapping[str, Any]:
        found = variables_of(item)
        if "input" not in template and len(found) > 1:
            del found["input"]  # the whole input again, which the template does not use
        return found

    async def instruct(item: Any) -> ModelOutputThunk[str]:
        return await session.ainstruct(template, user_variables=variables(item))

    if not _starts_at_once(session):
        return _Maker(instruct)

    def start(item: Any) -> ModelOutputThunk[str]:
        coroutine = session.ainstruct(template, user_variables=variables(item))
        try:
            coroutine.send(None)
        except StopIteration as ended:
            thunk: ModelOutputThunk[str] = ended.value
            return thunk
        coroutine.close()
        raise RuntimeError(f"{session!r} waits where it starts a call")

    return _Maker(start, is_quick=True)


def _starts_at_once(session: Instructs) -> bool:
    """Return whether the session's `ainstruct` never waits.

    That holds for the library's own `ainstruct`, which its cold verb wraps. A subclass, or another
    kind of session, may have one that waits.
    """
    cold = getattr(getattr(session, "cold", None), "instruct", None)
    own = getattr(session.ainstruct, "__func__", None)
    return own is not None and getattr(cold, "__wrapped__", None) is own


class _Generations:
    """The operation of a concurrent map that calls the model.

    Args:
        maker: Makes the calls.
        limit: The rate limit of the subscription.
        emit: When calls are emitted.
    """

    def __init__(self, maker: _Maker, limit: RateLimit, emit: Emit) -> None:
        self._maker = maker
        self._limit = limit
        self._emits_at_start = emit == "started"
        self._clock = asyncio.get_running_loop().time

    def pause(self) -> float:
        return self._limit.wait(self._clock())

    def count_start(self) -> None:
        self._limit.start(self._clock())

    def start(self, row: Row) -> None:
        if self._maker.is_quick:
            self._on_made(row, self._maker.function(row.input))
        else:
            row.call(self._maker.function, partial(self._on_made, row))

    def count_end(self, row: Row) -> None:
        self._limit.end(self._clock(), row.work.usage)

    def _on_made(self, row: Row, source: Any) -> None:
        thunk = row.work = to_thunk(source)
        row.on_cancel(partial(thunk.cancel, "its subscription has ended"))
        if self._emits_at_start:
            row.emit(Started(row.index, row.input, thunk))
        run = row.run
        when_ended(thunk, run.dispatcher, partial(self._on_ended, row), run.abandon)

    def _on_ended(self, row: Row) -> None:
        if self._emits_at_start:
            row.finish()
        else:
            row.complete(Generated(row.index, row.input, row.work))
