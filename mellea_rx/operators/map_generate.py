"""A call of the model for each of a stream of inputs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast, overload

from reactivex import Observable

from mellea_rx.core.arguments import count
from mellea_rx.core.emitter import Emit
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.errors import InvalidInputError, MelleaRxError
from mellea_rx.operators.from_async_iterable import Inputs, inputs_of
from mellea_rx.operators.pump import Caller, Ready, Work, pumped
from mellea_rx.operators.rate import RateLimit
from mellea_rx.operators.rows import variables_of
from mellea_rx.operators.to_thunk import to_thunk

__all__ = [
    "DEFAULT_CONCURRENT",
    "Generated",
    "Instructs",
    "Started",
    "map_generate",
    "map_thunks",
]

DEFAULT_CONCURRENT = 16
"""Calls at once, where nothing else is said: more than most servers answer at a time."""

A = TypeVar("A")


class Instructs(Protocol):
    """A session, as far as it is needed here."""

    def ainstruct(
        self, description: str, *, user_variables: Mapping[str, Any] | None = None
    ) -> Coroutine[Any, Any, ModelOutputThunk[str]]:
        """Start a call."""
        ...


@dataclass(frozen=True, slots=True)
class Started(Generic[A]):
    """An input, and the running call for it. `str(started)` is the text so far.

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
        """Why the call failed, if it did."""
        return self.thunk.error

    def __str__(self) -> str:
        return self.thunk.text


@dataclass(frozen=True, slots=True)
class Generated(Started[A]):
    """An input, and the call for it, which has ended. `str(generated)` is the text.

    Attributes:
        index: The input's number, from 0.
        input: The input.
        thunk: Its call.
    """

    @property
    def value(self) -> str:
        """The whole text. Raises the error of a call that failed."""
        return cast("str", self.thunk.value)  # it has ended


Call: TypeAlias = Callable[[A], Observable[Any] | Coroutine[Any, Any, Observable[Any]]]
"""Makes a call for an input: a thunk, a cold call, another Observable, a coroutine of one."""


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
) -> Callable[[Inputs[A]], Observable[Generated[A]]]: ...
@overload
def map_generate(
    call: Call[A],
    /,
    *,
    max_concurrent: int = DEFAULT_CONCURRENT,
    ordered: bool = True,
    per_second: float | None = None,
    tokens_per_minute: float | None = None,
) -> Callable[[Inputs[A]], Observable[Generated[A]]]: ...
def map_generate(
    call: Any,
    template: str | None = None,
    /,
    *,
    max_concurrent: int = DEFAULT_CONCURRENT,
    ordered: bool = True,
    per_second: float | None = None,
    tokens_per_minute: float | None = None,
) -> Callable[[Inputs[Any]], Observable[Generated[Any]]]:
    """A call of the model for each input, so many at once; each is given out when it has ended.

        source:                                            (4,2,9|)
        map_generate(m, "{{ input }}", max_concurrent=2):  ----(4,2)----(9|)

    (`m` takes as many seconds as its prompt says.)

    The next input is pulled when a call has ended and is taken: a list, a generator, an async
    generator is never read ahead. A call that fails is an item too, and the others go on: its
    `error` tells, and `value` raises it. When the stream is left, the calls that run are cancelled.

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
            thunk, a cold call, or what operators make of one. An async one runs on the subscriber's
            event loop, a sync one in a worker thread.
        template: With a session: the description to instruct. Each input is its variable `input`;
            the fields of a mapping, named tuple, dataclass, Struct or Pydantic model are variables
            too. It need not use all of them.
        max_concurrent: At most so many calls at once.
        ordered: In the order of the inputs; else as they end.
        per_second: How many calls may start in a second, evenly spaced.
        tokens_per_minute: How many tokens (prompt and completion) the calls may take in a minute.
            What a call takes is known when it has ended; until then it counts as the average does.

    Returns:
        An operator on any stream of inputs: iterable, async iterable or Observable. It fails with
        what the inputs or the making of a call raise.

    Raises:
        InvalidInputError: An argument that cannot be used, by name.
    """
    run = _Run(_maker("map_generate", call, template), at_start=False)
    limits = partial(RateLimit, per_second, tokens_per_minute)
    return _generating("map_generate", run, limits, max_concurrent, ordered)


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
    call: Call[A],
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
    """As `map_generate`, but each call is given out when it starts, as a running thunk.

        source:                                           (3,1|)
        map_thunks(m, "{{ input }}", max_concurrent=1):   3--1|

    (`m` takes as many seconds as its prompt says; drawn is an item's input.)

    For what is shown while it comes. The next input is pulled when a call has ended.

    Example:
        >>> from mellea_rx import MelleaSession, ScriptedBackend
        >>> from mellea_rx.operators import to_iterator
        >>> m = MelleaSession(ScriptedBackend("Snow.", "Sun."))
        >>> running = map_thunks(m, "Weather in {{ input }}?", max_concurrent=1)(["Oslo", "Rome"])
        >>> [str(each.thunk) for each in to_iterator(running)]
        ['Snow.', 'Sun.']

    Args:
        call: As that of `map_generate`.
        template: As that of `map_generate`.
        max_concurrent: How many calls run at once.
        per_second: As that of `map_generate`.
        tokens_per_minute: As that of `map_generate`.

    Returns:
        An operator on any stream of inputs; complete when all calls have ended.

    Raises:
        InvalidInputError: An argument that cannot be used, by name.
    """
    run = _Run(_maker("map_thunks", call, template), at_start=True)
    limits = partial(RateLimit, per_second, tokens_per_minute)
    return _generating("map_thunks", run, limits, max_concurrent, True)


