"""A limit on silence: nothing is set for a chunk, and streams with the same limit share timers.

Silence is rare, so what looks for it is shared (a timing wheel of one turn: G. Varghese and T.
Lauck, "Hashed and Hierarchical Timing Wheels", 1987). Streams wait in rooms. A room has one timer,
at the beginning of the time in which its streams may have been silent for too long. Who has spoken
by then goes to a later room; only who has not gets a timer of its own, for the very moment.

A room that all have left keeps its timer: the next call finds it there, instead of a timer made
and cancelled for each. Limits of a like size share rooms, so there are few, whatever the limits.
"""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections.abc import Callable
from math import frexp, ldexp
from types import TracebackType
from typing import Self, TypeAlias

from mellea_rx.core.options import ModelOption, Options
from mellea_rx.errors import FirstTokenTimeoutError, IdleTimeoutError

__all__ = ["StallWatch"]


ROOMS = 16
"""A limit is divided into at least so many rooms, and less than twice as many."""


class _Room:
    """Streams that are looked at together.

    It has no reference to its loop, not even by a timer: rooms are kept by their loops, weakly.

    Args:
        others: All rooms of its loop.
        key: Which of them it is: by its length, and its place in time.
    """

    __slots__ = ("_key", "_others", "watches")

    def __init__(self, others: _Rooms, key: _Key) -> None:
        self._others = others
        self._key = key
        self.watches: set[StallWatch] = set()

    def open(self) -> None:
        del self._others[self._key]
        for watch in self.watches:
            watch.look()


_Key: TypeAlias = tuple[float, int]
_Rooms: TypeAlias = dict[_Key, _Room]
_rooms: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Rooms] = weakref.WeakKeyDictionary()


def _room(loop: asyncio.AbstractEventLoop, limit: float, due: float) -> _Room:
    """The room that is opened last before a stream with this limit may be due."""
    rooms = _rooms.setdefault(loop, {})
    length = ldexp(1, frexp(limit / ROOMS)[1] - 1)  # the power of two that is next below
    place = int(due / length)
    room = rooms.get((length, place))
    if room is None:
        room = rooms[length, place] = _Room(rooms, (length, place))
        _at(loop, place * length, room.open)
    return room


def _at(
    loop: asyncio.AbstractEventLoop, when: float, function: Callable[[], None]
) -> asyncio.TimerHandle:
    """Set a timer.

    In a context of its own: given none, it would keep what its maker's context holds; one that all
    share cannot be entered by two loops at once.
    """
    return loop.call_at(when, function, context=contextvars.Context())


class StallWatch:
    """Ends the task around it when nothing was reported alive for too long.

    Args:
        options: The request's; they have its limits.
        who: What the message calls the silent server.

    Raises:
        FirstTokenTimeoutError: (on leaving) Nothing came at all.
        IdleTimeoutError: (on leaving) It began, and then stopped.
    """

    __slots__ = (
        "_began",
        "_expired",
        "_last",
        "_limit",
        "_loop",
        "_options",
        "_room",
        "_task",
        "_timer",
        "_who",
    )

    def __init__(self, options: Options, who: str) -> None:
        self._options = options
        self._who = who
        self._began = False
        self._expired = False
        self._room: _Room | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(self._loop)
        self._last = self._loop.time()
        self._arm(self._options.first_token_timeout)
        return self

    def _arm(self, limit: float | None) -> None:
        self._limit = limit
        if limit is not None:
            self._wait(limit, self._last + limit)

    def _wait(self, limit: float, due: float) -> None:
        """Be looked at no later than that."""
        if due - self._loop.time() > limit / ROOMS:
            self._room = _room(self._loop, limit, due)
            self._room.watches.add(self)
        else:
            self._timer = _at(self._loop, due, self.look)

    def _disarm(self) -> None:
        if self._room is not None:
            self._room.watches.discard(self)
            self._room = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def alive(self) -> None:
        """Content came. Costs a clock reading: no timer is moved before it is due."""
        self._last = self._loop.time()
        if not self._began:
            self._began = True
            idle = self._options.stream_timeout
            if idle != self._limit:
                self._disarm()
                self._arm(idle)

    def working(self) -> None:
        """The prompt is being worked on: no silence, but not yet the beginning of the answer.

        It does not put off a limit that the user set on that beginning.
        """
        if self._began or ModelOption.FIRST_TOKEN_TIMEOUT not in self._options.standard:
            self._last = self._loop.time()

    def queued(self, waits: bool) -> None:
        """Do not look while the request waits for others of this program; then begin anew."""
        if waits:
            self._disarm()
        else:
            self._last = self._loop.time()
            self._arm(self._options.first_token_timeout)

    def look(self) -> None:
        """End the task if it is time; else look again later. Called by what `_wait` left behind."""
        assert self._limit is not None
        self._room = self._timer = None
        due = self._last + self._limit
        if self._loop.time() < due:
            self._wait(self._limit, due)
            return
        self._expired = True
        if self._task is not None:
            self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._disarm()
        # Cancelled by somebody else as well: that goes first.
        if not self._expired or (self._task is not None and self._task.uncancel() > 0):
            return
        if kind is not asyncio.CancelledError:
            return
        option = "STREAM_TIMEOUT"
        if not self._began and ModelOption.FIRST_TOKEN_TIMEOUT in self._options.standard:
            option = "FIRST_TOKEN_TIMEOUT"
        limit = f"{self._limit:g} s (ModelOption.{option}; None waits for ever)"
        if self._began:
            raise IdleTimeoutError(f"{self._who} stopped sending: nothing came for {limit}")
        raise FirstTokenTimeoutError(f"{self._who} did not begin to answer within {limit}")
