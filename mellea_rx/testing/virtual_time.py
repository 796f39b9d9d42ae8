"""Virtual time: a test's event loop is also the engine's loop, and its clock never waits.

`run_virtual` and `VirtualTime` are for users' tests. The loop behind them jumps to the next timer
whenever nothing is ready, instead of waiting for it.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import selectors
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import Context
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar, TypeVarTuple, Unpack

from mellea_rx.core.runtime.delivery import running_loop
from mellea_rx.core.runtime.engine import Engine, use_engine
from mellea_rx.core.runtime.schedulers import LoopScheduler
from mellea_rx.errors import InvalidInputError, VirtualTimeError

__all__ = ["VirtualTime", "run_off_loop", "run_virtual"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_Events: TypeAlias = list[tuple[selectors.SelectorKey, int]]

DAY = 86_400.0
PATIENCE = 60.0

MOST_TASKS_SHOWN = 10
"""The number of waiting tasks that an error names."""


def run_off_loop(function: Callable[[], T]) -> T:
    """Call a function on a thread in which no event loop runs.

    That is the current thread; if a loop runs in it, another thread, while this one blocks.

    Args:
        function: It may run an event loop of its own.

    Returns:
        The function's result.
    """
    if running_loop() is None:
        return function()
    with ThreadPoolExecutor(1, "mellea-rx-testing") as pool:
        return pool.submit(function).result()


class VirtualTime:
    """Runs async code on a clock that jumps to the next timer whenever nothing is ready.

    Timeouts, backoff, hedges and rate limits then take no real time, and durations are exact.
    Calls made by the code run on the same loop, which is also its engine; other threads of the
    process keep the process's engine. Sync functions of the user still run in worker threads; the
    clock stands still until they return.

    Args:
        limit: The virtual seconds after which it gives up; a day by default.
        patience: The real seconds that it waits for a worker thread; 60 by default.

    Example:
        >>> from mellea_rx import MelleaSession, ScriptedBackend
        >>> async def main() -> tuple[str, float]:
        ...     thunk = await MelleaSession(ScriptedBackend("a b c", delay=100)).ainstruct("Go.")
        ...     return await thunk.avalue(), thunk.duration
        >>> with VirtualTime() as time:
        ...     time.run(main()), time.now
        (('a b c', 300.0), 300.0)

    Attributes:
        scheduler: A ReactiveX scheduler on the same clock, for operators with `scheduler=`.

    Raises:
        InvalidInputError: `limit` or `patience` is not above 0.
    """

    def __init__(self, *, limit: float = DAY, patience: float = PATIENCE) -> None:
        for name, value in (("limit", limit), ("patience", patience)):
            if not value > 0:
                raise InvalidInputError(f"{name} must be above 0 seconds, not {value!r}")
        loop = _VirtualLoop(limit, patience)
        self._loop = loop
        self._engine = _VirtualEngine(loop)
        self._runner = asyncio.Runner(loop_factory=lambda: loop)
        self._runner.get_loop()
        self.scheduler = LoopScheduler(loop)

    @property
    def now(self) -> float:
        """The virtual seconds since its creation."""
        return self._loop.time()

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end; the clock continues from its current time.

        If a loop runs in this thread, the coroutine runs in another thread while this one blocks.

        Args:
            main: The coroutine.

        Returns:
            Its result.

        Raises:
            VirtualTimeError: It waits for something that cannot happen: no timer is set and
                nothing is ready, or `limit` or `patience` is exceeded. The message names the
                waiting tasks.
            Exception: The error that `main` raises.
        """
        context = contextvars.copy_context()
        context.run(use_engine, self._engine)
        return run_off_loop(lambda: self._run(main, context))

    def _run(self, main: Coroutine[Any, Any, T], context: contextvars.Context) -> T:
        self._engine.enter()
        return self._runner.run(main, context=context)

    def close(self) -> None:
        """Cancel the tasks that still run, and close the loop. Idempotent."""
        if not self._loop.is_closed():
            run_off_loop(self._close)

    def _close(self) -> None:
        self._engine.enter()
        try:
            self._runner.run(self._end())
        finally:
            self._engine.leave()
            self._runner.close()

    async def _end(self) -> None:
        # All tasks are cancelled before any of them runs again: a task that awaits a call is then
        # cancelled itself, and does not receive the cancellation of the call as an error.
        remaining = asyncio.all_tasks() - {asyncio.current_task()}
        for task in remaining:
            task.cancel()
        if remaining:
            await asyncio.wait(remaining)
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
    """Run a coroutine as `asyncio.run` does, but in virtual time; see `VirtualTime`.

    Args:
        main: The coroutine.
        limit: The virtual seconds after which it gives up.
        patience: The real seconds that it waits for a worker thread.

    Returns:
        Its result.

    Example:
        >>> import asyncio
        >>> run_virtual(asyncio.sleep(3600, "an hour later"))
        'an hour later'

    Raises:
        VirtualTimeError: It waits for something that cannot happen.
        Exception: The error that `main` raises.
    """
    with VirtualTime(limit=limit, patience=patience) as time:
        return time.run(main)


