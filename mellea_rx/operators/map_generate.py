"""A call of the model for each of a stream of inputs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast, overload

from reactivex import Observable

from mellea_rx.core.arguments import require_positive_int
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.errors import InvalidInputError
from mellea_rx.operators.concurrent_map import ConcurrentMap, Row
from mellea_rx.operators.from_async_iterable import Inputs, inputs_of
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
    make = _maker("map_generate", call, template)
    limits = partial(RateLimit, per_second, tokens_per_minute)
    return _generating(
        "map_generate", make, limits, max_concurrent, ordered=ordered, at_start=False
    )


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
    make = _maker("map_thunks", call, template)
    limits = partial(RateLimit, per_second, tokens_per_minute)
    return _generating("map_thunks", make, limits, max_concurrent, ordered=True, at_start=True)


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the call for an input.

    Attributes:
        function: The function that makes it.
        is_quick: Whether it never blocks, and so needs neither a task nor a thread.
    """

    function: Callable[[Any], Any]
    is_quick: bool = False


def _maker(name: str, call: Any, template: str | None) -> _Maker:
    if template is None:
        if callable(call):
            return _Maker(call)
        raise InvalidInputError(
            f"{name} takes a session and a template, or a function that makes a call for an input; "
            f"not a {type(call).__name__} alone"
        )
    if not hasattr(call, "ainstruct"):
        raise InvalidInputError(f"{name} takes a template with a session only")
    session: Instructs = call

    def variables(item: Any) -> Mapping[str, Any]:
        found = variables_of(item)
        if "input" not in template and len(found) > 1:
            del found["input"]  # the whole row once more, which nobody reads
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
    """Whether the session's `ainstruct` never waits: it is the one that its cold verb is made of.

    (A subclass, or a session of another kind, may wait in its own.)
    """
    cold = getattr(getattr(session, "cold", None), "instruct", None)
    own = getattr(session.ainstruct, "__func__", None)
    return own is not None and getattr(cold, "__wrapped__", None) is own


class _Generations:
    """A call for each input, given out at its start or at its end.

    Args:
        make: Makes the call.
        limit: How fast calls may start.
        at_start: Whether they are given out when they start.
    """

    def __init__(self, make: _Maker, limit: RateLimit, *, at_start: bool) -> None:
        self._make = make
        self._limit = limit
        self._at_start = at_start
        self._clock = asyncio.get_running_loop().time

    def pause(self) -> float:
        return self._limit.wait(self._clock())

    def count_start(self) -> None:
        self._limit.start(self._clock())

    def start(self, row: Row) -> None:
        if self._make.is_quick:
            self._made(row, self._make.function(row.input))
        else:
            row.call(self._make.function, partial(self._made, row))

    def count_end(self, row: Row) -> None:
        self._limit.end(self._clock(), row.work.usage)

    def _made(self, row: Row, source: Any) -> None:
        thunk = row.work = to_thunk(source)
        row.ends_by(partial(thunk.cancel, "nobody takes it any more"))
        if self._at_start:
            row.give(Started(row.index, row.input, thunk))
        run = row.run
        thunk.when_ended(run.outlet, partial(self._ended, row), run.abandon)

    def _ended(self, row: Row) -> None:
        if self._at_start:
            row.finish()
        else:
            row.complete(Generated(row.index, row.input, row.work))


def _generating(
    name: str,
    make: _Maker,
    limits: Callable[[], RateLimit],
    max_concurrent: int,
    *,
    ordered: bool,
    at_start: bool,
) -> Callable[[Inputs[Any]], Observable[Any]]:
    concurrent = require_positive_int("max_concurrent", max_concurrent)
    limits()  # refuses what cannot be used, before anything starts

    def generating(inputs: Inputs[Any]) -> Observable[Any]:
        return ConcurrentMap(
            inputs_of(name, inputs),
            lambda: _Generations(make, limits(), at_start=at_start),
            max_concurrent=concurrent,
            ordered=ordered,
        )

    return generating
