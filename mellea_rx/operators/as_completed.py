"""Answers in the order in which they end."""

from __future__ import annotations

from typing import Any, TypeVar

from reactivex import Observable

from mellea_rx.core.arguments import require_positive_int
from mellea_rx.operators.merge import lanes
from mellea_rx.operators.sources import Combined, Opening, Source, branches
from mellea_rx.operators.tagged import Outcome

__all__ = ["as_completed"]

S = TypeVar("S", bound=Observable[Any])


def as_completed(*sources: Source[S], max_concurrent: int | None = None) -> Observable[Outcome[S]]:
    """How each source ended, in the order in which they do.

        a:                    --1-----2---|
        b:                    ----x-y-#
        as_completed(a, b):   --------xy--(12|)

    It never fails: a source that fails is an item too, with its `error` and the text that had
    come. When it is left, thunks that nobody else takes are cancelled.

    Example:
        >>> import reactivex as rx
        >>> ended = as_completed(rx.of("Once ", "upon"), rx.throw(ValueError("no")))
        >>> ended.subscribe(lambda item: print(item.index, repr(str(item)), item.error)).dispose()
        1 '' no
        0 'Once upon' None

    Args:
        sources: As those of `merge`.
        max_concurrent: How many are subscribed to at once; None for all.

    Returns:
        An Observable of one `Outcome` a source.

    Raises:
        InvalidInputError: Something that is no source, or `max_concurrent` below 1.
    """
    opened = branches("as_completed", sources)
    limit = (
        None if max_concurrent is None else require_positive_int("max_concurrent", max_concurrent)
    )

    def make(opening: Opening) -> Observable[Outcome[S]]:
        return lanes([each.outcome(opening) for each in opened], limit)

    return Combined(opened, make)
