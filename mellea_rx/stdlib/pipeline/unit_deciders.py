"""The deciders of units: by a user's function, or by the model as judge.

`StreamJudge` has one for each requirement that is decided while an answer streams, anew for each
attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mellea_rx.core.runtime.user_functions import call_user_function
from mellea_rx.core.types.stream_context import StreamContext, Units, takes_context
from mellea_rx.stdlib.requirements.per_attempt import for_attempt, is_stateful

MakeContext = Callable[[Units], StreamContext]
"""Makes the context of a unit, of the units before it."""


class UnitDecider(Protocol):
    """Decides the units of one answer, in order.

    Attributes:
        remembers: Whether it has to know the units of a text that the answer goes on from.
        width: The number of units that it can decide at once.
        own_errors: The errors of `decide` that are not of a user's function.
    """

    @property
    def remembers(self) -> bool: ...

    @property
    def width(self) -> int: ...

    @property
    def own_errors(self) -> tuple[type[Exception], ...]: ...

    async def begin(self, known: Sequence[str]) -> None:
        """Get ready for an answer that begins with these units, which were decided before."""
        ...

    async def decide(self, unit: str) -> Any:
        """The verdict on a unit; called in the order of the units."""
        ...


class FunctionDecider:
    """Decides by a user's function; each answer gets its own copy of one that has state.

    Args:
        function: The requirement's `stream_validate`.
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
        self._units: list[str] = []
        self.remembers = self._is_stateful or self._takes_context

    async def begin(self, known: Sequence[str]) -> None:
        """Make the copy; it gets the known units too, to restore its state."""
        if not self._is_stateful:
            self._units.extend(known)
            return
        copied = await call_user_function(for_attempt, self._function, loop=self._loop)
        self._function, self._takes_context = copied, takes_context(copied)
        for unit in known:
            await self.decide(unit)

    async def decide(self, unit: str) -> Any:
        """Call the function, with the answer before the unit where it takes that."""
        if not self._takes_context:
            return await call_user_function(self._function, unit, loop=self._loop)
        context = self._so_far(Units(self._units))
        returned = await call_user_function(self._function, unit, context, loop=self._loop)
        self._units.append(unit)
        return returned
