"""A broadcast of an answer's chunks that can take text back. Generations and `tee` are made of it.

Text that a subscriber has not taken yet is removed from its buffer; a subscriber that has taken
it is told by a `Retracted` item, or fails::

    written:                a--b--c-----(retract 1)--d--|
    subscriber:             a--b--c-----R(1)---------d--|
    subscriber that fails:  a--b--c-----#
    late subscriber:                          (ab)---d--|
"""

from __future__ import annotations

import threading

from mellea_rx.core.streams.broadcast import Broadcast, wake_all
from mellea_rx.core.streams.buffers import ChunkAccumulator
from mellea_rx.core.streams.retraction import Retraction
from mellea_rx.core.types.chunk import Chunk, Retracted
from mellea_rx.errors import MelleaRxError


class ChunkBroadcast(Broadcast[Chunk]):
    """Hands each chunk to all subscribers that are attached; see `Broadcast`.

    Args:
        is_live: As for `Broadcast`.
        lock: As for `Broadcast`.
    """

    __slots__ = ()

    _history: ChunkAccumulator

    def __init__(self, *, is_live: bool = True, lock: threading.Lock | None = None) -> None:
        super().__init__(ChunkAccumulator(), is_live=is_live, lock=lock)

    def take(self, item: Chunk) -> None:
        """Write a chunk of another stream, or take back text as a `Retracted` of it says."""
        if isinstance(item, Retracted):
            self.retract(item, item.as_error(), is_marked=True)
        else:
            self.write(item)

    def answer(self) -> Chunk:
        """The answer so far, as one chunk."""
        with self.lock:
            return self._history.snapshot()

    def retract(self, item: Retracted, error: MelleaRxError, *, is_marked: bool) -> None:
        """Take back text at the end. Ignored after the end.

        Args:
            item: The number of characters, and the reason.
            error: The error of readers and subscribers that have taken some of it and cannot be
                told by an item; its `text` becomes the text until now.
            is_marked: Whether observers can be told by an item.
        """
        with self.lock:
            if self.has_ended:
                return
            error.text = self._history.snapshot().text
            is_whole = item.characters >= len(error.text)
            if is_whole:
                self._history.clear()
            else:
                self._history.drop(item.characters)
            if not self.is_live:  # subscribers have got nothing yet
                return
            retraction = Retraction(item, error, is_whole, is_marked)
            woken = [each for each in self._subscribers if each.retract(retraction)]
        wake_all(woken)
