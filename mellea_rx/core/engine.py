"""The engine: one event loop of the library's own, in one daemon thread, started on first use.

All I/O and all pipelines run on it, so that a call can return at once on any loop or on none, and a
caller that blocks its own loop stalls no stream. uvloop drives it where that installs.

A forked child starts an engine of its own; what ran in the parent's ends there with an
`EngineStoppedError`. At interpreter exit every task is cancelled and the thread joined, so that
nothing is torn down under a running generation.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextvars
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from mellea_rx.core.locks import no_fork
from mellea_rx.errors import EngineStoppedError

__all__ = ["Engine", "Orphan", "Resource", "TaskHandle", "engine", "engine_loop", "load_engine"]

_T = TypeVar("_T")

EXIT_PATIENCE = 5.0
"""How long interpreter exit waits for the engine's tasks to end, in seconds."""


class Orphan(Protocol):
    """What a fork leaves behind: it is told in the child that its engine does not run there."""

    def orphaned(self) -> None:
        """End with an `EngineStoppedError`. Called in the child, when it has one thread only."""
        ...


class Resource(Protocol):
    """Something that lives on the engine's loop and has to be closed on it."""

    async def aclose(self) -> None:
        """Let go of it. Idempotent."""
        ...


class Engine:
    """An event loop in a daemon thread of its own.

    Attributes:
        loop: The event loop. Use it from other threads only through its thread-safe calls.
    """

    def __init__(self) -> None:
        self.loop = _loop_factory()()
        self._tasks: set[TaskHandle] = set()
        self._orphans: weakref.WeakSet[Orphan] = weakref.WeakSet()
        self._resources: set[Resource] = set()
        self._stopping = False
        self._ident: int | None = None
        self._thread = threading.Thread(target=self._run, name="mellea-rx-engine", daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is the engine's own."""
        return threading.get_ident() == self._ident

    def spawn(
        self,
        work: Callable[[], Coroutine[Any, Any, Any]],
        *,
        context: contextvars.Context | None = None,
        orphan: Orphan | None = None,
    ) -> TaskHandle:
        """Run a coroutine on the engine; returns at once, from any thread.

        Args:
            work: Makes the coroutine; called on the engine.
            context: The contextvars that it runs with; a copy of the caller's by default.
            orphan: Who has to be told when a fork leaves this work behind.

        Returns:
            A handle that can cancel it, also before it began.

        Raises:
            EngineStoppedError: The interpreter is going down.
        """
        handle = TaskHandle(self, orphan)
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
        """
        if self.is_current:
            return await work()
        future: concurrent.futures.Future[_T] = concurrent.futures.Future()

        async def settle() -> None:
            try:
                result = await work()
            except asyncio.CancelledError:
                future.cancel()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        handle = self.spawn(settle)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            handle.cancel()
            raise

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call `function(*args)` on the engine: now when this is its thread, else soon.

        Raises:
            EngineStoppedError: The interpreter is going down.
        """
        if self.is_current:
            function(*args)
            return
        if self._stopping:
            raise EngineStoppedError("the engine has stopped: the interpreter is going down")
        try:
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError as error:
            raise EngineStoppedError("the engine has stopped") from error

    def adopt(self, orphan: Orphan) -> None:
        """Remember (weakly) who has to be told when a fork leaves this engine behind."""
        self._orphans.add(orphan)

    def keep(self, resource: Resource) -> None:
        """Remember what has to be closed before the loop is, whoever else forgets it."""
        self._resources.add(resource)

    def close(self, resource: Resource) -> None:
        """Close a kept resource soon, from any thread; it is waited for until it is closed."""
        self.call(lambda: self.loop.create_task(self._close(resource)))

    async def _close(self, resource: Resource) -> None:
        await resource.aclose()
        self._resources.discard(resource)

    def stop(self) -> None:
        """Cancel every task, wait for their ends (`EXIT_PATIENCE` at most), end the thread."""
        if self._stopping or not self._thread.is_alive():
            return
        self._stopping = True
        self.loop.call_soon_threadsafe(self._cancel_all)
        self._thread.join(EXIT_PATIENCE)

    def _run(self) -> None:
        self._ident = threading.get_ident()
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()

    def _cancel_all(self) -> None:
        for handle in list(self._tasks):
            handle._cancel()
        closing = self.loop.create_task(self._drain())
        closing.add_done_callback(lambda _: self.loop.stop())

    async def _drain(self) -> None:
        tasks = [handle._task for handle in self._tasks if handle._task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=EXIT_PATIENCE / 2)
        for resource in list(self._resources):
            await resource.aclose()
        # Transports that were closed just now tell their protocols in the loop's next turns.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def _abandon(self) -> None:
        """Leave this engine behind, in a forked child, where its thread does not run."""
        self._ident = None  # a thread of the child's may get the same one
        self._stopping = True
        self.loop.set_exception_handler(lambda *_: None)
        _left_behind.append(self)
        for orphan in [*self._orphans, *(handle._orphan for handle in self._tasks)]:
            if orphan is not None:
                orphan.orphaned()


class TaskHandle:
    """Cancels a piece of work on the engine, from any thread, at any time."""

    __slots__ = ("_cancelled", "_engine", "_orphan", "_task")

    def __init__(self, engine: Engine, orphan: Orphan | None) -> None:
        self._engine = engine
        self._orphan = orphan
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
            pass  # what stops the engine cancels all its tasks

    def _start(
        self, work: Callable[[], Coroutine[Any, Any, Any]], context: contextvars.Context
    ) -> None:
        engine = self._engine
        if self._cancelled:
            engine._tasks.discard(self)
            return
        self._task = engine.loop.create_task(work(), context=context)
        self._task.add_done_callback(self._done, context=context)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._engine._tasks.discard(self)
        self._task = self._orphan = None

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


_guard = threading.Lock()
_current: Engine | None = None
_left_behind: list[Engine] = []


def engine() -> Engine:
    """The engine of this process; started by the first call."""
    global _current
    running = _current
    if running is not None:
        return running
    with _guard:
        if _current is None:
            _current = Engine()
        return _current


def engine_loop() -> asyncio.AbstractEventLoop | None:
    """The engine's loop, when this code runs on it; else None."""
    running = _current
    return running.loop if running is not None and running.is_current else None


def load_engine() -> None:
    """Import what the engine runs on now: some 20 ms, once, that its start then does not take."""
    _loop_factory()


@lru_cache(maxsize=1)
def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    with no_fork:
        try:
            import uvloop  # not with the package: a program may never run anything
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
    parents, _current = _current, None
    if parents is not None:
        parents._abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh_in_child)
