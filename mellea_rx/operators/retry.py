"""The operator `retry`: new subscriptions to a cold source after failures, with backoff."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops

from mellea_rx.core.runtime.schedulers import scheduler_for
from mellea_rx.core.streams.observable import Stream
from mellea_rx.core.types.retry_policy import RetryPolicy
from mellea_rx.core.types.validation import require_choice
from mellea_rx.errors import InvalidInputError

T = TypeVar("T")

AfterText = Literal["fail", "restart"]
"""The policies for a failure after the first text; those of `fallback` but "hold"."""


def retry(
    policy: RetryPolicy | None = None,
    *,
    after_text: AfterText | bool = "fail",
    scheduler: abc.SchedulerBase | None = None,
) -> Callable[[Observable[T]], Observable[T]]:
    """Subscribe again when the source fails, after a pause.

    It is for cold sources, where each subscription is a call of its own; a thunk would only fail
    again. By default there is no other try once content was emitted: a subscriber cannot take
    back what it has shown. When no try is left, the stream fails with the last one's error.

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
        after_text: The policy for a failure after the first content, as in `fallback`. "fail": the
            stream fails. "restart": there is another try, and its text follows from its
            beginning, after the text of the failed one. (False and True mean the same two.)
        scheduler: The clock; by default, that of the place where chunks are delivered.

    Returns:
        An operator that takes chunks or strings.

    Raises:
        InvalidInputError: `policy` is not a RetryPolicy, or `after_text` is unknown.
    """
    policy = RetryPolicy() if policy is None else policy
    if not isinstance(policy, RetryPolicy):
        raise InvalidInputError(f"policy must be a RetryPolicy, not {policy!r}")
    if isinstance(after_text, bool):
        after_text = "restart" if after_text else "fail"
    require_choice("after_text", after_text, AfterText)
    restarts = after_text == "restart"

    def operator(source: Observable[T]) -> Observable[T]:
        def subscribe(
            observer: abc.ObserverBase[T], scheduler_: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            clock = scheduler_for(scheduler, scheduler_)
            tries = rx.catch_with_iterable(_tries(source, policy, restarts, clock))
            return tries.subscribe(observer, scheduler=scheduler_)

        return Stream(subscribe)

    return operator


def _tries(
    source: Observable[T], policy: RetryPolicy, restarts: bool, clock: abc.SchedulerBase
) -> Iterator[Observable[T]]:
    """Yield the source once for each try, with its pause; end when no try is left."""
    errors: list[Exception] = []
    has_content = False

    def note_content(item: T) -> None:
        nonlocal has_content
        has_content = has_content or bool(item)

    watched = source.pipe(ops.do_action(note_content, errors.append))
    began = clock.now
    yield watched
    while restarts or not has_content:
        elapsed = (clock.now - began).total_seconds()
        pause = policy.next_delay(errors[-1], len(errors), elapsed)
        if pause is None:
            return
        yield watched.pipe(ops.delay_subscription(pause, clock))
