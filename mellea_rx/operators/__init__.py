"""Operators on streams of chunks, and combinators over thunks, cold calls and other Observables.

    thunk.pipe(by_sentence()).subscribe(speak)
    async for item in to_async_iterator(merge(a, b)): ...

Operators are used with `pipe`; combinators take their sources as arguments. Both take any
Observable of chunks (a thunk, a backend's stream) or of strings, have a state of their own for each
subscription, and compose with Rx's own operators.
"""

from __future__ import annotations

from mellea_rx.core.text.units import splitter
from mellea_rx.core.types.retry_policy import RetryPolicy
from mellea_rx.core.types.unit import ListSplitter, Splitter, Unit
from mellea_rx.operators.bridges import from_async_iterable, from_future, to_thunk
from mellea_rx.operators.choose import fallback, hedge, race
from mellea_rx.operators.combine import as_completed, combine_latest, concat, gather, merge, zip
from mellea_rx.operators.items import Outcome, Tagged
from mellea_rx.operators.iterators import to_async_iterator, to_iterator
from mellea_rx.operators.mapping import Generated, Started, map_async, map_generate, map_thunks
from mellea_rx.operators.partial_object import Part, partial_object
from mellea_rx.operators.retractions import apply_retractions
from mellea_rx.operators.retry import retry
from mellea_rx.operators.sharing import observe, tee
from mellea_rx.operators.text import (
    accumulate,
    by_line,
    by_paragraph,
    by_sentence,
    by_unit,
    by_word,
    text,
)
from mellea_rx.operators.thinking import split_thinking
from mellea_rx.operators.timing import chunk_timeout, coalesce, smooth

__all__ = [
    "Generated",
    "ListSplitter",
    "Outcome",
    "Part",
    "RetryPolicy",
    "Splitter",
    "Started",
    "Tagged",
    "Unit",
    "accumulate",
    "apply_retractions",
    "as_completed",
    "by_line",
    "by_paragraph",
    "by_sentence",
    "by_unit",
    "by_word",
    "chunk_timeout",
    "coalesce",
    "combine_latest",
    "concat",
    "fallback",
    "from_async_iterable",
    "from_future",
    "gather",
    "hedge",
    "map_async",
    "map_generate",
    "map_thunks",
    "merge",
    "observe",
    "partial_object",
    "race",
    "retry",
    "smooth",
    "split_thinking",
    "splitter",
    "tee",
    "text",
    "to_async_iterator",
    "to_iterator",
    "to_thunk",
    "zip",
]
