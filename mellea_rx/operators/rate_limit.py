"""Rate limits for `map_generate`: on the starts of calls, and on their tokens."""

from __future__ import annotations

from mellea_rx.core.types.chunk import Usage
from mellea_rx.core.types.validation import require_positive_number


class RateLimit:
    """Computes when the next call may start. It has no clock: callers pass the time in seconds.

    The tokens of a call are known when it has ended. Until then it counts with the average of the
    calls before it, so the first calls are not limited.

    Args:
        per_second: Calls per second; their starts are evenly spaced. None for no limit.
        tokens_per_minute: Tokens of prompts and completions per minute. None for no limit.

    Example:
        >>> limit = RateLimit(per_second=2, tokens_per_minute=None)
        >>> limit.wait(now=10.0), limit.start(now=10.0), limit.wait(now=10.0)
        (0.0, None, 0.5)

    Raises:
        InvalidInputError: A limit is not a positive number.
    """

    def __init__(self, per_second: float | None, tokens_per_minute: float | None) -> None:
        self._spacing = 0.0
        if per_second is not None:
            self._spacing = 1 / require_positive_number(
                "per_second", per_second, "a number of calls"
            )
        self._next = float("-inf")
        self._bucket: _Bucket | None = None
        if tokens_per_minute is not None:
            self._bucket = _Bucket(
                require_positive_number(
                    "tokens_per_minute", tokens_per_minute, "a number of tokens"
                )
            )

    def wait(self, now: float) -> float:
        """Return the seconds until the next call may start, by what is known now; 0.0 for now."""
        pause = max(0.0, self._next - now)
        return pause if self._bucket is None else max(pause, self._bucket.wait(now))

    def start(self, now: float) -> None:
        """Count the start of a call."""
        self._next = max(self._next, now) + self._spacing
        if self._bucket is not None:
            self._bucket.running += 1

    def end(self, now: float, usage: Usage | None) -> None:
        """Count the end of a call.

        Args:
            now: The time.
            usage: The tokens that it used; None if the server did not report them.
        """
        if self._bucket is not None:
            self._bucket.spend(now, 0 if usage is None else usage.total_tokens)


class _Bucket:
    """A token bucket of one minute. Its level may be negative; then no call starts."""

    def __init__(self, per_minute: float) -> None:
        self.running = 0
        self._size = per_minute
        self._level = per_minute
        self._at: float | None = None
        self._ended = 0
        self._spent = 0

    def wait(self, now: float) -> float:
        self._refill(now)
        average = self._spent / self._ended if self._ended else 0.0
        # Without this bound, calls that use more than a minute's tokens would never start; so they
        # start when the bucket is full.
        needed = min(average * (self.running + 1), self._size)
        missing = needed - self._level
        return max(0.0, missing * 60 / self._size)

    def spend(self, now: float, tokens: int) -> None:
        self._refill(now)
        self.running -= 1
        self._ended += 1
        self._spent += tokens
        self._level -= tokens

    def _refill(self, now: float) -> None:
        passed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        self._level = min(self._size, self._level + passed * self._size / 60)
