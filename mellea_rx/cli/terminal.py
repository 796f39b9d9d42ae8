"""The terminal: its properties, and text that is escaped, shortened and wrapped for it."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable

from rich.cells import cell_len

__all__ = [
    "BIDI_CONTROLS",
    "WordWrap",
    "can_redraw",
    "discard_output",
    "escape_controls",
    "escape_unencodable",
    "format_seconds",
    "is_terminal",
    "one_line",
    "write",
]

BIDI_CONTROLS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Code points that change the direction of text, so that text reads differently than it is."""

# Newlines and tabs stay. A carriage return is removed: it would overwrite the current line.
_ESCAPES = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t\r"}
_ESCAPES |= {code: f"\\x{code:02x}" for code in range(0x80, 0xA0)}
_ESCAPES |= {0x0D: "", 0x7F: "\u2421"}
_ESCAPES |= {code: f"\\u{code:04x}" for code in BIDI_CONTROLS}


def is_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def can_redraw() -> bool:
    """Whether stdout is a terminal that can overwrite lines already printed."""
    return is_terminal() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def write(text: str) -> None:
    """Write text to stdout and flush it."""
    sys.stdout.write(text)
    sys.stdout.flush()


def escape_unencodable() -> None:
    """Make stdout and stderr escape the characters that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Send buffered output to /dev/null, after the reader of a pipe has closed it.

    Python flushes both streams on exit, and would print a traceback for the closed pipe.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def escape_controls(text: str) -> str:
    """Replace control characters by visible ones; newlines and tabs stay.

    Example:
        >>> escape_controls("\\x1b[2Jgone?")
        '␛[2Jgone?'
    """
    return text.translate(_ESCAPES)


def one_line(text: str, width: int) -> str:
    """Fit text into one line of at most `width` characters, shortened in the middle.

    The middle, because prompts often begin alike and differ at their ends.

    Example:
        >>> one_line("Write a poem\\nabout mountains.", 20)
        'Write a po…ountains.'
    """
    line = re.sub(r"\s+", " ", escape_controls(text)).strip()
    if len(line) <= width:
        return line
    kept = max(0, width - 1)
    return line[: kept - kept // 2] + "…" + line[len(line) - kept // 2 :]


def format_seconds(value: float | None) -> str:
    """Format a duration in seconds, such as "0.12 s"; "-" for None."""
    if value is None:
        return "-"
    return f"{value:.2f} s" if value < 100 else f"{value:.0f} s"


class WordWrap:
    """Wraps streamed text between words.

    A word is returned only once it is complete, so no text has to be taken back. A word longer
    than a line is cut. Characters of double width (Chinese, Japanese) may be separated.

    Args:
        width: Returns the columns of a line; called for each word, since a terminal may be resized.

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
        """Add text.

        Returns:
            The text that can be printed now.
        """
        return "".join(map(self._add, text))

    def end(self) -> str:
        """End the text.

        Returns:
            The rest that was held back.
        """
        rest = self._take_word()
        self._space = ""
        return rest

    def _add(self, character: str) -> str:
        if character == "\n":
            ready = self.end() + character
            self._column = 0
            return ready
        if character.isspace():
            ready = self._take_word()
            self._space += character
            return ready
        if cell_len(character) > 1:
            ready = self._take_word()
            self._word = character
            return ready + self._take_word()
        self._word += character
        return self._take_word() if cell_len(self._word) >= self._width() else ""

    def _take_word(self) -> str:
        """The collected word, after the space or line break that precedes it."""
        word, self._word = self._word, ""
        if not word:
            return ""
        space, self._space = self._space, ""
        start, size = self._column + cell_len(space.expandtabs(8)), cell_len(word)
        if start + size > self._width():
            line_end = "\n" if self._column else ""
            self._column = size
            return line_end + word
        self._column = start + size
        return space + word
