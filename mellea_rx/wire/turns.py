"""The turns of a loop that reads many bodies: what came in one turn is told of together.

Under load a turn costs more than what it reads: the loop sleeps and wakes for every few sockets,
and hands the interpreter to the readers' thread and back. So busy turns are kept `PACE` apart, as a
network card holds back its interrupts: what came in between is read in one go. A turn is told of
before the loop waits, and a loop that is not busy never waits. Bodies that come one at a time make
no loop busy, however fast they follow each other: nothing would be read together.
"""

from __future__ import annotations

import asyncio
import time
import weakref

__all__ = ["Turns", "turns_of"]

PACE = 0.005
"""Seconds from one turn to the next on a busy loop: the most that a chunk is held back."""
BUSY = 1000
"""So many bodies read in a second make a loop busy: five a turn, at that pace."""
WINDOW = 0.02
"""Seconds over which they are counted, at least."""


class Turns:
    """Counts the bodies that one loop reads; lives on that loop."""

    __slots__ = ("_next", "_served", "_shared", "_since", "_taken", "is_busy")

    def __init__(self) -> None:
        self.is_busy = False
        """Whether turns are kept apart now."""
        self._taken = 0
        self._served = 0
        self._shared = False
        self._since = time.monotonic()
        self._next = 0.0

    def took(self) -> None:
        """A body brought something in this turn."""
        if not self._taken:
            asyncio.get_running_loop().call_soon(self._end)
        self._taken += 1

    def _end(self) -> None:
        taken, self._taken = self._taken, 0
        now = time.monotonic()
        self._served += taken
        self._shared = self._shared or taken > 1
        passed = now - self._since
        if passed >= WINDOW:
            self.is_busy = self._shared and self._served >= BUSY * passed
            self._served, self._shared, self._since = 0, False, now
        if self.is_busy:
            # After the callbacks by which the readers are told of this turn.
            asyncio.get_running_loop().call_soon(self._pause)

    def _pause(self) -> None:
        # The loop itself has to stand still: while it runs, each socket wakes it. Nothing is due
        # on it that would not wait as long for a turn's work.
        wait = self._next - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        self._next = time.monotonic() + PACE


_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = weakref.WeakKeyDictionary()


def turns_of(loop: asyncio.AbstractEventLoop) -> Turns:
    """The turns of a loop. Called on it."""
    turns = _turns.get(loop)
    if turns is None:
        turns = _turns[loop] = Turns()
    return turns
