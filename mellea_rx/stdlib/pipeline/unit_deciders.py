"""The deciders of units: by a user's function, or by the model as judge.

`StreamJudge` has one for each requirement that is decided while an answer streams, anew for each
attempt.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextvars import copy_context
from functools import partial
from typing import Any, Protocol

from mellea_rx.core.interfaces.backend import Backend
from mellea_rx.core.interfaces.component import Template
from mellea_rx.core.runtime.batched_calls import BatchedCall
from mellea_rx.core.runtime.engine import engine
from mellea_rx.core.runtime.user_functions import call_user_function, is_async
from mellea_rx.core.types.options import Options
from mellea_rx.core.types.requirement import Requirement, ValidationResult
from mellea_rx.core.types.stream_context import StreamContext, Units, takes_context
from mellea_rx.core.types.validation import name_of
from mellea_rx.errors import MelleaRxError
from mellea_rx.stdlib.pipeline.asking import resolve_beside
from mellea_rx.stdlib.pipeline.validation import Judge
from mellea_rx.stdlib.prompts.renderer import Sources, render
from mellea_rx.stdlib.requirements.per_attempt import for_attempt, is_stateful
from mellea_rx.stdlib.requirements.unit_judge import UnitJudge

MakeContext = Callable[[Units], StreamContext]
"""Makes the context of a unit, of the units before it."""

STREAM_JUDGE = Template(
    """\
Decide whether the next part of a text meets a requirement.

The text before:
{{ before }}

The next part:
{{ unit }}

Requirement: {{ requirement }}

Does the next part meet the requirement? Answer yes or no, and give the reason in one short
sentence.""",
    name="stream_judge",
)

_SHOWN_BEFORE = 2000
"""The number of characters before a unit that the judge is shown: the time for all units of an
answer stays linear."""

Ask = Callable[[str, Judge], Coroutine[Any, Any, ValidationResult]]
"""Asks a model for its verdict, with a prompt."""

Decided = Callable[[Any, Exception | None], object]
"""Called with the returned verdict, or the exception."""


class UnitDecider(Protocol):
    """Decides the units of one answer, in order.

    Attributes:
        name: The function or judge, as a noun phrase for messages.
        width: The number of units that it can decide at once.
        own_errors: The errors that are not of a user's function.
    """

    @property
    def name(self) -> str: ...

    @property
    def width(self) -> int: ...

    @property
    def own_errors(self) -> tuple[type[Exception], ...]: ...

    def begin(self) -> Awaitable[None] | None:
        """Get ready.

        Returns:
            An awaitable, where that takes time; None where it is ready.
        """
        ...

    def decide(self, unit: str, done: Decided) -> None:
        """Decide a unit; called in the order of the units, and calls `done` later."""
        ...

    def recall(self, unit: str, done: Decided) -> None:
        """Take a unit that was decided before, in an attempt that this one goes on from; its
        verdict is known. Calls `done` now or later."""
        ...

    def cancel(self) -> Collection[asyncio.Future[Any]]:
        """Call no `done` any more; return the futures of requests and calls that have not ended."""
        ...


class Tasks:
    """The coroutines of a decider, each of which ends in a call."""

    def __init__(self) -> None:
        self._running: set[asyncio.Future[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any], done: Decided) -> None:
        """Run a coroutine, and call `done` with its result."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(partial(self._ended, done))

    def _ended(self, done: Decided, task: asyncio.Future[Any]) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Exception):
            done(None, error)
        elif error is None:
            done(task.result(), None)

    def cancel(self) -> Collection[asyncio.Future[Any]]:
        """Cancel all; return those that have not ended: their requests end with them."""
        running, self._running = self._running, set()
        for task in running:
            task.cancel()
        return running


