"""Where an answer goes while it comes: who keeps it, and is told when it is asked for again."""

from __future__ import annotations

from typing import Protocol

from mellea_rx.core.chunk import Chunk
from mellea_rx.core.fold import Fold
from mellea_rx.errors import MelleaRxError

__all__ = ["Gathered", "Sink"]


class Sink(Protocol):
    """Takes one answer."""

    @property
    def text(self) -> str:
        """The answer so far."""
        ...

    @property
    def spoke(self) -> bool:
        """Whether anything of the model's has come."""
        ...

    def push(self, chunk: Chunk) -> None:
        """One more chunk."""
        ...

    def retrying(self, error: MelleaRxError, pause: float, *, restarts: bool) -> None:
        """The answer will be asked for again.

        Args:
            error: Why.
            pause: Seconds until then.
            restarts: Whether what came so far is void.
        """
        ...

    def restart(self, error: MelleaRxError) -> bool:
        """Take back what came; False where that cannot be."""
        ...


class Gathered:
    """A sink that only gathers."""

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
        """Whether anything has come."""
        return bool(self._fold)

    def push(self, chunk: Chunk) -> None:
        """Gather a chunk."""
        self._fold.add(chunk)

    def retrying(self, error: MelleaRxError, pause: float, *, restarts: bool) -> None:
        """Of no consequence here."""

    def restart(self, error: MelleaRxError) -> bool:
        """Begin with nothing."""
        self._fold = Fold()
        return True
