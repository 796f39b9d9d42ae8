"""Running an event loop where another one may run already."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mellea_rx.core.outlet import running_loop

__all__ = ["without_loop"]

T = TypeVar("T")


def without_loop(function: Callable[[], T]) -> T:
    """Call it here; or, where a loop runs in this thread, in another thread meanwhile.

    Returns:
        What it returns.
    """
    if running_loop() is None:
        return function()
    with ThreadPoolExecutor(1, "mellea-rx-testing") as pool:
        return pool.submit(function).result()
