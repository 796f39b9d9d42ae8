"""Timeouts for silent streams. A chunk sets no timer, and streams with like limits share timers.

Silence is rare, so streams share the timers that check for it (a timing wheel of one turn: G.
Varghese and T. Lauck, "Hashed and Hierarchical Timing Wheels", 1987). Streams are kept in slots. A
slot has one timer, at the beginning of the time in which its streams may have been silent for too
long. A stream that has sent something by then moves to a later slot; only a stream that has not
gets a timer of its own, for the very moment.

A slot without streams keeps its timer: the next call finds it there, instead of a timer that is
made and cancelled for each call. Limits of a like size share slots, so there are few of them.
"""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections.abc import Callable
from math import frexp, ldexp
from types import TracebackType
from typing import Self, TypeAlias

from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.errors import FirstTokenTimeoutError, IdleTimeoutError

SLOTS_PER_LIMIT = 16
"""A limit is divided into at least so many slots, and less than twice as many."""


class _Slot:
    """Streams that are checked together.

    It has no reference to its loop, not even by a timer: the table of slots is keyed by loops,
    weakly.

    Args:
        others: All slots of its loop.
        key: Its key among them: its length in seconds, and its place in time.
    """

    __slots__ = ("_key", "_others", "watches")

    def __init__(self, others: _Slots, key: _Key) -> None:
        self._others = others
        self._key = key
        self.watches: set[IdleTimeout] = set()

    def open(self) -> None:
        del self._others[self._key]
        for watch in self.watches:
            watch.look()


_Key: TypeAlias = tuple[float, int]
_Slots: TypeAlias = dict[_Key, _Slot]
_slots: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Slots] = weakref.WeakKeyDictionary()


def _slot_for(loop: asyncio.AbstractEventLoop, limit: float, due: float) -> _Slot:
    """The last slot that is checked before a stream with this limit may be due."""
    slots = _slots.setdefault(loop, {})
    length = ldexp(1, frexp(limit / SLOTS_PER_LIMIT)[1] - 1)  # the power of two that is next below
    place = int(due / length)
    slot = slots.get((length, place))
    if slot is None:
        slot = slots[length, place] = _Slot(slots, (length, place))
        _at(loop, place * length, slot.open)
    return slot


def _at(
    loop: asyncio.AbstractEventLoop, when: float, function: Callable[[], None]
) -> asyncio.TimerHandle:
    """Set a timer.

    In a context of its own: by default, it would keep alive all that the caller's context holds;
    and a context that all timers shared could not be entered by two loops at once.
    """
    return loop.call_at(when, function, context=contextvars.Context())


class IdleTimeout:
    """A context manager that ends its task when the stream in it is silent for too long.

    Args:
        options: The request's options; they have its limits.
        server: The server's name in messages.

    Raises:
        FirstTokenTimeoutError: (on leaving) No content came at all.
        IdleTimeoutError: (on leaving) Content came, and then none.
    """

    __slots__ = (
        "_began",
        "_expired",
        "_last",
        "_limit",
        "_loop",
        "_options",
        "_server",
        "_slot",
        "_task",
        "_timer",
    )

    def __init__(self, options: Options, server: str) -> None:
        self._options = options
        self._server = server
        self._began = False
        self._expired = False
        self._slot: _Slot | None = None
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
        """Be checked at that time at the latest."""
        if due - self._loop.time() > limit / SLOTS_PER_LIMIT:
            self._slot = _slot_for(self._loop, limit, due)
            self._slot.watches.add(self)
        else:
            self._timer = _at(self._loop, due, self.look)

    def _disarm(self) -> None:
        if self._slot is not None:
            self._slot.watches.discard(self)
            self._slot = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def touch(self) -> None:
        """Note that content came. Costs a clock reading: no timer is moved before it is due."""
        self._last = self._loop.time()
        if not self._began:
            self._began = True
            idle = self._options.stream_timeout
            if idle != self._limit:
                self._disarm()
                self._arm(idle)

    def working(self) -> None:
        """Note that the server works on the prompt: it is not silent, but has no content yet.

        This does not put off a limit that the user set for the first token.
        """
        if self._began or ModelOption.FIRST_TOKEN_TIMEOUT not in self._options.standard:
            self._last = self._loop.time()

    def queued(self, waits: bool) -> None:
        """Pause the timeout while the request waits for others of this program; then begin anew.

        Args:
            waits: Whether the request begins to wait; False when it goes on.
        """
        if waits:
            self._disarm()
        else:
            self._last = self._loop.time()
            self._arm(self._options.first_token_timeout)

    def look(self) -> None:
        """End the task if it is due; else check again later. Called by the timers of `_wait`."""
        assert self._limit is not None
        self._slot = self._timer = None
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
        # Where other code cancelled the task as well, that cancellation counts.
        if not self._expired or (self._task is not None and self._task.uncancel() > 0):
            return
        if kind is not asyncio.CancelledError:
            return
        option = "STREAM_TIMEOUT"
        if not self._began and ModelOption.FIRST_TOKEN_TIMEOUT in self._options.standard:
            option = "FIRST_TOKEN_TIMEOUT"
        limit = f"{self._limit:g} s (ModelOption.{option}; None waits for ever)"
        if self._began:
            raise IdleTimeoutError(f"{self._server} stopped sending: nothing came for {limit}")
        raise FirstTokenTimeoutError(f"{self._server} did not begin to answer within {limit}")
