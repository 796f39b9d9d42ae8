"""The combinator `combine_latest`: the texts so far of several sources, side by side."""

from __future__ import annotations

from typing import Any

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops

from mellea_rx.operators.sources import (
    CombinedObservable,
    Source,
    SubscriptionContext,
    combinator_sources,
)
from mellea_rx.operators.tagged import Tagged

__all__ = ["combine_latest"]


def combine_latest(*sources: Source[Observable[Any]]) -> Observable[tuple[str, ...]]:
    """Emit the texts so far of all sources whenever one of them grows, as a screen shows them.

        a:                      --1------2---|
        b:                      -----x-----|
        combine_latest(a, b):   +-1+-1+x-12+x|

    The first item holds empty texts. Each item holds the whole texts, so a text of n characters in
    k chunks takes O(n * k) time; a subscriber that is slower than the models gets fewer items. It
    fails with the first failure. When it fails, or its subscription ends early, thunks that nothing
    else uses are cancelled.

    Example:
        >>> import reactivex as rx
        >>> combine_latest(rx.of("a", "b"), rx.of("x")).subscribe(print).dispose()
        ('', '')
        ('a', '')
        ('ab', '')
        ('ab', 'x')

    Args:
        sources: As in `merge`.

    Returns:
        An Observable of tuples, with one text for each source.

    Raises:
        InvalidInputError: An argument is not a source.
    """
    opened = combinator_sources("combine_latest", sources)
    empty = ("",) * len(sources)

    def grow(texts: tuple[str, ...], item: Tagged[Any]) -> tuple[str, ...]:
        at = item.index
        return (*texts[:at], texts[at] + str(item), *texts[at + 1 :])

    def make(context: SubscriptionContext) -> Observable[tuple[str, ...]]:
        chunks = rx.merge(*(each.chunks(context) for each in opened))
        with_text = chunks.pipe(ops.filter(lambda item: str(item) != ""))
        return rx.concat(rx.just(empty), with_text.pipe(ops.scan(grow, empty)))

    return CombinedObservable(opened, make)
