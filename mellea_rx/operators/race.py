"""The first answer that will do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops

from mellea_rx.errors import NoAnswerError
from mellea_rx.operators.answers import no_answer
from mellea_rx.operators.sources import Combined, Opening, Source, branches, owned
from mellea_rx.operators.tagged import Outcome

__all__ = ["race"]

S = TypeVar("S", bound=Observable[Any])


def race(
    *sources: Source[S], accept: Callable[[str], bool] | None = None
) -> Observable[Outcome[S]]:
    """The first source to complete acceptably. The others are cancelled, on their servers too.

        a:            --1-----2-3---4-|
        b:            ----x-y-|
        race(a, b):   --------(xy|)

    It owns its sources: whatever ends it cancels those that run, also where somebody else
    subscribes to them. A source that fails, or is not accepted, is out.

    Example:
        >>> import reactivex as rx
        >>> str(race(rx.of("no"), rx.of("yes, ", "yes"), accept=lambda text: "yes" in text).run())
        'yes, yes'

    Args:
        sources: As those of `merge`; one at least.
        accept: Whether a whole text may win; any may by default.

    Returns:
        An Observable of one `Outcome`, the winner's. It fails with `NoAnswerError` when no source
        is left, and with what `accept` raises.

    Raises:
        InvalidInputError: Something that is no source, or none at all.
    """
    opened = branches("race", sources, least=1)

    def make(opening: Opening) -> Observable[Outcome[S]]:
        failures: dict[int, Exception] = {}

        def wins(outcome: Outcome[S]) -> bool:
            text = str(outcome)
            if outcome.error is None and (accept is None or accept(text)):
                return True
            failures[outcome.index] = outcome.error or NoAnswerError("not accepted", text=text)
            return False

        ended = rx.merge(*(each.outcome(opening) for each in opened))
        nobody: Observable[Outcome[S]] = rx.defer(lambda _: rx.throw(no_answer("race", failures)))
        return rx.concat(ended.pipe(ops.filter(wins)), nobody).pipe(ops.take(1))

    return Combined(opened, make, owned)
