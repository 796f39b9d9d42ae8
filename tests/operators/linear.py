"""Whether time is linear, by ratios and never by the clock alone."""

from __future__ import annotations

import time
from collections.abc import Callable

SIZE = 30_000
"""Characters of the shorter text: enough that a quadratic part would show in the longer."""


def assert_linear(work: Callable[[int], Callable[[], None]]) -> None:
    """Four times the size costs some four times the time, where what is quadratic costs sixteen.

    Args:
        work: Prepares the work for a size; what it returns is timed.
    """

    def cost(size: int) -> float:
        run = work(size)
        began = time.process_time()
        run()
        return time.process_time() - began

    pairs: list[tuple[float, float]] = []

    def is_linear() -> bool:
        # The shortest time of each: other work of the machine only adds to it.
        # 8 is halfway (as a ratio) between 4 and 16.
        return min(longer for _, longer in pairs) < 8 * min(once for once, _ in pairs)

    while len(pairs) < 2 or not (is_linear() or len(pairs) >= 8):
        pairs.append((cost(SIZE), cost(4 * SIZE)))
    assert is_linear(), pairs
