"""Bytes in, lines out; no I/O. Lines end at LF bytes only: U+2028 and U+0085 are text in JSON."""

from __future__ import annotations

from mellea_rx.errors import ResponseTooLargeError

__all__ = ["MAX_LINE", "LineDecoder"]

MAX_LINE = 16 * 1024 * 1024
"""The longest line that is taken, in bytes."""


_CR = ord("\r")
"""As a number: for `b"\\r" in data` Python first tries to make a number of the bytes, which fails
and costs a multiple of the search."""


class LineDecoder:
    """Splits a byte stream at LF; a CR before it goes too. However it is cut, the same lines.

    Args:
        max_line: The longest line that is taken, in bytes.

    Example:
        >>> lines = LineDecoder()
        >>> lines.feed(b"on"), lines.feed(b"e\\ntwo"), lines.flush()
        ([], [b'one'], [b'two'])
    """

    __slots__ = ("_max", "_parts", "_size")

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._max = max_line
        # The unfinished line, as it came: joined once, so that a long line costs linear time.
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take some bytes.

        Returns:
            The lines that they complete, without their ends.

        Raises:
            ResponseTooLargeError: A line is longer than `max_line`.
        """
        lines = data.split(b"\n")
        rest = lines.pop()
        has_cr = _CR in data
        if lines and self._size:
            self._parts.append(lines[0])
            lines[0] = b"".join(self._parts)
            # The CR may have come with an earlier part.
            has_cr = has_cr or lines[0].endswith(b"\r")
            self._parts.clear()
            self._size = 0
            if len(lines[0]) > self._max:
                raise self._too_long()
        if rest:
            self._parts.append(rest)
            self._size += len(rest)
        if self._size > self._max or (len(data) > self._max and max(map(len, lines)) > self._max):
            raise self._too_long()
        return [line.removesuffix(b"\r") for line in lines] if has_cr else lines

    def _too_long(self) -> ResponseTooLargeError:
        return ResponseTooLargeError(
            f"the server sent a line of more than {self._max:,} bytes (Limits(line=...))"
        )

    def flush(self) -> list[bytes]:
        """The last line, where the stream ended without an end of line."""
        rest = b"".join(self._parts).removesuffix(b"\r")
        self._parts.clear()
        self._size = 0
        return [rest] if rest else []
