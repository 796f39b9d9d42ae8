"""Text that waits in the pieces in which it came, and is taken from its beginning.

Attempts keep in it the text that readers do not get yet.
"""

from __future__ import annotations

from collections import deque


class WaitingText:
    """A queue of characters, in linear time: a piece that is taken whole is not copied.

    Example:
        >>> text = WaitingText()
        >>> text.add("One. "); text.add("Two. Thr")
        >>> text.take(10)
        'One. Two. '
    """

    __slots__ = ("_pieces", "_used")

    def __init__(self) -> None:
        self._pieces: deque[str] = deque()
        self._used = 0
        """The number of characters of the first piece that were taken."""

    def add(self, piece: str) -> None:
        """Append a piece."""
        self._pieces.append(piece)

    def take(self, size: int) -> str:
        """Remove the first characters, or all where there are fewer."""
        if self._pieces and not self._used and len(self._pieces[0]) == size:  # the common case
            return self._pieces.popleft()
        taken: list[str] = []
        while size > 0 and self._pieces:
            piece = self._pieces[0]
            end = self._used + size
            part = piece[self._used : end]
            taken.append(part)
            size -= len(part)
            if end < len(piece):
                self._used = end
            else:
                self._pieces.popleft()
                self._used = 0
        return "".join(taken)
