"""The units of one answer, for one requirement: text in as it comes, units out in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from mellea_rx.core.runtime.user_functions import in_worker_thread
from mellea_rx.core.text.units import is_ready_made, splitter
from mellea_rx.core.types.unit import ListSplitter, Unit

P = ParamSpec("P")
T = TypeVar("T")


class UnitQueue:
    """Splits one answer into units. Used on the engine; one task gets the units.

    A splitter of the user's may block, so it runs in worker threads, one call at a time. The text
    that comes meanwhile is its next piece.

    Args:
        unit: The kind of unit.
    """

    __slots__ = ("_ended", "_is_ready_made", "_pieces", "_splitter", "_unit", "_units")

    def __init__(self, unit: Unit) -> None:
        self._unit: Unit = unit
        self._is_ready_made = is_ready_made(unit)
        self._splitter: ListSplitter | None = None
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()
        """Text that was not split yet; None for its end."""
        self._units: deque[str] = deque()
        self._ended = False

    def feed(self, text: str) -> None:
        """Take a piece of the answer."""
        self._pieces.put_nowait(text)

    def flush(self) -> None:
        """Take the end of the answer."""
        self._pieces.put_nowait(None)

    async def get(self) -> str | None:
        """Wait for the next unit; None at the end of the answer.

        Raises:
            InvalidInputError: The user's factory made no splitter.
            CallbackError: The user's splitter did not return units, or they are not the text.
            Exception: That of the user's splitter, or of its factory.
        """
        while not self._units and not self._ended:
            await self._split()
        return self._units.popleft() if self._units else None

    async def _split(self) -> None:
        pieces = [await self._pieces.get()]
        while not self._pieces.empty():
            pieces.append(self._pieces.get_nowait())
        text = "".join(each for each in pieces if each is not None)
        if self._splitter is None:
            self._splitter = await self._call(splitter, self._unit)
        if text:
            self._units.extend(await self._call(self._splitter.feed, text))
        if pieces[-1] is None:
            self._units.extend(await self._call(self._splitter.flush))
            self._ended = True

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._is_ready_made:
            return function(*args, **kwargs)
        return await in_worker_thread(function, *args, **kwargs)
