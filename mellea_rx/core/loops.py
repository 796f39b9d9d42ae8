"""The event loop that an await of this library needs."""

from __future__ import annotations

import asyncio

from mellea_rx.errors import AsyncioRequiredError

__all__ = ["asyncio_loop"]


def asyncio_loop() -> asyncio.AbstractEventLoop:
    """The asyncio loop that runs here.

    Raises:
        AsyncioRequiredError: None does: trio, another library or a test drives the await.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    raise AsyncioRequiredError(
        "mellea_rx is awaited on asyncio, and no asyncio event loop runs here (trio's is none): "
        "start the program with asyncio.run, or wait in a thread, under trio with "
        "`await trio.to_thread.run_sync(thunk.wait)`"
    )
