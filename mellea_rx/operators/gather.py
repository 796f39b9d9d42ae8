"""The combinators `gather` and `zip`: all answers in one tuple, as outcomes or as texts."""

from __future__ import annotations

from typing import Any, TypeVar

from reactivex import Observable
from reactivex import operators as ops

from mellea_rx.errors import raisable
from mellea_rx.operators.as_completed import as_completed
from mellea_rx.operators.sources import Source
from mellea_rx.operators.tagged import Outcome

__all__ = ["gather", "zip"]

S = TypeVar("S", bound=Observable[Any])


def gather(
    *sources: Source[S], max_concurrent: int | None = None
) -> Observable[tuple[Outcome[S], ...]]:
    """Emit the outcomes of all sources in one tuple, in their order; failures are outcomes too.

        a:              --1-----2---|
        b:              ----x-y-#
        gather(a, b):   ------------(12+xy|)

    Example:
        >>> import reactivex as rx
        >>> a, b = gather(rx.of("Once ", "upon"), rx.throw(ValueError("no"))).run()
        >>> a.value, b.error
        ('Once upon', ValueError('no'))

    Args:
        sources: As in `merge`.
        max_concurrent: The number of sources that are subscribed to at once; None for all.

    Returns:
        An Observable of one tuple, which never fails. Without sources, the tuple is empty.

    Raises:
        InvalidInputError: An argument is not a source, or `max_concurrent` is below 1.
    """
    return as_completed(*sources, max_concurrent=max_concurrent).pipe(
        ops.to_list(), ops.map(_in_order)
    )


def zip(*sources: Source[S], max_concurrent: int | None = None) -> Observable[tuple[str, ...]]:
    """Emit the whole texts of all sources in one tuple, in their order.

        a:           --1-----2---|
        b:           ----x-y-|
        zip(a, b):   ------------(12+xy|)

    It fails with the first failure. When it fails, or its subscription ends early, thunks that
    nothing else uses are cancelled. `gather` waits for all sources instead.

    Example:
        >>> import reactivex as rx
        >>> zip(rx.of("Once ", "upon"), rx.of("a time")).run()
        ('Once upon', 'a time')

    Args:
        sources: As in `merge`.
        max_concurrent: The number of sources that are subscribed to at once; None for all.

    Returns:
        An Observable of one tuple. Without sources, the tuple is empty.

    Raises:
        InvalidInputError: An argument is not a source, or `max_concurrent` is below 1.
    """
    return as_completed(*sources, max_concurrent=max_concurrent).pipe(
        ops.do_action(_raise_failure), ops.to_list(), ops.map(_texts)
    )


def _in_order(outcomes: list[Outcome[S]]) -> tuple[Outcome[S], ...]:
    return tuple(sorted(outcomes, key=lambda each: each.index))


def _raise_failure(outcome: Outcome[S]) -> None:
    if outcome.error is not None:
        raise raisable(outcome.error)


def _texts(outcomes: list[Outcome[S]]) -> tuple[str, ...]:
    return tuple(map(str, _in_order(outcomes)))
