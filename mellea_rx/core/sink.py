"""Receivers of one answer while it streams: the retry loop writes to a `Sink`."""

from __future__ import annotations

from typing import Protocol

from mellea_rx.core.chunk import Chunk
from mellea_rx.core.fold import Fold
from mellea_rx.errors import MelleaRxError

__all__ = ["Gathered", "Sink"]


class Sink(Protocol):
    """Receives one answer."""

    @property
    def text(self) -> str:
        """The text so far."""
        ...

    @property
    def spoke(self) -> bool:
        """Whether any content has come."""
        ...

    def push(self, chunk: Chunk, /) -> None:
        """Receive a chunk."""
        ...

    def retrying(self, error: MelleaRxError, pause: float, *, restarts: bool) -> None:
        """Note that the request will be repeated.

        Args:
            error: Why.
            pause: Seconds until then.
            restarts: Whether the answer so far is void.
        """
        ...

    def restart(self, error: MelleaRxError) -> bool:
        """Discard the answer so far. Returns False where that is impossible."""
        ...


class Gathered:
    """A sink that collects the chunks."""

    def __init__(self) -> None:
        self._fold = Fold()

    @property
    def answer(self) -> Chunk:
        """The answer so far, as one chunk."""
        return self._fold.peek()

    @property
    def text(self) -> str:
        """The text of the answer so far."""
        return self._fold.peek().text

    @property
    def spoke(self) -> bool:
        """Whether any chunk has come."""
        return bool(self._fold)

    def push(self, chunk: Chunk) -> None:
        """Add a chunk."""
        self._fold.add(chunk)

    def retrying(self, error: MelleaRxError, pause: float, *, restarts: bool) -> None:
        """Does nothing."""

    def restart(self, error: MelleaRxError) -> bool:
        """Discard the chunks."""
        self._fold = Fold()
        return True
