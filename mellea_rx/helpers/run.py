"""`run` and `engine_here`: the engine on the program's own event loop. For users.

By default the engine has its own thread and event loop, so that a blocked caller stalls no stream.
Each call then changes threads twice, which is the largest cost of a short call. A program that
never blocks its loop (a server) can run the engine on that loop instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from mellea_rx.core.runtime.engine import (
    Engine,
    engine_loop,
    leave_engine,
    loop_factory,
    use_engine,
)
from mellea_rx.errors import InvalidInputError

__all__ = ["engine_here", "run"]

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a program as `asyncio.run` does, with the engine on its own event loop.

    The loop is uvloop's where that is installed. A call costs less than with the engine in its own
    thread; see `engine_here` for the conditions.

    Args:
        main: The program's coroutine.

    Returns:
        The result of `main`.

    Raises:
        InvalidInputError: `main` is not a coroutine, or an event loop runs in this thread already;
            use `async with engine_here()` there.
        Exception: The exception of `main`.

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
    """Run the engine on the running event loop, within an `async with` block.

    It serves the calls of this task, of tasks that it starts and of functions that the library
    calls for them; these calls change no threads. In exchange, code must never block this loop: it
    would delay every stream and every timeout. A sync verb or another blocking wait on the loop
    raises `BlockingWaitError`. When the block is left, calls that still run are cancelled.

    Within another `engine_here` on the same loop it has no effect.

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
