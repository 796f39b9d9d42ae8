"""The units of one answer, for one requirement: text in as it comes, units out in order.

Used on the engine by the lanes of a `StreamJudge`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Protocol, TypeVar

from mellea_rx.core.runtime.user_functions import in_worker_thread
from mellea_rx.core.text.units import is_ready_made, splitter
from mellea_rx.core.types.unit import ListSplitter, Unit

_T = TypeVar("_T")

OnUnits = Callable[[list[str]], object]
"""Called with units, in order."""


class UnitFeed(Protocol):
    """Splits one answer into units.

    Attributes:
        is_splitting: Whether a splitter of the user's is being called.
    """

    @property
    def is_splitting(self) -> bool: ...

    def feed(self, text: str) -> None:
        """Take a piece of the answer."""
        ...

    def flush(self) -> None:
        """Take the end of the answer."""
        ...

    def cancel(self) -> Collection[asyncio.Future[Any]]:
        """Call no function any more; return the futures of calls that have not ended."""
        ...


def unit_feed(
    unit: Unit,
    on_units: OnUnits,
    on_end: Callable[[], object],
    on_error: Callable[[Exception], object],
) -> UnitFeed:
    """Split one answer into units.

    Args:
        unit: The kind of unit.
        on_units: Called with the units that a piece completes.
        on_end: Called after the last unit.
        on_error: Called once instead, when the user's splitter or its factory raised, made no
            splitter or no units, or when its units are not the text.
    """
    if is_ready_made(unit):
        return _Feed(splitter(unit), on_units, on_end)
    return _WorkerFeed(unit, on_units, on_end, on_error)


class _Feed:
    """Splits each piece at once."""

    __slots__ = ("_on_end", "_on_units", "_splitter")

    is_splitting = False

    def __init__(
        self, ready_made: ListSplitter, on_units: OnUnits, on_end: Callable[[], object]
    ) -> None:
        self._splitter = ready_made
        self._on_units = on_units
        self._on_end = on_end

    def feed(self, text: str) -> None:
        units = self._splitter.feed(text)
        if units:
            self._on_units(units)

    def flush(self) -> None:
        self._on_units(self._splitter.flush())
        self._on_end()

    def cancel(self) -> Collection[asyncio.Future[Any]]:
        return ()


class _WorkerFeed:
    """Splits in worker threads, one call at a time: a splitter of the user's may block.

    The text that comes meanwhile is its next piece.
    """

    __slots__ = (
        "_has_ended",
        "_on_end",
        "_on_error",
        "_on_units",
        "_pieces",
        "_task",
        "_unit",
        "is_splitting",
    )

    def __init__(
        self,
        unit: Unit,
        on_units: OnUnits,
        on_end: Callable[[], object],
        on_error: Callable[[Exception], object],
    ) -> None:
        self._unit: Unit = unit
        self._on_units = on_units
        self._on_end = on_end
        self._on_error = on_error
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()
        """Text that was not split yet; None for its end."""
        self._has_ended = False
        self.is_splitting = False
        self._task = asyncio.ensure_future(self._run())

    def feed(self, text: str) -> None:
        self._pieces.put_nowait(text)

    def flush(self) -> None:
        self._pieces.put_nowait(None)

    async def _run(self) -> None:
        try:
            own = await self._call(partial(splitter, self._unit))
            while not self._has_ended:
                text = await self._next_piece()
                if text:
                    self._on_units(await self._call(partial(own.feed, text)))
            self._on_units(await self._call(own.flush))
        except Exception as error:
            self._on_error(error)
        else:
            self._on_end()

    async def _call(self, function: Callable[[], _T]) -> _T:
        self.is_splitting = True
        result = await in_worker_thread(function)
        self.is_splitting = False
        return result

    async def _next_piece(self) -> str:
        """All text that has come."""
        pieces = [await self._pieces.get()]
        while not self._pieces.empty():
            pieces.append(self._pieces.get_nowait())
        self._has_ended = pieces[-1] is None
        return "".join(each for each in pieces if each is not None)

    def cancel(self) -> Collection[asyncio.Future[Any]]:
        self._task.cancel()
        return (self._task,)
