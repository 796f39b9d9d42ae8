"""Buffers of text and chunks: many small pieces are kept as one.

`ChunkAccumulator` folds chunks into one, so that a stream keeps its text and not a list of
chunks. Used by generations, readers, `tee` and the timing operators.
"""

from __future__ import annotations

from mellea_rx.core.types.chunk import Chunk, ToolCall, Usage

_ANY = "surrogatepass"
"""A model may say half a surrogate pair, and it is kept as it came."""


class TextBuffer:
    """Text that grows at its end. One piece is kept as it is; only a second one makes a buffer.

    The buffer is of bytes: a list of pieces, and in Python 3.11 a `StringIO` too, has an object of
    some 60 bytes for each, which is ten times the text of a token.
    """

    __slots__ = ("_buffer", "_first")

    def __init__(self) -> None:
        self._first = ""
        self._buffer: bytearray | None = None

    def add(self, text: str) -> None:
        """Append `text`."""
        if self._buffer is not None:
            self._buffer += text.encode("utf-8", _ANY)
        elif not self._first:
            self._first = text
        else:
            self._buffer = bytearray((self._first + text).encode("utf-8", _ANY))

    def __str__(self) -> str:
        return self._first if self._buffer is None else self._buffer.decode("utf-8", _ANY)


class ChunkAccumulator:
    """Adds chunks up into one.

    Example:
        >>> fold = ChunkAccumulator()
        >>> fold.add(Chunk("Hel")); fold.add(Chunk("lo", finish_reason="stop"))
        >>> fold.snapshot().text, fold.snapshot().finish_reason
        ('Hello', 'stop')
    """

    __slots__ = ("_only", "_rest", "_text")

    def __init__(self) -> None:
        # A subscriber as fast as the model is given the model's very chunks.
        self._only: Chunk | None = None
        self._text: TextBuffer | None = None
        self._rest = _NOTHING

    def add(self, chunk: Chunk) -> None:
        """Add one more chunk."""
        text = self._text
        if text is None:
            first = self._only
            if first is None:
                self._only = chunk
                return
            self._only = None
            text = self._text = TextBuffer()
            self.add(first)
        if chunk.text:
            text.add(chunk.text)
        if (
            chunk.thinking
            or chunk.tool_calls
            or chunk.usage is not None
            or chunk.finish_reason is not None
            or chunk.model is not None
            or chunk.arguments_size
        ):
            self._join(chunk)

    def _join(self, chunk: Chunk) -> None:
        """Add the parts that are not text."""
        rest = self._rest
        if rest is _NOTHING:
            rest = self._rest = _Rest()
        rest.thinking.add(chunk.thinking)
        rest.tool_calls += chunk.tool_calls
        if chunk.usage is not None:
            rest.usage = chunk.usage
        if chunk.finish_reason is not None:
            rest.finish_reason = chunk.finish_reason
        if chunk.model is not None:
            rest.model = chunk.model
        rest.arguments_size += chunk.arguments_size

    def snapshot(self) -> Chunk:
        """All chunks so far, as one."""
        text = self._text
        if text is None:
            return self._only if self._only is not None else _EMPTY
        rest = self._rest
        return Chunk(
            str(text),
            str(rest.thinking),
            rest.tool_calls,
            rest.usage,
            rest.finish_reason,
            rest.model,
            rest.arguments_size,
        )

    def replay(self) -> tuple[Chunk, ...]:
        """The same as the history of a `Broadcast`: one chunk, or none."""
        return (self.snapshot(),) if self else ()

    def take(self) -> Chunk:
        """All chunks since the last `take`, as one."""
        whole = self.snapshot()
        self._only = self._text = None
        self._rest = _NOTHING
        return whole

    def __bool__(self) -> bool:
        """Whether anything was added since the last `take`."""
        return self._only is not None or self._text is not None


class _Rest:
    """The parts of chunks that are not text: few chunks have any."""

    __slots__ = (
        "arguments_size",
        "finish_reason",
        "model",
        "thinking",
        "tool_calls",
        "usage",
    )

    def __init__(self) -> None:
        self.thinking = TextBuffer()
        self.tool_calls: tuple[ToolCall, ...] = ()
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.model: str | None = None
        self.arguments_size = 0


_EMPTY = Chunk()
_NOTHING = _Rest()
