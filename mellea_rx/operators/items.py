"""Items of combined streams: values that carry the name or position of their source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from reactivex import Observable

from mellea_rx.core.runtime.stored_errors import raisable
from mellea_rx.core.types.chunk import Chunk, Retracted

S = TypeVar("S", bound=Observable[Any])


@dataclass(frozen=True, slots=True)
class Tagged(Generic[S]):
    """A chunk with its source. `str(tagged)` is its text, so operators on chunks take it too.

    Attributes:
        index: The position of its source among the arguments, from 0.
        source: The thunk or Observable that emitted it; for a coroutine, its result.
        chunk: The chunk.
    """

    index: int
    source: S
    chunk: Chunk

    def __str__(self) -> str:
        return str(self.chunk)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[S]):
    """The end of a source: its whole answer, or its error. `str(outcome)` is its text.

    Attributes:
        index: The position of the source among the arguments, from 0.
        source: The thunk or Observable; None if a coroutine failed before it returned one.
        chunk: The whole answer as one chunk; of a failed source, the part before the failure.
        error: The error of a failed source; None if it completed.
    """

    index: int
    source: S | None
    chunk: Chunk
    error: Exception | None = None

    @property
    def value(self) -> str:
        """The whole text. Raises the error of a failed source."""
        if self.error is not None:
            raise raisable(self.error)
        return self.chunk.text

    def __str__(self) -> str:
        return self.chunk.text


def as_chunk(item: object) -> Chunk:
    """Return an item of any stream of text as a chunk."""
    if isinstance(item, Chunk):
        return item
    if isinstance(item, (Tagged, Outcome)):
        return item.chunk
    return Chunk(str(item))


def is_retraction(item: object) -> bool:
    """Whether an item, of one stream or of several combined, is a retraction."""
    return isinstance(item.chunk if isinstance(item, Tagged) else item, Retracted)
