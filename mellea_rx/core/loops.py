"""The event loop that an await of this library needs."""

from __future__ import annotations

import asyncio
import threading

from mellea_rx.errors import AsyncioRequiredError

__all__ = ["HERE", "asyncio_loop"]


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
