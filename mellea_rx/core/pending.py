"""One wait of one coroutine or thread, that any thread may end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Iterator
from typing import Any, Protocol

from mellea_rx.core.held_loop import HeldLoop
from mellea_rx.core.loops import asyncio_loop
from mellea_rx.core.outlet import loop_outlet

__all__ = ["LoopWait", "Pending", "ThreadWait"]


class Pending(Protocol):
    """A wait that has begun.

    Attributes:
        blocks: Whether it holds up its whole thread.
    """

    blocks: bool

    @property
    def is_void(self) -> bool:
        """Whether the one who waits was cancelled, or can never go on."""
        ...

    def wake(self) -> None:
        """End the wait. From any thread; idempotent; never blocks."""
        ...

    def pause(self) -> Iterator[Any]:
        """Wait. An iterator for a coroutine's `yield from`; a thread is blocked at once."""
        ...

    def leave(self) -> None:
        """Nobody waits any more: from here on it is void, and refers to nobody."""
        ...


class LoopWait:
    """A coroutine's wait: a future of the running loop, made for this wait alone.

    A wake-up that is on its way when its reader is cancelled, or goes on elsewhere, so finds this
    future done, and nobody else is resumed by it.
    """

    __slots__ = ("_cancels", "_future", "_has_left", "_is_woken", "_task", "outlet")

    blocks = False

    def __init__(self) -> None:
        loop = asyncio_loop()
        self._future: asyncio.Future[None] = loop.create_future()
        self.outlet = loop_outlet(loop)
        self._is_woken = False
        self._task = asyncio.current_task(loop)
        self._cancels = 0 if self._task is None else self._task.cancelling()
        self._has_left = False

    @property
    def is_void(self) -> bool:
        future, task = self._future, self._task
        if self._has_left or future.cancelled() or future.get_loop().is_closed():
            return True
        # Cancelled after it was woken: the future has its result, and the task will not go on.
        return task is not None and task.cancelling() > self._cancels

    def wake(self) -> None:
        if not self._is_woken:  # once, however many chunks come before its turn
            self._is_woken = True
            self.outlet.wake(self)

    def deliver(self) -> None:
        """Its loop's turn: the task goes on in the next one."""
        if not self._future.done():
            self._future.set_result(None)

    def undeliverable(self) -> None:
        """Its loop is closed: nobody waits any more."""

    def __await__(self) -> Generator[Any, None, None]:
        return self._future.__await__()

    def pause(self) -> Iterator[Any]:
        return self._future.__await__()

    def leave(self) -> None:
        self._has_left = True
        self._task = None  # a buffer that still knows this wait must not keep the task's frames


class ThreadWait:
    """A thread's wait, which blocks it.

    Args:
        event: Blocked on; `Engine.event` where only the engine sets it.
    """

    __slots__ = ("_event", "is_void")

    blocks = True

    def __init__(self, event: threading.Event) -> None:
        self._event = event
        self.is_void = False

    def wake(self) -> None:
        self._event.set()

    def pause(self) -> Iterator[Any]:
        self.wait(None)
        return iter(())

    def leave(self) -> None:
        self.is_void = True

    def wait(self, timeout: float | None) -> bool:
        """Block this thread.

        Args:
            timeout: Seconds; None for ever.

        Returns:
            False when the time ran out.
        """
        with HeldLoop():
            return self._event.wait(timeout)
