"""Text that streams onto a terminal, broken between words."""

from __future__ import annotations

from collections.abc import Callable

from rich.cells import cell_len

__all__ = ["WordWrap"]


class WordWrap:
    """Breaks lines between words while the text comes in pieces.

    A word is passed on when it is known to be complete, so that nothing has to be taken back. A
    word that is longer than a line is cut; characters of double width (Chinese, Japanese) may be
    parted from each other.

    Args:
        width: Gives the columns of a line; asked for each word, since a terminal may be resized.

    Example:
        >>> wrap = WordWrap(lambda: 8)
        >>> wrap.feed("one two th") + wrap.feed("ree four") + wrap.end()
        'one two\\nthree\\nfour'
    """

    def __init__(self, width: Callable[[], int]) -> None:
        self._width = width
        self._column = 0
        self._space = ""
        self._word = ""

    def feed(self, text: str) -> str:
        """Take a piece.

        Returns:
            The text that can be shown now.
        """
        return "".join(map(self._take, text))

    def end(self) -> str:
        """The text that is still held back."""
        rest = self._whole_word()
        self._space = ""
        return rest

    def _take(self, character: str) -> str:
        if character == "\n":
            shown = self.end() + character
            self._column = 0
            return shown
        if character.isspace():
            shown = self._whole_word()
            self._space += character
            return shown
        if cell_len(character) > 1:
            shown = self._whole_word()
            self._word = character
            return shown + self._whole_word()
        self._word += character
        return self._whole_word() if cell_len(self._word) >= self._width() else ""

    def _whole_word(self) -> str:
        word, self._word = self._word, ""
        if not word:
            return ""
        space, self._space = self._space, ""
        taken, size = self._column + cell_len(space.expandtabs(8)), cell_len(word)
        if taken + size > self._width():
            line_end = "\n" if self._column else ""
            self._column = size
            return line_end + word
        self._column = taken + size
        return space + word
