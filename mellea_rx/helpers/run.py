"""The engine on the program's own event loop, for programs that never block that loop.

The library's engine has a thread and an event loop of its own, so that a caller that blocks stalls
no stream. A call then crosses from one thread to the other and back, which costs more than all else
of a short call. A program whose loop never stands still (a server) can have the engine run there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from mellea_rx.core.engine import Engine, engine_loop, leave_engine, loop_factory, use_engine
from mellea_rx.errors import InvalidInputError

__all__ = ["engine_here", "run"]

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a program as `asyncio.run` does, with the engine on its own event loop.

    The loop is uvloop's where that is installed. A call costs less than with the engine in a thread
    of its own; see `engine_here` for the price.

    Args:
        main: The program's coroutine.

    Returns:
        The result of `main`.

    Raises:
        InvalidInputError: `main` is no coroutine, or an event loop runs in this thread already:
            there, `async with engine_here()` does the same.
        Exception: Whatever `main` raises.

    Example:
        >>> import mellea_rx
        >>> async def main() -> str:
        ...     m = mellea_rx.MelleaSession(mellea_rx.ScriptedBackend("Hello."))
        ...     return await (await m.ainstruct("Greet me.")).avalue()
        >>> mellea_rx.run(main())
        'Hello.'
    """
    if not asyncio.iscoroutine(main):
        raise InvalidInputError(
            f"run takes a coroutine, as run(main()), not a {type(main).__name__}"
        )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(_within(main))
    main.close()
    raise InvalidInputError(
        "an event loop runs in this thread already: use `async with mellea_rx.engine_here():` in it"
    )


async def _within(main: Coroutine[Any, Any, T]) -> T:
    async with engine_here():
        return await main


@asynccontextmanager
async def engine_here() -> AsyncIterator[None]:
    """Run the engine on the running event loop, for all code that goes on from here.

    Calls that are made inside, by this task, by tasks that it starts and by functions that the
    library calls for them, cross no thread. In exchange this loop must never stand still: code that
    blocks it holds up every stream and every timeout, and a sync verb or another blocking wait on
    it raises `BlockingWaitError`. On leaving, calls that still run are cancelled.

    Within another `engine_here` on the same loop it changes nothing.

    Example:
        >>> import asyncio, mellea_rx
        >>> async def main() -> str:
        ...     async with mellea_rx.engine_here():
        ...         m = mellea_rx.MelleaSession(mellea_rx.ScriptedBackend("Hello."))
        ...         return await (await m.ainstruct("Greet me.")).avalue()
        >>> asyncio.run(main())
        'Hello.'
    """
    loop = asyncio.get_running_loop()
    if engine_loop() is loop:
        yield
        return
    here = Engine(loop)
    here.enter()
    token = use_engine(here)
    try:
        yield
    finally:
        try:
            await here.drain()
        finally:
            here.leave()
            leave_engine(token)