def _maker(name: str, call: Any, template: str | None) -> Callable[[Any], Any]:
    """The function that makes a call for an input."""
    if template is None:
        if callable(call):
            made: Callable[[Any], Any] = call
            return made
        raise InvalidInputError(
            f"{name} takes a session and a template, or a function that makes a call for an input; "
            f"not a {type(call).__name__} alone"
        )
    if not hasattr(call, "ainstruct"):
        raise InvalidInputError(f"{name} takes a template with a session only")
    session: Instructs = call

    async def instruct(item: Any) -> ModelOutputThunk[str]:
        return await session.ainstruct(template, user_variables=variables_of(item))

    return instruct


@dataclass(frozen=True, slots=True)
class _Run:
    """One call: makes it, gives it out at its start or end, and returns at its end."""

    make: Callable[[Any], Any]
    at_start: bool

    async def one(
        self, index: int, item: Any, call: Caller[Any], emit: Emit[Any]
    ) -> ModelOutputThunk[Any]:
        thunk = to_thunk(await call(self.make, item))
        try:
            if self.at_start:
                await emit(Started(index, item, thunk))
            await thunk.avalue()
        except MelleaRxError:
            pass  # the thunk has it
        except asyncio.CancelledError:
            thunk.cancel("nobody takes it any more")
            raise
        if not self.at_start:
            await emit(Generated(index, item, thunk))
        return thunk


def _generating(
    name: str, run: _Run, limits: Callable[[], RateLimit], max_concurrent: int, ordered: bool
) -> Callable[[Inputs[Any]], Observable[Any]]:
    concurrent = count("max_concurrent", max_concurrent)
    limits()  # refuses what cannot be used, before anything starts

    def begin() -> tuple[Work[Any, Any], Ready]:
        limit = limits()
        clock = asyncio.get_running_loop().time

        async def work(index: int, item: Any, call: Caller[Any], emit: Emit[Any]) -> None:
            thunk = await run.one(index, item, call, emit)
            limit.end(clock(), thunk.usage)

        async def ready() -> None:
            pause = limit.wait(clock())
            while pause > 0:
                await asyncio.sleep(pause)
                pause = limit.wait(clock())
            limit.start(clock())

        return work, ready

    def generating(inputs: Inputs[Any]) -> Observable[Any]:
        return pumped(inputs_of(name, inputs), begin, max_concurrent=concurrent, ordered=ordered)

    return generating
