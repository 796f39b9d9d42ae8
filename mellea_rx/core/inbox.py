"""The buffer and waits of a thunk's single reader: `astream()` and `stream()` read from it."""

from __future__ import annotations

import threading

from mellea_rx.core.chunk import Chunk
from mellea_rx.core.consumers import refuse_deadlock
from mellea_rx.core.fold import TextBuffer
from mellea_rx.core.generation import Generation
from mellea_rx.core.pending import Pending
from mellea_rx.core.pull_reader import PullReader
from mellea_rx.core.waits import Waiter, begin_wait, end_wait
from mellea_rx.errors import MelleaRxError, raisable

__all__ = ["Inbox"]


class Inbox(PullReader["str | None"]):
    """Reads the text of a generation: all text since the last read, as one piece.

    A read returns the next piece, or None at the end. Besides the errors of every `PullReader` it
    raises `DependencyCycleError` where it waits for the very call that it is made in, and the
    generation's error after all its text.

    Args:
        generation: The source of the text.

    Attributes:
        has_ended: Whether no more text comes.
        is_idle: Whether the reader was closed, and has not been read since.
    """

    __slots__ = ("_backlog", "_failure", "_generation", "_piece", "_taken", "has_ended", "is_idle")

    REFUSAL = (
        "two readers wait in this thunk's single reader: give each its own with "
        "`thunk.subscribe`, or let one read and share what it gets"
    )

    def __init__(self, generation: Generation) -> None:
        super().__init__()
        self._generation = generation
        # The first piece as it is; only a reader that is slower than the model needs a buffer.
        self._piece = ""
        self._backlog: TextBuffer | None = None
        self.has_ended = False
        self.is_idle = False
        self._taken = False
        self._failure: MelleaRxError | None = None
        generation.attach(self)

    # Called with the generation's lock held.

    def add(self, chunk: Chunk) -> bool:
        """Keep a chunk's text. Returns whether a reader waits for it."""
        text = chunk.text
        if not text:
            return False
        if not self._piece:
            self._piece = text
        else:
            if self._backlog is None:
                self._backlog = TextBuffer()
            self._backlog.add(text)
        return self._pending is not None

    def end(self) -> bool:
        """Note the end. Returns whether a reader waits for it."""
        self.has_ended = True
        return self._pending is not None

    def restart(self, error: MelleaRxError) -> bool:
        """Forget the text so far. Returns whether the reader has taken any of it, and so fails."""
        self._piece, self._backlog = "", None
        if self._taken:
            self._failure = error
            self.has_ended = True
        return self._taken

    # The reader's buffer.

    @property
    def lock(self) -> threading.Lock:
        return self._generation.lock

    def _has_news(self) -> bool:
        return bool(self._piece) or self.has_ended

    def _take(self) -> str | None:
        piece = self._piece
        if piece:
            if self._backlog is not None:
                piece += str(self._backlog)
                self._backlog = None
            self._piece = ""
            self._taken = True
        if self.has_ended:
            return self._last(piece)
        return piece

    def _last(self, piece: str) -> str | None:
        generation = self._generation
        failure = self._failure or generation.error
        if piece and failure is not None:
            return piece  # the next read raises the error
        generation.end_observed = True
        if failure is not None:
            generation.error_observed = True
            raise raisable(failure)
        return piece or None

    def _begin_wait(self, pending: Pending) -> Waiter | None:
        self.is_idle = False
        if pending.blocks:
            refuse_deadlock(self._generation)
        return begin_wait(self._generation)

    def _end_wait(self, begun: Waiter | None) -> None:
        end_wait(begun, self._generation)

    @property
    def has_all(self) -> bool:
        """Whether the reader has taken all text of a generation that is complete."""
        ended = self.has_ended and self._failure is None and self._generation.error is None
        return ended and self._taken and not self._piece

    def skip(self) -> None:
        """Leave out the text so far."""
        with self._generation.lock:
            self._piece, self._backlog = "", None

    def leave(self) -> None:
        """Stop reading. Ends the generation when it has no other reader.

        The buffer stays attached: a later read goes on where this one stopped, and gets the end.
        """
        with self.lock:
            pending = self._pending
            if pending is not None and not pending.is_void:
                return  # another reader waits here
            self.is_idle = True
        self._generation.cancel_unless_watched("its reader was closed before its end")
