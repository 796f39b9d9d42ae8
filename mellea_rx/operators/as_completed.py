"""The combinator `as_completed`: outcomes in the order in which the sources end."""

from __future__ import annotations

from typing import Any, TypeVar

from reactivex import Observable

from mellea_rx.operators.merge import merged
from mellea_rx.operators.sources import CombinatorSource, Source
from mellea_rx.operators.tagged import Outcome

__all__ = ["as_completed"]

S = TypeVar("S", bound=Observable[Any])


def as_completed(*sources: Source[S], max_concurrent: int | None = None) -> Observable[Outcome[S]]:
    """Emit each source's outcome, in the order in which they end.

        a:                    --1-----2---|
        b:                    ----x-y-#
        as_completed(a, b):   --------xy--(12|)

    It never fails: a source that fails is an item too, with its `error` and the text that it
    emitted before. When the subscription ends early, thunks that nothing else uses are cancelled.

    Example:
        >>> import reactivex as rx
        >>> ended = as_completed(rx.of("Once ", "upon"), rx.throw(ValueError("no")))
        >>> ended.subscribe(lambda item: print(item.index, repr(str(item)), item.error)).dispose()
        1 '' no
        0 'Once upon' None

    Args:
        sources: As in `merge`.
        max_concurrent: The number of sources that are subscribed to at once; None for all.

    Returns:
        An Observable with one `Outcome` for each source.

    Raises:
        InvalidInputError: An argument is not a source, or `max_concurrent` is below 1.
    """
    return merged("as_completed", sources, max_concurrent, CombinatorSource.outcome)
