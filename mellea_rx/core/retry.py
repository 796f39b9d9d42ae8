"""When a failed request is tried again, and after what pause: a frozen value."""

from __future__ import annotations

import random
from dataclasses import KW_ONLY, dataclass

from mellea_rx.core.arguments import require_positive_int, require_seconds
from mellea_rx.errors import InvalidInputError, MelleaRxError

__all__ = ["RetryPolicy"]

_DOUBLINGS = 60  # any maximum is reached by then, and no float overflows


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to try, how long to pause, and after what.

    The pause is `initial` after the first attempt and doubles with each, `maximum` at most, less a
    random share of up to `jitter` of it, so that many clients do not come back at once. Where a
    server asks for a longer one (`Retry-After`), it is that, `asked_maximum` at most.

    Example:
        >>> RetryPolicy(attempts=5, jitter=0).pause(3)
        2.0

    Attributes:
        attempts: How often to try in all, the first one included.
        initial: The pause after the first attempt, in seconds.
        maximum: The longest pause, in seconds.
        jitter: From 0 (none) to 1 (any pause down to nothing).
        asked_maximum: The longest pause that a server can ask for, in seconds.
        budget: No attempt begins later than this after the first one began, in seconds.
        retry_on: The kinds of errors that are worth another attempt; None for those that say
            `is_passing`.

    Raises:
        InvalidInputError: A value that cannot be used; the message names it.
    """

    attempts: int = 3
    initial: float = 0.5
    maximum: float = 8.0
    jitter: float = 0.5
    _: KW_ONLY
    asked_maximum: float = 30.0
    budget: float = 45.0
    retry_on: tuple[type[Exception], ...] | None = None

    def __post_init__(self) -> None:
        require_positive_int("attempts", self.attempts)
        for name in ("initial", "maximum", "asked_maximum", "budget"):
            require_seconds(name, getattr(self, name))
        jitter = self.jitter
        if jitter is True or not isinstance(jitter, (int, float)) or not 0 <= jitter <= 1:
            raise InvalidInputError(f"jitter must be a number from 0 to 1, not {jitter!r}")
        kinds = self.retry_on
        if kinds is not None and not (isinstance(kinds, tuple) and all(map(_is_error, kinds))):
            raise InvalidInputError(f"retry_on must be a tuple of exception classes, not {kinds!r}")

    def pause(self, attempt: int, error: Exception | None = None) -> float:
        """How long to wait after a failed attempt, in seconds.

        Args:
            attempt: The first one is 1.
            error: What it failed with.
        """
        longest = min(self.maximum, self.initial * 2.0 ** min(attempt - 1, _DOUBLINGS))
        own = longest * (1 - self.jitter * random.random())
        asked = getattr(error, "retry_after", None)
        return own if asked is None else max(own, min(asked, self.asked_maximum))

    def pause_before_next(
        self, error: Exception, attempt: int, elapsed: float = 0.0
    ) -> float | None:
        """How long to wait before another attempt, in seconds; None where there is none.

        Args:
            error: What the last attempt failed with.
            attempt: Which one that was; the first one is 1.
            elapsed: Seconds since the first one began.
        """
        return self.pause_in_budget(error, attempt, elapsed) if self.is_worth(error) else None

    def pause_in_budget(self, error: Exception, attempt: int, elapsed: float) -> float | None:
        """As `pause_before_next`, whatever kind of error it was."""
        if attempt >= self.attempts:
            return None
        pause = self.pause(attempt, error)
        return pause if elapsed + pause <= self.budget else None

    def is_worth(self, error: Exception) -> bool:
        """Whether an error is of a kind that another attempt may not meet."""
        if self.retry_on is not None:
            return isinstance(error, self.retry_on)
        return isinstance(error, MelleaRxError) and error.is_passing


def _is_error(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception)
