"""Try again: a cold source is subscribed to anew, after a pause that grows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops

from mellea_rx.core.retry import RetryPolicy
from mellea_rx.core.stream import Stream
from mellea_rx.core.timers import scheduler_for
from mellea_rx.errors import InvalidInputError

__all__ = ["retry"]

T = TypeVar("T")


def retry(
    policy: RetryPolicy | None = None,
    *,
    after_text: bool = False,
    scheduler: abc.SchedulerBase | None = None,
) -> Callable[[Observable[T]], Observable[T]]:
    """Subscribe again when the source fails, after a pause.

    It is for cold sources, where each subscription is a call of its own; a thunk would only fail
    again. Once content has flowed there is no other attempt, unless `after_text` is set: a
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
        after_text: Whether to try again once content has flowed. Then the subscriber gets the
            next attempt's text from its beginning, after what it got of the one that failed.
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
            attempts = rx.catch_with_iterable(_attempts(source, policy, after_text, clock))
            return attempts.subscribe(observer, scheduler=scheduler_)

        return Stream(subscribe)

    return operator


def _attempts(
    source: Observable[T], policy: RetryPolicy, after_text: bool, clock: abc.SchedulerBase
) -> Iterator[Observable[T]]:
    """One source after the other; where it ends, the last one's error stands."""
    errors: list[Exception] = []
    spoke = False

    def note(item: T) -> None:
        nonlocal spoke
        spoke = spoke or bool(item)

    watched = source.pipe(ops.do_action(note, errors.append))
    began = clock.now
    yield watched
    while after_text or not spoke:
        elapsed = (clock.now - began).total_seconds()
        pause = policy.pause_before_next(errors[-1], len(errors), elapsed)
        if pause is None:
            return
        yield watched.pipe(ops.delay_subscription(pause, clock))