class _VirtualEngine(Engine):
    """The engine on a virtual loop, in the thread that runs the loop."""

    def __init__(self, loop: _VirtualLoop) -> None:
        super().__init__(loop, clock=loop.time)

    def event(self) -> threading.Event:
        work = _current_work()
        if work is not None and work.loop is self.loop:
            return _WorkerEvent(self, work)
        return super().event()


class _WorkerEvent(threading.Event):
    """An event on which a worker thread blocks in virtual time. Meanwhile the clock may go on.

    The thread's work is marked as paused and as resumed on the loop only. The loop resumes it
    before it sets the event, so the clock cannot jump between that moment and the moment in which
    the thread, which the operating system schedules, runs again.
    """

    def __init__(self, engine: Engine, work: _Work) -> None:
        super().__init__()
        self._engine = engine
        self._work = work
        self._timer: asyncio.TimerHandle | None = None
        self._expired = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait as `threading.Event.wait` does; `timeout` is in virtual seconds."""
        self._engine.call(self._pause, timeout)
        super().wait()
        return not self._expired

    def set(self) -> None:
        """Set the event from any thread."""
        self._engine.call(self._wake)

    def _pause(self, timeout: float | None) -> None:
        if self.is_set():
            return
        self._work.pause()
        if timeout is not None:
            self._timer = self._engine.loop.call_later(timeout, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._wake()

    def _wake(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._work.resume()  # before `set`: see above
        super().set()


_thread = threading.local()
"""`work`: the work that the thread does for a virtual loop."""


class _Work:
    """A function that a worker thread runs for a loop; the clock stands still meanwhile.

    Changed on the loop only, so the set `at_work` needs no lock.
    """

    __slots__ = ("_is_done", "loop")

    def __init__(self, loop: _VirtualLoop) -> None:
        self.loop = loop
        self._is_done = False
        self.resume()

    def resume(self) -> None:
        """Stop the clock, unless the work has ended: the loop no longer waits for it then."""
        if not self._is_done:
            self.loop.at_work.add(self)

    def pause(self) -> None:
        """Let the clock go on, since the function waits for the loop."""
        self.loop.at_work.discard(self)

    def end(self) -> None:
        """Mark the function as returned, or its caller as cancelled."""
        self._is_done = True
        self.pause()


def _current_work() -> _Work | None:
    """The work that the current thread does for a virtual loop; None in other threads."""
    work: _Work | None = getattr(_thread, "work", None)
    return work


class _VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual time, which starts at 0.

    When nothing is ready, its clock jumps to the next timer. While functions run in its worker
    threads (`asyncio.to_thread`), the clock stands still, and the loop waits for them in real time.

    Args:
        limit: The virtual seconds after which it gives up, since some task polls without end.
        patience: The real seconds that it waits for worker threads while nothing else happens.
    """

    def __init__(self, limit: float, patience: float) -> None:
        self._now = 0.0
        self._limit = limit
        self._patience = patience
        self._order = itertools.count()
        self.at_work: set[_Work] = set()
        """The work during which the clock stands still."""
        self._workers = ThreadPoolExecutor(thread_name_prefix="mellea-rx-virtual")
        self.is_stuck = False
        """Whether it has given up waiting for its worker threads."""
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """The virtual seconds since the loop's creation."""
        return self._now

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Set a timer as asyncio does; timers of the same time fire in the order of their calls."""
        return super().call_at(_Moment(when, next(self._order)), callback, *args, context=context)

    def run_in_executor(
        self,
        executor: Executor | None,
        func: Callable[[Unpack[Ts]], T],
        *args: *Ts,
    ) -> asyncio.Future[T]:
        """Run a function as asyncio does; the clock stands still until it has returned."""
        work = _Work(self)
        future = super().run_in_executor(executor or self._workers, partial(_do, work, func, *args))
        # Callbacks of a future run on this loop, so no other thread changes `at_work`.
        future.add_done_callback(lambda _: work.end())
        return future

    def close(self) -> None:
        """Close the loop, and wait for its worker threads unless it has given up on them."""
        self._workers.shutdown(wait=not self.is_stuck, cancel_futures=True)
        super().close()

    def jump(self, seconds: float | None) -> None:
        """Advance the clock, at the point where an ordinary loop would wait.

        Args:
            seconds: The time until the next timer; None if no timer is set.

        Raises:
            VirtualTimeError: No timer is set, or the limit is reached.
        """
        if seconds is None:
            raise VirtualTimeError(
                f"nothing will ever happen: at {self._now:g} s of virtual time no timer is set and "
                "nothing is ready (threads that the loop did not start are not waited for); "
                f"{self._waiting()}"
            )
        if self._now >= self._limit:
            raise VirtualTimeError(
                f"virtual time has reached its limit of {self._limit:g} s: a task may be polling "
                f"for something that never happens (or set a larger limit=); {self._waiting()}"
            )
        self._now = min(self._now + seconds, self._limit)

    def wait_for_workers(self, select: Callable[[float], _Events]) -> _Events:
        """Wait in real time until a worker thread wakes the loop.

        Raises:
            VirtualTimeError: None did within `patience`.
        """
        events = select(self._patience)
        if events:
            return events
        self.is_stuck = True
        raise VirtualTimeError(
            f"virtual time stood still for {self._patience:g} real seconds: {len(self.at_work)} "
            "worker thread(s) did not return; a function in a thread may wait for virtual time, "
            f"which stands still meanwhile (or set a larger patience=); {self._waiting()}"
        )

    def _waiting(self) -> str:
        stacks = [task.get_stack(limit=1) for task in asyncio.all_tasks(self)]
        frames = [stack[0] for stack in stacks if stack]
        places = sorted(
            f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
            for frame in frames
        )
        if len(places) > MOST_TASKS_SHOWN:
            places[MOST_TASKS_SHOWN:] = [f"and {len(places) - MOST_TASKS_SHOWN} more"]
        return f"waiting tasks: {'; '.join(places)}" if places else "no task is left"


def _do(work: _Work, func: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
    _thread.work = work
    try:
        return func(*args)
    finally:
        _thread.work = None


class _Moment(float):
    """The time of a timer, ordered by time and then by the order of creation."""

    __slots__ = ("_place",)
    _place: int

    def __new__(cls, when: float, place: int) -> _Moment:
        self = super().__new__(cls, when)
        self._place = place
        return self

    def __lt__(self, other: float) -> bool:
        # asyncio keeps its timers in a heap, which compares their times with "<" only.
        if isinstance(other, _Moment) and float(self) == float(other):
            return self._place < other._place
        return float(self) < float(other)


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that accepts only the loop's own pipe, through which threads wake the loop."""

    def __init__(self, loop: _VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if self.get_map():
            raise VirtualTimeError(
                "real connections, pipes and processes cannot be used in virtual time: its clock "
                "does not wait for them; use a ScriptedBackend, marbles() or replay()"
            )
        return super().register(fileobj, events, data)

    def select(self, timeout: float | None = None) -> _Events:
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if self._loop.at_work:
            return self._loop.wait_for_workers(super().select)
        self._loop.jump(timeout)
        return events
