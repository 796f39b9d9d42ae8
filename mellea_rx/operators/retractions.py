"""`apply_retractions`: the text so far of a stream that takes text back."""

from __future__ import annotations

from collections.abc import Callable

from reactivex import Observable
from reactivex import operators as ops

from mellea_rx.core.streams.observable import stream_of
from mellea_rx.core.types.chunk import Retracted
from mellea_rx.operators.items import as_chunk


def apply_retractions() -> Callable[[Observable[object]], Observable[str]]:
    """Emit the whole text so far, with each item that changes it: right at any time.

        source:                -a--b--↩1--c--|
        apply_retractions():   -a--ab-a---ac-|

    `↩1` is a `Retracted` item: the last character is void. A thunk has such items where its
    call releases text that may be rejected (`on_reject="marker"` or `"continue"`). As with
    `accumulate`, the items take O(n * k) time for a text of n characters in k chunks: for a long
    text, join chunks first, by `coalesce(0.1)`.

    Example:
        >>> import reactivex as rx
        >>> from reactivex import operators as ops
        >>> from mellea_rx import Retracted
        >>> source = rx.of("I like ", "cats", Retracted(characters=4), "dogs")
        >>> source.pipe(apply_retractions(), ops.to_list()).run()
        ['I like ', 'I like cats', 'I like ', 'I like dogs']

    Returns:
        An operator that takes chunks, strings and retractions.
    """

    def applied(text: str, item: object) -> str:
        chunk = as_chunk(item)
        if isinstance(chunk, Retracted):
            return text[: max(len(text) - chunk.characters, 0)]
        return text + chunk.text

    def operator(source: Observable[object]) -> Observable[str]:
        texts: Observable[str] = source.pipe(ops.scan(applied, ""), ops.start_with(""))
        # Only items that change the text are passed on; at first it is empty.
        return stream_of(texts.pipe(ops.distinct_until_changed(), ops.skip(1)))

    return operator
