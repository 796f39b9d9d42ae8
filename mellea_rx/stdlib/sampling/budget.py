"""`Budget`: the tokens and seconds that a strategy may spend on one call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mellea_rx.core.types.chunk import Usage
from mellea_rx.core.types.validation import require_positive_int, require_seconds
from mellea_rx.errors import InvalidInputError, TotalTimeoutError


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on what a strategy spends on one call.

    No further attempt begins once it is spent, and an attempt that runs when the seconds are over
    is ended, on the server too. The best of the attempts that ended is the value, and
    `thunk.sampling.budget_spent` says which limit it was. Where no attempt has ended, the call
    fails with `TotalTimeoutError`, whose `text` is that of an attempt so far::

        seconds:   |------------------|
        attempts:  --a---x  --b---x  --c…   (ended)
        thunk:     -------------------b|

    Attributes:
        tokens: Tokens of prompts and answers, of attempts and judges, as far as servers report
            them: where a server reports none (of an attempt that was ended, none does), none
            count. They are known when a request has ended, so attempts that have begun go on.
        seconds: Seconds since the strategy began: attempts with their requirements, judges and
            scorers. What the prompt waits for does not count (`ModelOption.TOTAL_TIMEOUT` limits a
            whole call), nor do keys and similarities, which are called afterwards.

    Example:
        >>> Budget(tokens=2000, seconds=30)
        Budget(tokens=2000, seconds=30)

    Raises:
        InvalidInputError: Neither was given; `tokens` is not an int of 1 or more; or `seconds` is
            not a finite number above 0.
    """

    tokens: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.tokens is None and self.seconds is None:
            raise InvalidInputError("a Budget needs a limit: give tokens=, seconds= or both")
        if self.tokens is not None:
            require_positive_int("tokens", self.tokens)
        if self.seconds is not None:
            require_seconds("seconds", self.seconds)


class BudgetMeter:
    """The budget of one call, whose seconds run from now on. Used on the engine only.

    Args:
        budget: The budget; None for no limit.
        used: Returns the tokens that the call has used so far.

    Attributes:
        spent: The limit that ended the strategy; None while none did.
    """

    def __init__(self, budget: Budget | None, used: Callable[[], Usage]) -> None:
        self._tokens = None if budget is None else budget.tokens
        self._seconds = None if budget is None else budget.seconds
        self._used = used
        self._clock = asyncio.get_running_loop().time
        self._started_at = self._clock()
        self.spent: Literal["tokens", "seconds"] | None = None

    @property
    def seconds_left(self) -> float | None:
        """The seconds that are left, 0 or less for none; None for no limit."""
        if self._seconds is None:
            return None
        return self._started_at + self._seconds - self._clock()

    def has_more(self) -> bool:
        """Whether another attempt may begin. Asked only where one would, since it is noted."""
        if self.spent is None:
            left = self.seconds_left
            if left is not None and left <= 0:
                self.spent = "seconds"
            elif self._tokens is not None and self._used().total_tokens >= self._tokens:
                self.spent = "tokens"
        return self.spent is None

    def timed_out(self, text: str, unfinished: tuple[str, ...] = ()) -> TotalTimeoutError:
        """Note that the seconds ended an attempt.

        Args:
            text: The text of the attempt so far.
            unfinished: The functions and judges that had not returned.

        Returns:
            The error of that attempt.
        """
        self.spent = "seconds"
        return TotalTimeoutError(
            f"the attempt was ended, since the {self._seconds:g} s of the strategy's budget are "
            "over: give Budget(seconds=...) more",
            text=text,
            unfinished=unfinished,
        )
