"""Splits a byte stream into server-sent events, without I/O. Used by the OpenAI backend.

It follows the WHATWG HTML standard, section 9.2 ("Server-sent events"), with two additions for
model servers: an `error:` field is data too (llama.cpp), and so is a last `[DONE]` without a blank
line.
"""

from __future__ import annotations

from mellea_rx.errors import ResponseTooLargeError
from mellea_rx.wire.line_decoder import MAX_LINE, LineDecoder

__all__ = ["SseDecoder"]

_BOM = b"\xef\xbb\xbf"
_STRAY = 400


class SseDecoder:
    """Splits a byte stream into events. Lines end in CR, LF or CRLF; comments are dropped.

    Args:
        max_line: The limit of a line, and of an event, in bytes.

    Example:
        >>> SseDecoder().feed(b": ping\\n\\ndata: one\\n\\ndata: two\\n\\nda")
        [b'one', b'two']
    """

    __slots__ = ("_after_cr", "_data", "_lines", "_max", "_size", "_started", "stray")

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._lines = LineDecoder(max_line)
        self._max = max_line
        self._size = 0
        self._data: list[bytes] = []
        self._after_cr = False
        self._started = False
        self.stray = b""
        """The first bytes of lines that are not SSE (an HTML page, a bare JSON error)."""

    def feed(self, data: bytes) -> list[bytes]:
        """Decode a block.

        Returns:
            The data of the events that it completes.

        Raises:
            ResponseTooLargeError: A line or an event is longer than `max_line`.
        """
        return self._events(self._lines.feed(self._with_lf(data)))

    def flush(self) -> list[bytes]:
        """Decode the rest at the stream's end; drops an unfinished event other than `[DONE]`."""
        events = self._events(self._lines.flush())
        rest, self._data = b"\n".join(self._data), []
        return [*events, rest] if rest == b"[DONE]" else events

    def _with_lf(self, data: bytes) -> bytes:
        """Replace each line end by LF. A CR ends its line at once; an LF after it is dropped,
        also at the beginning of the next block."""
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if b"\r" not in data:
            return data
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _events(self, lines: list[bytes]) -> list[bytes]:
        if lines and not self._started:
            self._started = True
            lines[0] = lines[0].removeprefix(_BOM)
        events: list[bytes] = []
        data = self._data
        for line in lines:
            if not line:
                if data:
                    events.append(data[0] if len(data) == 1 else b"\n".join(data))
                    data.clear()
                    self._size = 0
            elif line.startswith(b"data:"):
                if data:
                    self._grow(line)
                data.append(line[6:] if line[5:6] == b" " else line[5:])
            else:
                self._other(line)
        return events

    def _grow(self, line: bytes) -> None:
        """Count a further line of an event. Each line is within the limit, their sum may not be."""
        self._size = (self._size or len(self._data[0])) + 1 + len(line)
        if self._size > self._max:
            raise ResponseTooLargeError(
                f"the server sent an event of more than {self._max:,} bytes (Limits(line=...))"
            )

    def _other(self, line: bytes) -> None:
        for value in self._field(line):
            if self._data:
                self._grow(value)
            self._data.append(value)

    def _field(self, line: bytes) -> list[bytes]:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            return [value]
        if name == b"error":
            return [b'{"error":' + value + b"}"]
        if name not in (b"", b"event", b"id", b"retry") and len(self.stray) < _STRAY:
            self.stray += line[: _STRAY - len(self.stray)] + b"\n"
        return []
