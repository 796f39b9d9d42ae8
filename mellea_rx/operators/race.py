"""The combinator `race`: the first acceptable answer of several sources."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops

from mellea_rx.errors import NoAnswerError
from mellea_rx.operators.answers import no_answer
from mellea_rx.operators.sources import (
    CombinedObservable,
    Source,
    SubscriptionContext,
    cancel_always,
    combinator_sources,
)
from mellea_rx.operators.tagged import Outcome

__all__ = ["race"]

S = TypeVar("S", bound=Observable[Any])


def race(
    *sources: Source[S], accept: Callable[[str], bool] | None = None
) -> Observable[Outcome[S]]:
    """Emit the first acceptable answer. The other calls are cancelled, on their servers too.

        a:            --1-----2-3---4-|
        b:            ----x-y-|
        race(a, b):   --------(xy|)

    It owns its sources: when its subscription ends, for whatever reason, those that still run are
    cancelled, even if they have other subscribers. A source that fails, or whose answer is not
    accepted, drops out.

    Example:
        >>> import reactivex as rx
        >>> str(race(rx.of("no"), rx.of("yes, ", "yes"), accept=lambda text: "yes" in text).run())
        'yes, yes'

    Args:
        sources: As in `merge`; at least one.
        accept: Returns whether a whole text is acceptable; by default, every text is.

    Returns:
        An Observable of one `Outcome`, the winner's. It fails with `NoAnswerError` when every
        source has dropped out, and with the exception of `accept` if that raises.

    Raises:
        InvalidInputError: An argument is not a source, or there is none.
    """
    opened = combinator_sources("race", sources, least=1)

    def make(context: SubscriptionContext) -> Observable[Outcome[S]]:
        failures: dict[int, Exception] = {}

        def wins(outcome: Outcome[S]) -> bool:
            text = str(outcome)
            if outcome.error is None and (accept is None or accept(text)):
                return True
            failures[outcome.index] = outcome.error or NoAnswerError("not accepted", text=text)
            return False

        ended = rx.merge(*(each.outcome(context) for each in opened))
        no_winner: Observable[Outcome[S]] = rx.defer(
            lambda _: rx.throw(no_answer("race", failures))
        )
        return rx.concat(ended.pipe(ops.filter(wins)), no_winner).pipe(ops.take(1))

    return CombinedObservable(opened, make, cancel_always)