class FunctionDecider:
    """Decides by a user's function; each answer gets its own copy of one that has state.

    Args:
        function: The requirement's `unit_function`.
        loop: The caller's event loop, for async functions.
        so_far: Makes the context of a unit.
    """

    width = 1
    own_errors = ()

    def __init__(
        self,
        function: Callable[..., Any],
        loop: asyncio.AbstractEventLoop | None,
        so_far: MakeContext,
    ) -> None:
        self._function = function
        self._loop = loop
        self._so_far = so_far
        self._is_stateful = is_stateful(function)
        self._takes_context = takes_context(function)
        self._is_async = is_async(function)
        self._units: list[str] = []
        self._tasks = Tasks()
        self._calls = engine().batched_calls
        # One for all units, which are decided one after the other.
        self._context = copy_context()
        self._call: BatchedCall | None = None

    @property
    def name(self) -> str:
        return f"the validation function {name_of(self._function)!r}"

    def begin(self) -> Awaitable[None] | None:
        """Make the copy of a function that has state."""
        return self._copied() if self._is_stateful else None

    async def _copied(self) -> None:
        copied = await call_user_function(for_attempt, self._function, loop=self._loop)
        self._function, self._takes_context = copied, takes_context(copied)
        self._is_async = is_async(copied)

    def recall(self, unit: str, done: Decided) -> None:
        """Have a function with state see the unit, to restore that."""
        if self._is_stateful:
            self.decide(unit, done)
            return
        self._units.append(unit)
        done(True, None)

    def decide(self, unit: str, done: Decided) -> None:
        """Call the function, with the answer before the unit where it takes that."""
        arguments = self._arguments(unit)
        if self._is_async:
            work = call_user_function(self._function, *arguments, loop=self._loop)
            self._tasks.start(work, done)
            return
        ended = partial(self._returned, done)
        self._call = self._calls.call(self._function, *arguments, context=self._context, done=ended)

    def _arguments(self, unit: str) -> tuple[Any, ...]:
        if not self._takes_context:
            return (unit,)
        so_far = self._so_far(Units(self._units))
        self._units.append(unit)
        return unit, so_far

    def _returned(self, done: Decided, value: Any, error: Exception | None) -> None:
        self._call = None
        if value is True:  # the common case, without the more costly question
            done(value, error)
        elif inspect.isawaitable(value):  # a sync function that returns a coroutine
            self._tasks.start(call_user_function(lambda: value, loop=self._loop), done)
        else:
            done(value, error)

    def cancel(self) -> Collection[asyncio.Future[Any]]:
        """Give up the call that runs."""
        call, self._call = self._call, None
        if call is not None:
            self._calls.give_up(call)
        return self._tasks.cancel()


class JudgeDecider:
    """Has a model decide each unit; several at once.

    Args:
        requirement: The requirement, for its description.
        unit_judge: The requirement's own model, and the number of units at once.
        judge: The model that judges for the call.
        given: The call's options, without those of its backend.
        sources: The user's templates by name, which replace the library's own.
        ask: Asks a model for its verdict.
    """

    name = "the judge"
    own_errors = (MelleaRxError,)

    def __init__(
        self,
        requirement: Requirement,
        unit_judge: UnitJudge,
        judge: Judge,
        given: Options,
        sources: Sources,
        ask: Ask,
    ) -> None:
        self._requirement = requirement.description
        self._own = unit_judge.backend
        self._judge = judge
        self._given = given
        self._sources = sources
        self._ask = ask
        self._before = ""
        self._tasks = Tasks()
        self.width = unit_judge.max_concurrent

    def begin(self) -> Awaitable[None] | None:
        """Resolve the judge's own backend, where it has one."""
        return None if self._own is None else self._resolve(self._own)

    async def _resolve(self, own: Backend) -> None:
        taken = await resolve_beside(own, self._given, "stream_judge(backend=...)")
        self._judge = Judge(*taken)

    def decide(self, unit: str, done: Decided) -> None:
        """Ask the model."""
        values = {"before": self._before, "unit": unit, "requirement": self._requirement}
        prompt = render(STREAM_JUDGE.given(**values), self._sources)
        self._remember(unit)
        self._tasks.start(self._ask(prompt, self._judge), done)

    def recall(self, unit: str, done: Decided) -> None:
        """Show the unit to the judge as text before the next one."""
        self._remember(unit)
        done(True, None)

    def _remember(self, text: str) -> None:
        self._before = (self._before + text)[-_SHOWN_BEFORE:]

    def cancel(self) -> Collection[asyncio.Future[Any]]:
        """End the requests that run."""
        return self._tasks.cancel()
