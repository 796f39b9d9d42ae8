"""`LoopStrategy`: the parameters that the strategies of this package share, and their checks."""

from __future__ import annotations

from dataclasses import dataclass

from mellea_rx.core.interfaces.sampling import BaseStrategy
from mellea_rx.core.types.validation import either_name, require_positive_int


@dataclass(frozen=True, slots=True, init=False)
class LoopStrategy(BaseStrategy):
    """A strategy that makes up to `loop_budget` attempts.

    Args:
        loop_budget: The maximum number of attempts; None for the default.
        max_concurrent: The number of attempts that run at once; None for the default.
        n: Another name of `loop_budget`.
        concurrency_budget: Another name of `max_concurrent`.
        default_budget: The default of `loop_budget`; None where it has to be given.
        default_width: The default of `max_concurrent`; None for all attempts at once.

    Raises:
        InvalidInputError: A number is not an int of 1 or more, or one parameter was given by both
            of its names.
    """

    loop_budget: int
    max_concurrent: int | None

    def __init__(
        self,
        loop_budget: int | None,
        *,
        max_concurrent: int | None = None,
        n: int | None = None,
        concurrency_budget: int | None = None,
        default_budget: int | None = None,
        default_width: int | None = 1,
    ) -> None:
        name, count = either_name("loop_budget", loop_budget, "n", n)
        count = default_budget if count is None else count
        object.__setattr__(self, "loop_budget", require_positive_int(name, count))
        name, width = either_name(
            "max_concurrent", max_concurrent, "concurrency_budget", concurrency_budget
        )
        width = default_width if width is None else require_positive_int(name, width)
        object.__setattr__(self, "max_concurrent", width)

    @property
    def concurrency_budget(self) -> int | None:
        """Another name of `max_concurrent`."""
        return self.max_concurrent

    @property
    def width(self) -> int:
        """The maximum number of attempts that run at once."""
        return self.max_concurrent or self.loop_budget
