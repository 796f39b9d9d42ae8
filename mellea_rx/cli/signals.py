"""SIGTERM, handled as Ctrl-C is: nothing is left running, and the terminal is left clean."""

from __future__ import annotations

import asyncio
import signal
from typing import Self

__all__ = ["Stop"]


class Stop:
    """While it is entered, SIGTERM cancels the current task (Ctrl-C does so already).

    Attributes:
        terminated: Whether SIGTERM came.
    """

    terminated = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None

        def terminate() -> None:
            self.terminated = True
            task.cancel()

        try:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
        except (NotImplementedError, ValueError):  # Windows; a thread that is not the main one
            pass
        return self

    def __exit__(self, *_: object) -> None:
        try:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        except (NotImplementedError, ValueError):
            pass
