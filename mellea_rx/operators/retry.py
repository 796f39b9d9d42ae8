"""Try again: a cold source is subscribed to anew, after a pause that grows."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops

from mellea_rx.core.timers import scheduler_for
from mellea_rx.errors import (
    ConnectionFailedError,
    GenerationTimeoutError,
    InvalidInputError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
)
from mellea_rx.operators.arguments import count, seconds

__all__ = ["RetryPolicy", "retry"]

T = TypeVar("T")

PASSING: tuple[type[Exception], ...] = (
    ConnectionFailedError,
    GenerationTimeoutError,
    StreamInterruptedError,
    RateLimitError,
    ServerError,
)
"""Failures that another attempt may not meet."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to try, how long to pause, and after what.

    The pause is `initial` after the first attempt and doubles with each, `maximum` at most, less a
    random share of up to `jitter` of it, so that many clients do not come back at once.

    Example:
        >>> RetryPolicy(attempts=5, jitter=0).pause(3)
        2.0

    Attributes:
        attempts: How often to try in all, the first one included.
        initial: The pause after the first attempt, in seconds.
        maximum: The longest pause, in seconds.
        jitter: From 0 (none) to 1 (any pause down to nothing).
        retry_on: The kinds of errors that are worth another attempt.
        after_text: Whether to try again once text has flowed. Then the subscriber gets the next
            attempt's text from its beginning, after what it got of the one that failed.

    Raises:
        InvalidInputError: A value that cannot be used; the message names it.
    """

    attempts: int = 3
    initial: float = 0.5
    maximum: float = 8.0
    jitter: float = 0.5
    retry_on: tuple[type[Exception], ...] = PASSING
    after_text: bool = False

    def __post_init__(self) -> None:
        count("attempts", self.attempts)
        seconds("initial", self.initial)
        seconds("maximum", self.maximum)
        jitter = self.jitter
        if jitter is True or not isinstance(jitter, (int, float)) or not 0 <= jitter <= 1:
            raise InvalidInputError(f"jitter must be a number from 0 to 1, not {jitter!r}")
        kinds = self.retry_on
        if not isinstance(kinds, tuple) or not all(_is_error(kind) for kind in kinds):
            raise InvalidInputError(f"retry_on must be a tuple of exception classes, not {kinds!r}")

    def pause(self, attempt: int) -> float:
        """How long to wait after a failed attempt, in seconds.

        Args:
            attempt: The first one is 1.
        """
        longest = min(self.maximum, self.initial * 2.0 ** min(attempt - 1, _DOUBLINGS))
        return longest * (1 - self.jitter * random.random())

    def tries_again(self, error: Exception, attempt: int, *, spoke: bool) -> bool:
        """Whether there is another attempt.

        Args:
            error: What this one failed with.
            attempt: The first one is 1.
            spoke: Whether text has flowed.
        """
        if attempt >= self.attempts or (spoke and not self.after_text):
            return False
        return isinstance(error, self.retry_on)


_DOUBLINGS = 60
"""Any maximum is reached by then; without a limit, the power would be too large for a float."""


def _is_error(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception)


def retry(
    policy: RetryPolicy | None = None, *, scheduler: abc.SchedulerBase | None = None
) -> Callable[[Observable[T]], Observable[T]]:
    """Subscribe again when the source fails, after a pause.

    It is for cold sources, where each subscription is a call of its own; a thunk would only fail
    again. Once content has flowed there is no other attempt, unless the policy says `after_text`: a
    subscriber cannot take back what it has shown. The last attempt's error is the stream's.

        first:                                                              --#
        second:                                                             --a-b-|
        retry(RetryPolicy(initial=4, jitter=0))(attempts(first, second)):   --------a-b-|

    Example:
        >>> import reactivex as rx
        >>> from reactivex.testing import TestScheduler
        >>> from mellea_rx import RateLimitError
        >>> time = TestScheduler()
        >>> busy = rx.throw(RateLimitError("busy", status=429))
        >>> answers = iter([busy, rx.of("hello")])
        >>> source = rx.defer(lambda _: next(answers))
        >>> again = retry(RetryPolicy(initial=1, jitter=0), scheduler=time)
        >>> _ = source.pipe(again).subscribe(print)
        >>> time.advance_by(1)
        hello

    Args:
        policy: `RetryPolicy()` by default.
        scheduler: Whose time the pauses are; by default where the chunks are delivered.
    """
    policy = RetryPolicy() if policy is None else policy
    if not isinstance(policy, RetryPolicy):
        raise InvalidInputError(f"policy must be a RetryPolicy, not {policy!r}")

    def operator(source: Observable[T]) -> Observable[T]:
        def subscribe(
            observer: abc.ObserverBase[T], scheduler_: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            clock = scheduler_for(scheduler, scheduler_)
            attempts = rx.catch_with_iterable(_attempts(source, policy, clock))
            return attempts.subscribe(observer, scheduler=scheduler_)

        return Observable(subscribe)

    return operator


def _attempts(
    source: Observable[T], policy: RetryPolicy, clock: abc.SchedulerBase
) -> Iterator[Observable[T]]:
    """One source after the other; where it ends, the last one's error stands."""
    errors: list[Exception] = []
    spoke = False

    def note(item: T) -> None:
        nonlocal spoke
        spoke = spoke or bool(item)

    watched = source.pipe(ops.do_action(note, errors.append))
    yield watched
    while policy.tries_again(errors[-1], len(errors), spoke=spoke):
        yield watched.pipe(ops.delay_subscription(policy.pause(len(errors)), clock))
