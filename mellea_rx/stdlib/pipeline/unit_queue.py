"""The units of one answer, for one requirement: text in as it comes, units out in order.

Used on the engine; one task gets the units.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from mellea_rx.core.runtime.user_functions import in_worker_thread
from mellea_rx.core.text.units import is_ready_made, splitter
from mellea_rx.core.types.unit import ListSplitter, Unit


class UnitQueue(Protocol):
    """Splits one answer into units."""

    def feed(self, text: str) -> None:
        """Take a piece of the answer."""
        ...

    def flush(self) -> None:
        """Take the end of the answer."""
        ...

    async def get(self) -> str | None:
        """Wait for the next unit; None at the end of the answer.

        Raises:
            InvalidInputError: The user's factory made no splitter.
            CallbackError: The user's splitter did not return units, or they are not the text.
            Exception: That of the user's splitter, or of its factory.
        """
        ...


def unit_queue(unit: Unit) -> UnitQueue:
    """A queue of the units of one answer."""
    return _Queue(splitter(unit)) if is_ready_made(unit) else _WorkerQueue(unit)


class _Queue:
    """Splits each piece at once: the task is woken for units, and not for each piece."""

    __slots__ = ("_splitter", "_units")

    def __init__(self, ready_made: ListSplitter) -> None:
        self._splitter = ready_made
        self._units: asyncio.Queue[str | None] = asyncio.Queue()

    def feed(self, text: str) -> None:
        self._put(self._splitter.feed(text))

    def flush(self) -> None:
        self._put(self._splitter.flush())
        self._units.put_nowait(None)

    def _put(self, units: list[str]) -> None:
        for unit in units:
            self._units.put_nowait(unit)

    async def get(self) -> str | None:
        return await self._units.get()


class _WorkerQueue:
    """Splits in worker threads, one call at a time: a splitter of the user's may block.

    The text that comes meanwhile is its next piece.
    """

    __slots__ = ("_ended", "_pieces", "_splitter", "_unit", "_units")

    def __init__(self, unit: Unit) -> None:
        self._unit: Unit = unit
        self._splitter: ListSplitter | None = None
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()
        """Text that was not split yet; None for its end."""
        self._units: deque[str] = deque()
        self._ended = False

    def feed(self, text: str) -> None:
        self._pieces.put_nowait(text)

    def flush(self) -> None:
        self._pieces.put_nowait(None)

    async def get(self) -> str | None:
        while not self._units and not self._ended:
            await self._split()
        return self._units.popleft() if self._units else None

    async def _split(self) -> None:
        pieces = [await self._pieces.get()]
        while not self._pieces.empty():
            pieces.append(self._pieces.get_nowait())
        text = "".join(each for each in pieces if each is not None)
        if self._splitter is None:
            self._splitter = await in_worker_thread(splitter, self._unit)
        if text:
            self._units.extend(await in_worker_thread(self._splitter.feed, text))
        if pieces[-1] is None:
            self._units.extend(await in_worker_thread(self._splitter.flush))
            self._ended = True
