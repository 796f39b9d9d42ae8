"""A limit on silence: one lazy timer per stream, not one per chunk."""

from __future__ import annotations

import asyncio
import contextvars
from types import TracebackType
from typing import Self

from mellea_rx.core.options import ModelOption, Options
from mellea_rx.errors import FirstTokenTimeoutError, IdleTimeoutError

__all__ = ["StallWatch"]


_BARE = contextvars.Context()
"""What the timers run in; a timer makes a copy of its maker's where it is given none."""


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
        "_task",
        "_timer",
        "_who",
    )

    def __init__(self, options: Options, who: str) -> None:
        self._options = options
        self._who = who
        self._began = False
        self._expired = False
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._last = self._loop.time()
        self._arm(self._options.first_token_timeout)
        return self

    def _arm(self, limit: float | None) -> None:
        self._limit = limit
        if limit is not None:
            self._timer = self._loop.call_at(self._last + limit, self._check, context=_BARE)

    def alive(self) -> None:
        """Content came. Costs a clock reading: the timer itself is moved only when it is due."""
        self._last = self._loop.time()
        if not self._began:
            self._began = True
            idle = self._options.stream_timeout
            if idle != self._limit:
                if self._timer is not None:
                    self._timer.cancel()
                self._arm(idle)

    def _check(self) -> None:
        assert self._limit is not None
        due = self._last + self._limit
        if self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._check, context=_BARE)
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
        if self._timer is not None:
            self._timer.cancel()
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
