"""What combinators give out: values that say whose they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from reactivex import Observable

from mellea_rx.core.chunk import Chunk
from mellea_rx.errors import raisable

__all__ = ["Outcome", "Tagged", "as_chunk"]

S = TypeVar("S", bound=Observable[Any])


@dataclass(frozen=True, slots=True)
class Tagged(Generic[S]):
    """A chunk, and whose it is. `str(tagged)` is its text, so operators on chunks take it too.

    Attributes:
        index: The place of its source among the arguments, from 0.
        source: The thunk or Observable that it came from; where a coroutine was given, what that
            returned.
        chunk: What came.
    """

    index: int
    source: S
    chunk: Chunk

    def __str__(self) -> str:
        return self.chunk.text


@dataclass(frozen=True, slots=True)
class Outcome(Generic[S]):
    """How a source ended: with its whole answer, or with an error. `str(outcome)` is its text.

    Attributes:
        index: The place of the source among the arguments, from 0.
        source: The thunk or Observable; None where a coroutine failed before it gave one.
        chunk: The whole answer as one chunk; of a failed one, what had come of it.
        error: Why it failed; None when it is complete.
    """

    index: int
    source: S | None
    chunk: Chunk
    error: Exception | None = None

    @property
    def value(self) -> str:
        """The whole text. Raises the error of a source that failed."""
        if self.error is not None:
            raise raisable(self.error)
        return self.chunk.text

    def __str__(self) -> str:
        return self.chunk.text


def as_chunk(item: object) -> Chunk:
    """An item of any stream of text, as a chunk."""
    if isinstance(item, Chunk):
        return item
    if isinstance(item, (Tagged, Outcome)):
        return item.chunk
    return Chunk(str(item))
