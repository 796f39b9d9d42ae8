"""The turns of a loop that reads many bodies: what came in one turn is handed on together.

Under load a turn costs more than what it reads: the loop sleeps and wakes for every few sockets,
and hands the interpreter to the readers' thread and back. So busy turns are kept `PACE` apart, as a
network card holds back its interrupts: what came in between is read in one go. A turn is delivered
before the loop waits, and a loop that is not busy never waits. Bodies that come one at a time make
no loop busy, however fast they follow each other: nothing would be read together.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from typing import Protocol

__all__ = ["Body", "Turns", "turns_of"]

PACE = 0.005
"""Seconds from one turn to the next on a busy loop: the most that a chunk is held back."""
BUSY = 1000
"""So many bodies served in a second make a loop busy: five a turn, at that pace."""
WINDOW = 0.02
"""Seconds over which they are counted, at least."""


class Body(Protocol):
    """Something that got bytes in this turn."""

    def flush(self) -> None:
        """Hand on what came. Does not raise."""
        ...


class Turns:
    """Serves the bodies that one loop reads; lives on that loop."""

    __slots__ = ("_bodies", "_next", "_served", "_shared", "_since", "is_busy")

    def __init__(self) -> None:
        self.is_busy = False
        """Whether turns are kept apart now."""
        self._bodies: list[Body] = []
        self._served = 0
        self._shared = False
        self._since = time.monotonic()
        self._next = 0.0

    def add(self, body: Body) -> None:
        """Have `body.flush` called at the end of this turn."""
        if not self._bodies:
            asyncio.get_running_loop().call_soon(self._serve)
        self._bodies.append(body)

    def _serve(self) -> None:
        bodies, self._bodies = self._bodies, []
        for body in bodies:
            body.flush()
        now = time.monotonic()
        self._served += len(bodies)
        self._shared = self._shared or len(bodies) > 1
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
