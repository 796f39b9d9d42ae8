"""Operators on streams of chunks: each is curried, its arguments first, then the source.

    thunk.pipe(by_sentence()).subscribe(speak)

They take any Observable of chunks (a thunk, a backend's stream) or of strings, make their state
when they are subscribed to, and compose with Rx's own.
"""

from __future__ import annotations

from mellea_rx.core.retry import RetryPolicy
from mellea_rx.operators.accumulate import accumulate
from mellea_rx.operators.by_unit import by_line, by_paragraph, by_sentence, by_word
from mellea_rx.operators.chunk_timeout import chunk_timeout
from mellea_rx.operators.coalesce import coalesce
from mellea_rx.operators.observe import observe
from mellea_rx.operators.partial_object import Part, partial_object
from mellea_rx.operators.retry import retry
from mellea_rx.operators.smooth import smooth
from mellea_rx.operators.split_thinking import split_thinking
from mellea_rx.operators.tee import tee
from mellea_rx.operators.text import text

__all__ = [
    "Part",
    "RetryPolicy",
    "accumulate",
    "by_line",
    "by_paragraph",
    "by_sentence",
    "by_word",
    "chunk_timeout",
    "coalesce",
    "observe",
    "partial_object",
    "retry",
    "smooth",
    "split_thinking",
    "tee",
    "text",
]
