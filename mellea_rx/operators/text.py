"""From chunks to their text."""

from __future__ import annotations

from collections.abc import Callable

from reactivex import Observable
from reactivex import operators as ops

from mellea_rx.core.stream import stream_of

__all__ = ["text"]


def text() -> Callable[[Observable[object]], Observable[str]]:
    """The text of each chunk that has any.

        source:   -Hel-lo·th-ere-|
        text():   -Hel-lo·th-ere-|

    Example:
        >>> import reactivex as rx
        >>> from mellea_rx import Chunk
        >>> _ = rx.of(Chunk("Hi"), Chunk(finish_reason="stop")).pipe(text()).subscribe(print)
        Hi

    Returns:
        An operator; an item's text is `str(item)`, so it takes chunks, strings, and a thunk.
    """
    return lambda source: stream_of(source.pipe(ops.map(str), ops.filter(bool)))
