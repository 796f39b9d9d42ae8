"""Calls the user's functions from a pipeline: never on the engine's thread."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from mellea_rx.errors import CallerLoopClosedError

__all__ = ["call_user", "loops_for"]

_CLOSED_LOOP_CHECK = 1.0
"""Seconds between two looks at whether the caller's loop is still there."""


async def call_user(
    function: Callable[..., Any], *args: Any, loop: asyncio.AbstractEventLoop | None
) -> Any:
    """Call a function of the user's and return what it returns.

    Args:
        function: A sync one runs in a worker thread; an async one on `loop`.
        args: Its arguments.
        loop: The caller's event loop; None where the call came from sync code, and then an async
            function runs on an event loop of its own, in a worker thread.

    Raises:
        CallerLoopClosedError: `loop` is closed.
        Exception: What the function raises.
    """
    if not inspect.iscoroutinefunction(function):
        result = await asyncio.to_thread(_returned, function, *args)
        if not inspect.isawaitable(result):
            return result
        return await _await_user(_awaiting(result), loop)
    return await _await_user(function(*args), loop)


def loops_for(
    functions: Iterable[Callable[..., Any]], loop: asyncio.AbstractEventLoop | None
) -> tuple[asyncio.AbstractEventLoop, ...]:
    """The caller's loop, where a function is async and so has to run on it."""
    if loop is not None and any(inspect.iscoroutinefunction(each) for each in functions):
        return (loop,)
    return ()


_UNFIT = (StopIteration, asyncio.CancelledError, SystemExit, KeyboardInterrupt)
# A future cannot hold the first, so that whoever waits for it would wait for ever; the second would
# look as if the waiting task were cancelled; and the others would end the engine.


def _returned(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except _UNFIT as error:
        raise RuntimeError(f"the function raised {type(error).__name__}") from error


async def _awaiting(awaitable: Any) -> Any:
    return await awaitable


async def _await_user(
    coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop | None
) -> Any:
    if loop is None:
        return await asyncio.to_thread(_returned, asyncio.run, coroutine)
    # Where the call was made on the engine, its loop is there as long as this task is.
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
    return _returned(waiting.result)


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
