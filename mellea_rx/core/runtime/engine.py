"""The engine: one event loop of the library's own, in one daemon thread, started on first use.

All I/O and all pipelines run on it. `engine()` gives the running one; backends, generations and
timers use it. `asyncio_loop()` gives the caller's own loop, or says that one is needed.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import ContextVar, Token
from functools import lru_cache, partial
from typing import Any, TypeVar

from mellea_rx.core.runtime.batched_calls import BatchedCalls
from mellea_rx.core.runtime.cross_thread_result import CrossThreadResult
from mellea_rx.core.runtime.fork import AsyncResource, ForkAware, Lost, TaskOwner, no_fork
from mellea_rx.errors import AsyncioRequiredError, EngineStoppedError


class _Here(threading.local):
    loop: asyncio.AbstractEventLoop | None = None
    """The loop that is known to run in this thread just now; None where that is not known."""


HERE = _Here()
"""Set while a loop's dispatcher calls its consumers. `asyncio.get_running_loop()` is a system call
in some versions of Python (it asks for the process's number), which is much for each chunk."""


def asyncio_loop() -> asyncio.AbstractEventLoop:
    """The asyncio loop that runs here.

    Raises:
        AsyncioRequiredError: None does: trio, another library or a test drives the await.
    """
    loop = HERE.loop
    if loop is not None:
        return loop
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    raise AsyncioRequiredError(
        "mellea_rx is awaited on asyncio, and no asyncio event loop runs here (trio's is none): "
        "start the program with asyncio.run, or wait in a thread, under trio with "
        "`await trio.to_thread.run_sync(thunk.wait)`"
    )


_T = TypeVar("_T")

EXIT_PATIENCE = 5.0
"""The time that interpreter exit waits for the engine's tasks to end, in seconds."""


class Engine:
    """Runs work on an event loop, and notifies the objects that depend on that loop at its end.

    Args:
        loop: The event loop. Use it from other threads only through its thread-safe calls.
        clock: Measures durations, in seconds; called from any thread.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.loop = loop
        self.clock = clock
        self._tasks: set[TaskHandle] = set()
        self._dependents: weakref.WeakSet[ForkAware] = weakref.WeakSet()
        self._resources: set[AsyncResource] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self.batched_calls = BatchedCalls(loop)
        self._stopping = False
        self._ident: int | None = None
        self.is_left = False
        """Whether the thread that ran the loop for it does that no more."""
        self.is_parents = False
        """Whether this process is a fork of the one that ran it: it does not exist here."""
        _engines.add(self)

    def enter(self) -> None:
        """The calling thread is the one that runs the loop, from now on."""
        self._ident = threading.get_ident()
        self.is_left = False

    def leave(self) -> None:
        """No thread runs the loop any more."""
        self._ident = None
        self.is_left = True

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is the engine's own."""
        return threading.get_ident() == self._ident

    @property
    def has_stopped(self) -> bool:
        """Whether it takes no more work: at exit, in a forked child, or after a fault."""
        return self._stopping

    def event(self) -> threading.Event:
        """An event for a thread that blocks until code on the engine sets it."""
        return threading.Event()

    def spawn(
        self,
        work: Callable[[], Coroutine[Any, Any, Any]],
        *,
        context: contextvars.Context | None = None,
        owner: TaskOwner | None = None,
        lost: Lost | None = None,
    ) -> TaskHandle:
        """Run a coroutine on the engine; returns at once, from any thread.

        Args:
            work: Makes the coroutine; called on the engine.
            context: The contextvars that it runs with; a copy of the caller's by default.
            owner: Notified when this work never begins, or a fork leaves it behind.
            lost: Called on the engine, before the work is cancelled, should a fault stop it.

        Returns:
            A handle that can cancel it, also before it began.

        Raises:
            EngineStoppedError: The interpreter is going down, or the engine's own loop has ended.
        """
        handle = TaskHandle(self, owner, lost)
        self._tasks.add(handle)
        try:
            self.call(handle._start, work, context or contextvars.copy_context())
        except EngineStoppedError:
            self._tasks.discard(handle)
            raise
        return handle

    async def run(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run a coroutine on the engine and wait for it here, on any loop.

        Cancelling the wait cancels the work.

        Raises:
            AsyncioRequiredError: No asyncio event loop runs here.
        """
        if self.is_current:
            return await work()
        asyncio_loop()
        result: CrossThreadResult[_T] = CrossThreadResult()

        async def settle() -> None:
            try:
                result.succeed(await work())
            except asyncio.CancelledError:
                result.cancel()
            except BaseException as error:
                result.fail(error)

        handle = self.spawn(settle, lost=result.fail)
        try:
            return await result.on_loop()
        except asyncio.CancelledError:
            handle.cancel()
            raise

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call `function(*args)` on the engine: now when this is its thread, else soon.

        Raises:
            EngineStoppedError: The interpreter is going down, or the engine's own loop has ended.
        """
        if self.is_current:
            function(*args)
            return
        if self._stopping:
            raise EngineStoppedError("the engine has stopped: the interpreter, or its loop, ends")
        try:
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError as error:
            raise EngineStoppedError("the engine has stopped") from error

    def adopt(self, dependent: ForkAware) -> None:
        """Remember (weakly) an object to notify when a fork leaves this engine behind."""
        self._dependents.add(dependent)

    def keep(self, resource: AsyncResource) -> None:
        """Remember a resource, and close it before the loop is closed."""
        self._resources.add(resource)

    def close(self, resource: AsyncResource) -> None:
        """Close a kept resource soon, from any thread; `drain` waits until it is closed."""
        self.call(self._close_soon, resource)

    async def aclose(self, resource: AsyncResource) -> None:
        """Close a kept resource, and wait here, on any loop, until it is closed."""
        await self.run(partial(self._close, resource))

    def _close_soon(self, resource: AsyncResource) -> None:
        # Kept: the loop itself holds its tasks only weakly, and `drain` waits for them.
        task = self.loop.create_task(self._close(resource))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def forget(self, resource: AsyncResource) -> None:
        """Forget a kept resource that has nothing to be closed. From any thread."""
        self.call(self._resources.discard, resource)

    async def _close(self, resource: AsyncResource) -> None:
        await resource.aclose()
        self._resources.discard(resource)

    async def drain(self) -> None:
        """Refuse further work, cancel every task, wait for their ends, close all kept resources.

        Runs on the engine, as the last of its loop's work. Tasks have half of `EXIT_PATIENCE`.
        """
        self._stopping = True
        for handle in list(self._tasks):
            handle._cancel()
        tasks = [handle._task for handle in self._tasks if handle._task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=EXIT_PATIENCE / 2)
        for resource in list(self._resources):
            await resource.aclose()
        if self._closing:
            await asyncio.wait(self._closing, timeout=EXIT_PATIENCE / 2)
        # Transports that were closed just now call their protocols in the loop's next iterations.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def _abandon(self) -> None:
        """Leave this engine behind, in a forked child, where its thread does not run."""
        self.leave()  # a thread of the child's may get the same one
        self._stopping = self.is_parents = True
        self.loop.set_exception_handler(lambda *_: None)
        _left_behind.append(self)
        for dependent in [*self._dependents, *(handle._owner for handle in self._tasks)]:
            if dependent is not None:
                dependent.after_fork_in_child()


class ThreadEngine(Engine):
    """The engine of a process: an event loop in a daemon thread of its own."""

    def __init__(self) -> None:
        super().__init__(loop_factory()())
        self._thread = threading.Thread(target=self._run, name="mellea-rx-engine", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # no Python starts threads at its very end
            self.loop.close()
            raise EngineStoppedError(
                "the engine cannot start any more: the interpreter is going down"
            ) from error

    def stop(self) -> None:
        """Cancel every task, wait for their ends (`EXIT_PATIENCE` at most), end the thread."""
        if self._stopping or not self._thread.is_alive():
            return
        self._stopping = True
        self.loop.call_soon_threadsafe(self._finish)
        self._thread.join(EXIT_PATIENCE)

    def _run(self) -> None:
        self.enter()
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            by_fault = not self._stopping
            try:
                if by_fault:
                    self._lose_all()
                self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            finally:
                self.loop.close()
                if by_fault:
                    _forget(self)

    def _lose_all(self) -> None:
        """End all work: something has stopped the loop."""
        self._stopping = True
        for handle in list(self._tasks):
            handle._lose()
        self.loop.run_until_complete(self.drain())

    def _finish(self) -> None:
        self.loop.create_task(self.drain()).add_done_callback(lambda _: self.loop.stop())


class TaskHandle:
    """Cancels a piece of work on the engine, from any thread, at any time."""

    __slots__ = ("_cancelled", "_engine", "_lost", "_owner", "_task")

    def __init__(self, engine: Engine, owner: TaskOwner | None, lost: Lost | None) -> None:
        self._engine = engine
        self._owner = owner
        self._lost = lost
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """End the work. Idempotent; returns at once."""
        if self._cancelled:
            return
        self._cancelled = True
        try:
            self._engine.call(self._cancel)
        except EngineStoppedError:
            pass  # the engine cancels all its tasks as it stops

    async def ended(self) -> None:
        """Wait for the end of the work, `EXIT_PATIENCE` at most. On the engine."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=EXIT_PATIENCE)

    def _start(
        self, work: Callable[[], Coroutine[Any, Any, Any]], context: contextvars.Context
    ) -> None:
        engine = self._engine
        if self._cancelled:
            self._finish(begun=False)
            return
        self._task = engine.loop.create_task(work(), context=context)
        self._task.add_done_callback(self._done, context=context)

    def _done(self, task: asyncio.Task[Any]) -> None:
        # Work of an owner handles its own cancellation, unless it never began.
        self._finish(begun=not task.cancelled())

    def _finish(self, *, begun: bool) -> None:
        owner = self._owner
        self._engine._tasks.discard(self)
        self._task = self._owner = self._lost = None
        if owner is not None and not begun:
            owner.never_began()

    def _lose(self) -> None:
        if self._lost is not None:
            self._lost(EngineStoppedError("something stopped the engine under this work"))

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


_guard = threading.Lock()
_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
"""All engines of this process; a forked child leaves them all behind."""
_current: ThreadEngine | None = None
_left_behind: list[Engine] = []
_used: ContextVar[Engine | None] = ContextVar("mellea_rx_engine", default=None)


def engine() -> Engine:
    """The engine of this code: that of `use_engine`, else the process's, which this may start."""
    global _current
    running = running_engine()
    if running is not None:
        return running
    with _guard:
        if _current is None:
            _current = ThreadEngine()
        return _current


def running_engine() -> Engine | None:
    """The engine of this code; None where none has been started."""
    used = _used.get()
    # An engine that was left, in a task that goes on without it or after a fork, serves nobody.
    return _current if used is None or used.is_left else used


def _forget(stopped: Engine) -> None:
    global _current
    with _guard:
        if _current is stopped:
            _current = None


def engine_loop() -> asyncio.AbstractEventLoop | None:
    """The engine's loop, when this code runs on it; else None."""
    running = running_engine()
    return running.loop if running is not None and running.is_current else None


def use_engine(other: Engine) -> Token[Engine | None]:
    """Have this context, its tasks and its worker threads use another engine than the process's.

    Returns:
        For `leave_engine`, which ends that.
    """
    return _used.set(other)


def leave_engine(token: Token[Engine | None]) -> None:
    """Have this context use the engine again that it used before `use_engine`."""
    # Another task may leave the engine than the one that began to use it (fixtures of tests do):
    # that one's context cannot be changed from here, and finds an engine that was left.
    with suppress(ValueError):
        _used.reset(token)


def load_engine() -> None:
    """Import the engine's event loop now: some 20 ms, once, which its start then does not take."""
    loop_factory()


@lru_cache(maxsize=1)
def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Makes event loops for engines: of uvloop where that is installed, else of asyncio."""
    with no_fork:
        try:
            import uvloop  # late: a program may import the package and never run anything
        except ImportError:
            return asyncio.new_event_loop
        return uvloop.new_event_loop


@atexit.register
def _stop_at_exit() -> None:
    if _current is not None:
        _current.stop()


def _start_afresh_in_child() -> None:
    global _current, _guard
    _guard = threading.Lock()
    _current = None
    for parents in list(_engines):
        parents._abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh_in_child)
