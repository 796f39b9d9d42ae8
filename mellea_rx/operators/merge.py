"""Several sources as one stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import reactivex as rx
from reactivex import Observable

from mellea_rx.core.arguments import count
from mellea_rx.operators.sources import Combined, Opening, Source, branches
from mellea_rx.operators.tagged import Tagged

__all__ = ["concat", "lanes", "merge"]

T = TypeVar("T")
S = TypeVar("S", bound=Observable[Any])


def merge(*sources: Source[S], max_concurrent: int | None = None) -> Observable[Tagged[S]]:
    """Chunks of all sources as they come, each with whose it is.

        a:             --1-----2---|
        b:             ----x-y---z---|
        merge(a, b):   --1-x-y-2-z---|

    Each source keeps its order, and nothing is lost. It fails with the first failure. When it is
    left, or fails, thunks that nobody else takes are cancelled.

    Example:
        >>> import reactivex as rx
        >>> merge(rx.of("a", "b"), rx.of("c")).subscribe(lambda i: print(i.index, i)).dispose()
        0 a
        0 b
        1 c

    Args:
        sources: Thunks, cold calls and other Observables; coroutines that give one, which are
            started by the subscription.
        max_concurrent: How many are subscribed to at once; None for all. (A thunk runs anyway.)

    Returns:
        An Observable of `Tagged`; complete when all are.

    Raises:
        InvalidInputError: Something that is no source, or `max_concurrent` below 1.
    """
    opened = branches("merge", sources)
    limit = None if max_concurrent is None else count("max_concurrent", max_concurrent)

    def make(opening: Opening) -> Observable[Tagged[S]]:
        return lanes([each.chunks(opening) for each in opened], limit)

    return Combined(opened, make)


def concat(*sources: Source[S]) -> Observable[Tagged[S]]:
    """Chunks of the first source, then those of the second, and so on, each with whose it is.

        a:              --1---2---|
        b:              -x-y-|
        concat(a, b):   --1---2----x-y-|

    Thunks run at once, and a later one's text waits for its turn; cold calls and coroutines start
    in their turn. It is `merge(..., max_concurrent=1)`.

    Example:
        >>> import reactivex as rx
        >>> concat(rx.of("a"), rx.of("b")).subscribe(lambda item: print(item)).dispose()
        a
        b

    Args:
        sources: As those of `merge`.

    Returns:
        An Observable of `Tagged`; complete when all are.

    Raises:
        InvalidInputError: Something that is no source.
    """
    opened = branches("concat", sources)

    def make(opening: Opening) -> Observable[Tagged[S]]:
        return lanes([each.chunks(opening) for each in opened], 1)

    return Combined(opened, make)


def lanes(sources: Sequence[Observable[T]], limit: int | None) -> Observable[T]:
    """All of them merged, so many at once.

    Each lane takes the next source when the one before it is complete. (RxPY's own
    `merge(max_concurrent=)` may lose a source when another one completes on another thread
    meanwhile.)
    """
    if limit is None or limit >= len(sources):
        return rx.merge(*sources)
    waiting = iter(sources)
    return rx.merge(*(rx.concat_with_iterable(waiting) for _ in range(limit)))
