"""The operator `accumulate`: the text so far, for display."""

from __future__ import annotations

from collections.abc import Callable
from operator import add

from reactivex import Observable
from reactivex import operators as ops

from mellea_rx.core.stream import stream_of
from mellea_rx.operators.text import text

__all__ = ["accumulate"]


def accumulate() -> Callable[[Observable[object]], Observable[str]]:
    """Emit the whole text so far with each text. It is Rx's `scan(add, "")` over `text()`.

        source:         -a--b--c--|
        accumulate():   -a--ab-abc|

    Each item is the whole text so far, so a text of n characters in k chunks takes O(n * k) time.
    For a long text, join chunks first: `thunk.pipe(coalesce(0.1), accumulate())` emits at most ten
    texts per second. A subscriber to a thunk that is slower than the model gets joined chunks
    anyway.

    Example:
        >>> import reactivex as rx
        >>> from reactivex import operators as ops
        >>> rx.of("Once ", "upon").pipe(accumulate(), ops.to_list()).run()
        ['Once ', 'Once upon']

    Returns:
        An operator that takes chunks or strings.
    """
    return lambda source: stream_of(source.pipe(text(), ops.scan(add, "")))
