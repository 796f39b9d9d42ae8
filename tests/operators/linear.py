"""A check that time is linear in the size, by ratios of measured times."""

from __future__ import annotations

import time
from collections.abc import Callable

SIZE = 30_000
"""Characters of the shorter text: enough for a quadratic part to show in the longer one."""


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

    pairs = [(cost(SIZE), cost(4 * SIZE)) for _ in range(4)]
    # The shortest time of each: other work of the machine only adds to it.
    assert min(longer for _, longer in pairs) < 6.5 * min(once for once, _ in pairs)
