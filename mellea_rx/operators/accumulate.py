"""The text so far, again with each chunk: what a screen shows."""

from __future__ import annotations

from collections.abc import Callable
from operator import add

from reactivex import Observable
from reactivex import operators as ops

from mellea_rx.core.stream import stream_of
from mellea_rx.operators.text import text

__all__ = ["accumulate"]


def accumulate() -> Callable[[Observable[object]], Observable[str]]:
    """The text so far, whenever some comes.

        source:         -a--b--c--|
        accumulate():   -a--ab-abc|

    Each item is the whole text so far, so a text of n characters in k chunks takes time in n times
    k. For a long text, join chunks first: `thunk.pipe(coalesce(0.1), accumulate())` gives ten
    texts a second at most. A subscriber to a thunk that is slower than the model gets chunks joined
    as it is.

    Example:
        >>> import reactivex as rx
        >>> from reactivex import operators as ops
        >>> rx.of("Once ", "upon").pipe(accumulate(), ops.to_list()).run()
        ['Once ', 'Once upon']

    Returns:
        An operator that takes chunks or strings.
    """
    return lambda source: stream_of(source.pipe(text(), ops.scan(add, "")))
