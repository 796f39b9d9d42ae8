"""Calls the user's functions from a pipeline: sync ones in a worker thread, async ones on the
caller's event loop, and none on the engine's thread.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from mellea_rx.core.worker_threads import in_worker_thread, returned
from mellea_rx.errors import CallerLoopClosedError

__all__ = ["call_method", "call_user", "is_async", "loops_for"]

_CLOSED_LOOP_CHECK = 1.0
"""Seconds between two checks whether the caller's loop is closed."""


async def call_user(
    function: Callable[..., Any], *args: Any, loop: asyncio.AbstractEventLoop | None
) -> Any:
    """Call a function of the user's and return its result.

    Args:
        function: A sync one runs in a worker thread; an async one on `loop`.
        args: Its arguments.
        loop: The caller's event loop; None where the call came from sync code, and then an async
            function runs on an event loop of its own, in a worker thread.

    Raises:
        CallerLoopClosedError: `loop` is closed.
        Exception: The function's own.
    """
    if not is_async(function):
        result = await in_worker_thread(function, *args)
        if not inspect.isawaitable(result):
            return result
        return await _await_user(_awaiting(lambda: result), loop)
    return await _await_user(_awaiting(partial(function, *args)), loop)


def loops_for(
    functions: Iterable[Callable[..., Any]], loop: asyncio.AbstractEventLoop | None
) -> tuple[asyncio.AbstractEventLoop, ...]:
    """The event loops that functions need: the caller's, where one of them is async."""
    if loop is not None and any(map(is_async, functions)):
        return (loop,)
    return ()


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calls of a function, or of a class's objects, have to be awaited.

    (`inspect.iscoroutinefunction` misses objects with an async `__call__`.) An object may declare
    it, with an attribute `is_async`.
    """
    while isinstance(function, partial):
        function = function.func
    if inspect.iscoroutinefunction(function) or getattr(function, "is_async", False) is True:
        return True
    kind = function if isinstance(function, type) else type(function)
    return inspect.iscoroutinefunction(call_method(kind))


def call_method(kind: type) -> Any:
    """The method `__call__` of a class; None where its objects cannot be called."""
    return next((vars(c)["__call__"] for c in kind.__mro__ if "__call__" in vars(c)), None)


async def _awaiting(begin: Callable[[], Awaitable[Any]]) -> Any:
    """Await the result of `begin`.

    Raises:
        RuntimeError: It raised `CancelledError` though nobody cancelled this task.
    """
    try:
        return await begin()
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise RuntimeError("the function raised CancelledError") from error


async def _await_user(
    coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop | None
) -> Any:
    if loop is None:
        return await _in_own_loop(coroutine)
    # A call that was made on the engine has the engine's loop, which outlives this task.
    here = loop is asyncio.get_running_loop()
    waiting = asyncio.ensure_future(coroutine) if here else _sent(coroutine, loop)
    try:
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=None if here else _CLOSED_LOOP_CHECK)
            if loop.is_closed() and not waiting.done():
                coroutine.close()
                raise _closed()
    finally:
        waiting.cancel()
    if waiting.cancelled():
        raise _closed()
    return returned(waiting.result)


async def _in_own_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a worker thread; it is cancelled when the wait for it is."""
    own = _OwnLoop(coroutine)
    try:
        return await in_worker_thread(own.run)
    except asyncio.CancelledError:
        own.cancel()
        raise


class _OwnLoop:
    """A coroutine on an event loop of its own, in whichever thread runs it."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._lock = threading.Lock()
        self._cancel: Callable[[], object] = coroutine.close  # until it begins

    def run(self) -> Any:
        return asyncio.run(self._main())

    async def _main(self) -> Any:
        # `cancel` comes from another thread. The lock makes "it begins" and "this is how it is
        # cancelled from now on" one step: a coroutine that was closed is not run, and one that
        # runs is cancelled instead of closed.
        with self._lock:
            task = asyncio.ensure_future(self._coroutine)
            self._cancel = lambda: task.get_loop().call_soon_threadsafe(task.cancel)
        return await task

    def cancel(self) -> None:
        """End it, from another thread. Does nothing where it has ended."""
        with self._lock, suppress(RuntimeError):  # its loop may be closed already
            self._cancel()


def _sent(
    coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop
) -> asyncio.Future[Any]:
    try:
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))
    except RuntimeError:
        coroutine.close()
        raise _closed() from None


def _closed() -> CallerLoopClosedError:
    return CallerLoopClosedError(
        "an async function of this call has to run on the event loop that made the call, "
        "and that loop was closed: await the thunk before its loop ends"
    )
