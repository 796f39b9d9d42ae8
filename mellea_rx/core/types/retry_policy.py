"""`RetryPolicy`: the number of tries at a request, the pauses, and the errors to retry after.

`ModelOption.RETRIES` and `operators.retry` take one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from mellea_rx.core.types.validation import either_name, require_positive_int, require_seconds
from mellea_rx.errors import InvalidInputError, MelleaRxError

_DEFAULT_TRIES = 3

_DOUBLINGS = 60  # any maximum is reached by then, and no float overflows


@dataclass(frozen=True, slots=True, init=False)
class RetryPolicy:
    """The number of tries at one request, the pauses between them, and the errors to retry after.

    The pause is `initial` after the first try and doubles with each further one, up to `maximum`. A
    random share of it, up to `jitter`, is subtracted, so that many clients do not come back at
    once. A longer pause that the server asks for (`Retry-After`) is kept, up to `max_retry_after`.

    Example:
        >>> RetryPolicy(tries=5, jitter=0).pause(3)
        2.0

    Args:
        tries: The maximum number of tries, the first one included; 3 by default.
        initial: The pause after the first try, in seconds.
        maximum: The longest pause, in seconds.
        jitter: The largest random share of a pause that is subtracted, from 0 to 1.
        max_retry_after: The longest pause that a server can ask for, in seconds.
        budget: The time from the start of the first try in which others may start, in seconds.
        retry_on: The classes of errors to retry after; None for errors with `is_transient`.
        attempts: Another name of `tries`.

    Raises:
        InvalidInputError: A value that cannot be used, or both names of `tries`; the message names
            it.
    """

    tries: int
    initial: float
    maximum: float
    jitter: float
    max_retry_after: float
    budget: float
    retry_on: tuple[type[Exception], ...] | None

    def __init__(
        self,
        tries: int | None = None,
        initial: float = 0.5,
        maximum: float = 8.0,
        jitter: float = 0.5,
        *,
        max_retry_after: float = 30.0,
        budget: float = 45.0,
        retry_on: tuple[type[Exception], ...] | None = None,
        attempts: int | None = None,
    ) -> None:
        name, given = either_name("tries", tries, "attempts", attempts)
        values = {
            "tries": require_positive_int(name, _DEFAULT_TRIES if given is None else given),
            "initial": initial,
            "maximum": maximum,
            "jitter": jitter,
            "max_retry_after": max_retry_after,
            "budget": budget,
            "retry_on": retry_on,
        }
        for field, value in values.items():
            object.__setattr__(self, field, value)
        self._require_usable()

    @property
    def attempts(self) -> int:
        """Another name of `tries`."""
        return self.tries

    def _require_usable(self) -> None:
        for name in ("initial", "maximum", "max_retry_after", "budget"):
            require_seconds(name, getattr(self, name))
        jitter = self.jitter
        if jitter is True or not isinstance(jitter, (int, float)) or not 0 <= jitter <= 1:
            raise InvalidInputError(f"jitter must be a number from 0 to 1, not {jitter!r}")
        kinds = self.retry_on
        if kinds is not None and not (isinstance(kinds, tuple) and all(map(_is_error, kinds))):
            raise InvalidInputError(f"retry_on must be a tuple of exception classes, not {kinds!r}")

    def pause(self, number: int, error: Exception | None = None) -> float:
        """The pause after a failed try, in seconds.

        Args:
            number: Its number; the first one is 1.
            error: Its error.
        """
        longest = min(self.maximum, self.initial * 2.0 ** min(number - 1, _DOUBLINGS))
        own = longest * (1 - self.jitter * random.random())
        asked = getattr(error, "retry_after", None)
        return own if asked is None else max(own, min(asked, self.max_retry_after))

    def next_delay(self, error: Exception, number: int, elapsed: float = 0.0) -> float | None:
        """The pause before another try, in seconds; None where there is to be none.

        Args:
            error: The error of the last try.
            number: The number of that try; the first one is 1.
            elapsed: The seconds since the first one started.
        """
        return self.pause_in_budget(error, number, elapsed) if self.should_retry(error) else None

    def pause_in_budget(self, error: Exception, number: int, elapsed: float) -> float | None:
        """As `next_delay`, for an error of any class."""
        if number >= self.tries:
            return None
        pause = self.pause(number, error)
        return pause if elapsed + pause <= self.budget else None

    def should_retry(self, error: Exception) -> bool:
        """Whether another try may succeed after an error of this kind."""
        if self.retry_on is not None:
            return isinstance(error, self.retry_on)
        return isinstance(error, MelleaRxError) and error.is_transient


def _is_error(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception)
