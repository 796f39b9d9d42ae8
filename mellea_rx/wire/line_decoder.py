"""Splits a byte stream into lines, without I/O. Used for Ollama's NDJSON and by the SSE decoder.

Lines end at LF bytes only: U+2028 and U+0085 are text in JSON.
"""

from __future__ import annotations

from mellea_rx.errors import ResponseTooLargeError

MAX_LINE = 16 * 1024 * 1024
"""The default limit of a line, in bytes."""


_CR = ord("\r")
"""As a number: for `b"\\r" in data` Python first tries to make a number of the bytes, which fails
and costs a multiple of the search."""


class LineDecoder:
    """Splits a byte stream at LF, and drops a CR before it. Blocks may be divided anywhere.

    Args:
        max_line: The limit of a line, in bytes.

    Example:
        >>> lines = LineDecoder()
        >>> lines.feed(b"on"), lines.feed(b"e\\ntwo"), lines.flush()
        ([], [b'one'], [b'two'])
    """

    __slots__ = ("_max", "_parts", "_size")

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._max = max_line
        # The parts of the unfinished line. They are joined once, at its end: to append to a bytes
        # object in each `feed` would take quadratic time.
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Decode a block.

        Returns:
            The lines that it completes, without their line ends.

        Raises:
            ResponseTooLargeError: A line is longer than `max_line`.
        """
        lines = data.split(b"\n")
        rest = lines.pop()
        has_cr = _CR in data
        if lines and self._size:
            self._parts.append(lines[0])
            lines[0] = b"".join(self._parts)
            # The CR may have arrived in an earlier block.
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
        """The rest at the end of the stream: a last line without a line end, or no line."""
        rest = b"".join(self._parts).removesuffix(b"\r")
        self._parts.clear()
        self._size = 0
        return [rest] if rest else []
