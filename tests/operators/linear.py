"""Whether time is linear, by ratios and never by the clock alone."""

from __future__ import annotations

import time
from collections.abc import Callable

SIZE = 60_000
"""Characters of the shorter text: enough that a quadratic part would show."""


def assert_linear(work: Callable[[int], Callable[[], None]]) -> None:
    """Twice the size costs some twice the time; what is quadratic would cost four times.

    Args:
        work: Prepares the work for a size; what it returns is timed.
    """

    def cost(size: int) -> float:
        run = work(size)
        began = time.process_time()
        run()
        return time.process_time() - began

    pairs = [(cost(SIZE), cost(2 * SIZE)) for _ in range(3)]
    # The quickest of each: what else the machine does only adds.
    assert min(twice for _, twice in pairs) < 2.75 * min(once for once, _ in pairs)
