"""Virtual time: a test's own event loop and the engine are one, and their clock never waits."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from mellea_rx.core.engine import Engine, use_engine
from mellea_rx.core.timers import LoopScheduler
from mellea_rx.errors import InvalidInputError
from mellea_rx.testing.outside import without_loop
from mellea_rx.testing.virtual_loop import VirtualLoop, Work, current_work

__all__ = ["VirtualTime", "run_virtual"]

T = TypeVar("T")

DAY = 86_400.0
PATIENCE = 60.0


class VirtualTime:
    """Runs async code on a clock that jumps to the next timer whenever nothing is ready.

    Timeouts, backoff, hedges and rate limits then take no real time, and durations come out exact.
    The calls that the code makes run on the same loop, which is also its engine; other threads of
    the process keep the process's engine. Sync functions of the user's run in worker threads as
    ever; the clock stands still until they return.

    Args:
        limit: Virtual seconds after which it gives up (a day).
        patience: Real seconds that it waits for a worker thread (60).

    Example:
        >>> from mellea_rx import MelleaSession, ScriptedBackend
        >>> async def main() -> tuple[str, float]:
        ...     thunk = await MelleaSession(ScriptedBackend("a b c", delay=100)).ainstruct("Go.")
        ...     return await thunk.avalue(), thunk.duration
        >>> with VirtualTime() as time:
        ...     time.run(main()), time.now
        (('a b c', 300.0), 300.0)

    Attributes:
        scheduler: An Rx scheduler on the same clock, for operators that take `scheduler=`.

    Raises:
        InvalidInputError: `limit` or `patience` is not above 0.
    """

    def __init__(self, *, limit: float = DAY, patience: float = PATIENCE) -> None:
        for name, value in (("limit", limit), ("patience", patience)):
            if not value > 0:
                raise InvalidInputError(f"{name} must be above 0 seconds, not {value!r}")
        loop = VirtualLoop(limit, patience)
        self._loop = loop
        self._engine = _VirtualEngine(loop)
        self._runner = asyncio.Runner(loop_factory=lambda: loop)
        self._runner.get_loop()
        self.scheduler = LoopScheduler(loop)

    @property
    def now(self) -> float:
        """Virtual seconds since it was made."""
        return self._loop.time()

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end; the clock goes on from where it is.

        Works where a loop runs, too: then in a thread of its own, which is waited for.

        Args:
            main: What to run.

        Returns:
            What it returns.

        Raises:
            VirtualTimeError: It waits for what can never come: no timer is set and nothing is
                ready, or the limit or the patience is over. The message says what waits where.
            Exception: What `main` raises.
        """
        context = contextvars.copy_context()
        context.run(use_engine, self._engine)
        return without_loop(lambda: self._run(main, context))

    def _run(self, main: Coroutine[Any, Any, T], context: contextvars.Context) -> T:
        self._engine.enter()
        return self._runner.run(main, context=context)

    def close(self) -> None:
        """Cancel what still runs, and close the loop. Idempotent."""
        if not self._loop.is_closed():
            without_loop(self._close)

    def _close(self) -> None:
        self._engine.enter()
        try:
            self._runner.run(self._end())
        finally:
            self._engine.leave()
            self._runner.close()

    async def _end(self) -> None:
        # All at once: who waits for a call is cancelled, and does not see the call cancelled.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        await self._engine.drain()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def run_virtual(
    main: Coroutine[Any, Any, T], *, limit: float = DAY, patience: float = PATIENCE
) -> T:
    """As `asyncio.run`, in virtual time; see `VirtualTime`.

    Args:
        main: What to run.
        limit: Virtual seconds after which it gives up.
        patience: Real seconds that it waits for a worker thread.

    Returns:
        What it returns.

    Example:
        >>> import asyncio
        >>> run_virtual(asyncio.sleep(3600, "an hour later"))
        'an hour later'

    Raises:
        VirtualTimeError: It waits for what can never come.
        Exception: What `main` raises.
    """
    with VirtualTime(limit=limit, patience=patience) as time:
        return time.run(main)


class _VirtualEngine(Engine):
    """The engine on a virtual loop, in whichever thread runs that."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__(loop, clock=loop.time)

    def event(self) -> threading.Event:
        work = current_work()
        if work is not None and work.loop is self.loop:
            return _WorkerEvent(self, work)
        return super().event()


class _WorkerEvent(threading.Event):
    """What a worker thread blocks on in virtual time: meanwhile it does not hold the clock.

    All that counts happens on the loop, so that the clock cannot jump between the moment in which
    the event is set and the one in which its thread goes on.
    """

    def __init__(self, engine: Engine, work: Work) -> None:
        super().__init__()
        self._engine = engine
        self._work = work
        self._timer: asyncio.TimerHandle | None = None
        self._expired = False

    def wait(self, timeout: float | None = None) -> bool:
        """As `threading.Event.wait`; `timeout` is virtual seconds."""
        self._engine.call(self._rest, timeout)
        super().wait()
        return not self._expired

    def set(self) -> None:
        """As `threading.Event.set`."""
        self._engine.call(self._wake)

    def _rest(self, timeout: float | None) -> None:
        if self.is_set():
            return
        self._work.rest()
        if timeout is not None:
            self._timer = self._engine.loop.call_later(timeout, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._wake()

    def _wake(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._work.go_on()
        super().set()
