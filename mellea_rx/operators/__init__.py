"""Operators on streams of chunks, and combinators over thunks, cold calls and other Observables.

    thunk.pipe(by_sentence()).subscribe(speak)
    async for item in to_async_iterator(merge(a, b)): ...

Operators are used with `pipe`; combinators take their sources as arguments. Both take any
Observable of chunks (a thunk, a backend's stream) or of strings, have a state of their own for each
subscription, and compose with Rx's own operators.
"""

from __future__ import annotations

from mellea_rx.core.retry import RetryPolicy
from mellea_rx.operators.accumulate import accumulate
from mellea_rx.operators.as_completed import as_completed
from mellea_rx.operators.by_unit import by_line, by_paragraph, by_sentence, by_word
from mellea_rx.operators.chunk_timeout import chunk_timeout
from mellea_rx.operators.coalesce import coalesce
from mellea_rx.operators.combine_latest import combine_latest
from mellea_rx.operators.fallback import fallback
from mellea_rx.operators.from_async_iterable import from_async_iterable
from mellea_rx.operators.from_future import from_future
from mellea_rx.operators.gather import gather, zip
from mellea_rx.operators.hedge import hedge
from mellea_rx.operators.iterators import to_async_iterator, to_iterator
from mellea_rx.operators.map_async import map_async
from mellea_rx.operators.map_generate import Generated, Started, map_generate, map_thunks
from mellea_rx.operators.merge import concat, merge
from mellea_rx.operators.observe import observe
from mellea_rx.operators.partial_object import Part, partial_object
from mellea_rx.operators.race import race
from mellea_rx.operators.retry import retry
from mellea_rx.operators.smooth import smooth
from mellea_rx.operators.split_thinking import split_thinking
from mellea_rx.operators.tagged import Outcome, Tagged
from mellea_rx.operators.tee import tee
from mellea_rx.operators.text import text
from mellea_rx.operators.to_thunk import to_thunk

__all__ = [
    "Generated",
    "Outcome",
    "Part",
    "RetryPolicy",
    "Started",
    "Tagged",
    "accumulate",
    "as_completed",
    "by_line",
    "by_paragraph",
    "by_sentence",
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
    "tee",
    "text",
    "to_async_iterator",
    "to_iterator",
    "to_thunk",
    "zip",
]
