"""Chunks in, one chunk out: the same fold keeps a thunk's whole answer and a slow reader's backlog.

Nothing is kept per chunk. Text goes into a growing buffer, so that a stream of n characters costs
O(n) time and memory, however many chunks it came in.
"""

from __future__ import annotations

from io import StringIO

from mellea_rx.core.chunk import Chunk, ToolCall, Usage

__all__ = ["Fold", "TextBuffer"]


class TextBuffer:
    """Text that grows at its end. One piece is kept as it is; only a second one makes a buffer."""

    __slots__ = ("_buffer", "_first")

    def __init__(self) -> None:
        self._first = ""
        self._buffer: StringIO | None = None

    def add(self, text: str) -> None:
        """Append `text`."""
        if self._buffer is not None:
            self._buffer.write(text)
        elif not self._first:
            self._first = text
        else:
            self._buffer = StringIO()
            self._buffer.write(self._first)
            self._buffer.write(text)

    def __str__(self) -> str:
        return self._first if self._buffer is None else self._buffer.getvalue()

    def __bool__(self) -> bool:
        return bool(self._first)


class Fold:
    """Adds chunks up into one.

    Example:
        >>> fold = Fold()
        >>> fold.add(Chunk("Hel")); fold.add(Chunk("lo", finish_reason="stop"))
        >>> fold.peek().text, fold.peek().finish_reason
        ('Hello', 'stop')
    """

    __slots__ = ("_finish_reason", "_model", "_only", "_text", "_thinking", "_tool_calls", "_usage")

    def __init__(self) -> None:
        # The usual reader is as fast as the model: one chunk in, the same chunk out.
        self._only: Chunk | None = None
        self._text: TextBuffer | None = None
        self._thinking: TextBuffer
        self._tool_calls: tuple[ToolCall, ...]
        self._usage: Usage | None
        self._finish_reason: str | None
        self._model: str | None

    def add(self, chunk: Chunk) -> None:
        """Add one more chunk."""
        if self._text is not None:
            self._merge(chunk)
        elif self._only is None:
            self._only = chunk
        else:
            first, self._only = self._only, None
            self._text = TextBuffer()
            self._thinking = TextBuffer()
            self._tool_calls = ()
            self._usage = self._finish_reason = self._model = None
            self._merge(first)
            self._merge(chunk)

    def _merge(self, chunk: Chunk) -> None:
        if chunk.text:
            self._text.add(chunk.text)  # type: ignore[union-attr]
        if chunk.thinking:
            self._thinking.add(chunk.thinking)
        if chunk.tool_calls:
            self._tool_calls += chunk.tool_calls
        if chunk.usage is not None:
            self._usage = chunk.usage
        if chunk.finish_reason is not None:
            self._finish_reason = chunk.finish_reason
        if chunk.model is not None:
            self._model = chunk.model

    def peek(self) -> Chunk:
        """All that was added, as one chunk."""
        if self._text is None:
            return self._only if self._only is not None else Chunk()
        return Chunk(
            str(self._text),
            str(self._thinking),
            self._tool_calls,
            self._usage,
            self._finish_reason,
            self._model,
        )

    def take(self) -> Chunk:
        """All that was added since the last `take`, as one chunk."""
        whole = self.peek()
        self._only = self._text = None
        return whole

    def __bool__(self) -> bool:
        """Whether anything was added since the last `take`."""
        return self._text is not None or self._only is not None
