"""The texts of several sources, side by side, as they grow."""

from __future__ import annotations

from typing import Any

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops

from mellea_rx.operators.sources import Combined, Opening, Source, branches
from mellea_rx.operators.tagged import Tagged

__all__ = ["combine_latest"]


def combine_latest(*sources: Source[Observable[Any]]) -> Observable[tuple[str, ...]]:
    """The texts so far of all sources, whenever one of them grows: what a screen shows.

        a:                      --1------2---|
        b:                      -----x-----|
        combine_latest(a, b):   +-1+-1+x-12+x|

    It begins with the empty texts. Each item holds whole texts, so a text of n characters in k
    chunks takes time in n times k; a subscriber that is slower than the models gets fewer items.
    It fails with the first failure; then, and when it is left, thunks that nobody else takes are
    cancelled.

    Example:
        >>> import reactivex as rx
        >>> combine_latest(rx.of("a", "b"), rx.of("x")).subscribe(print).dispose()
        ('', '')
        ('a', '')
        ('ab', '')
        ('ab', 'x')

    Args:
        sources: As those of `merge`.

    Returns:
        An Observable of tuples, as long as there are sources.

    Raises:
        InvalidInputError: Something that is no source.
    """
    opened = branches("combine_latest", sources)
    nothing = ("",) * len(sources)

    def grow(texts: tuple[str, ...], item: Tagged[Any]) -> tuple[str, ...]:
        at = item.index
        return (*texts[:at], texts[at] + str(item), *texts[at + 1 :])

    def make(opening: Opening) -> Observable[tuple[str, ...]]:
        chunks = rx.merge(*(each.chunks(opening) for each in opened))
        spoken = chunks.pipe(ops.filter(lambda item: str(item) != ""))
        return rx.concat(rx.just(nothing), spoken.pipe(ops.scan(grow, nothing)))

    return Combined(opened, make)
