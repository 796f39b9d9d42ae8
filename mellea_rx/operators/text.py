"""The operator `text`: the texts of chunks."""

from __future__ import annotations

from collections.abc import Callable

from reactivex import Observable
from reactivex import operators as ops

from mellea_rx.core.stream import stream_of

__all__ = ["text"]


def text() -> Callable[[Observable[object]], Observable[str]]:
    """Emit the text of each chunk that has one. It is Rx's `map(str)`, then `filter(bool)`.

        source:   -Hel-lo·th-ere-|
        text():   -Hel-lo·th-ere-|

    Example:
        >>> import reactivex as rx
        >>> from mellea_rx import Chunk
        >>> _ = rx.of(Chunk("Hi"), Chunk(finish_reason="stop")).pipe(text()).subscribe(print)
        Hi

    Returns:
        An operator that takes chunks or strings; an item's text is `str(item)`.
    """
    return lambda source: stream_of(source.pipe(ops.map(str), ops.filter(bool)))
