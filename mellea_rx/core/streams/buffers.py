"""Buffers of text and chunks: many small pieces are kept as one.

`ChunkAccumulator` folds chunks into one, so that a stream keeps its text and not a list of
chunks. Used by generations, readers, `tee` and the timing operators.
"""

from __future__ import annotations

from mellea_rx.core.streams.retraction import Effect, Retraction
from mellea_rx.core.types.chunk import Chunk, Retracted, ToolCall, Usage

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

    def join(self, item: Chunk) -> None:
        """Add a chunk, or remove the text that a `Retracted` says is void."""
        if isinstance(item, Retracted):
            self.drop(item.characters)
        else:
            self.add(item)

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

    def clear(self) -> None:
        """Remove all chunks."""
        self._only = self._text = None
        self._rest = _NOTHING

    def drop(self, characters: int) -> int:
        """Remove text from the end.

        Returns:
            The number of characters that were removed: all of them, or all text that there was.
        """
        text = self.snapshot().text
        kept = text[: max(len(text) - characters, 0)]
        if len(kept) < len(text):
            self.add(_EMPTY)  # makes a buffer of a single chunk
            self._text = TextBuffer()
            self._text.add(kept)
            if self.snapshot() == _EMPTY:
                self.clear()
        return len(text) - len(kept)

    def __bool__(self) -> bool:
        """Whether anything was added since the last `take`."""
        return self._only is not None or self._text is not None


class ChunkBuffer(ChunkAccumulator):
    """The chunks that an observer was not given yet, joined; and a retraction before them.

    Text that is void and was not delivered is removed; the rest of a retraction is kept, and taken
    as an item before the chunks.
    """

    __slots__ = ("_has_delivered", "_retracted")

    def __init__(self) -> None:
        super().__init__()
        self._has_delivered = False
        self._retracted: Retracted | None = None

    def join(self, item: Chunk) -> None:
        """Add a chunk or a retraction."""
        if isinstance(item, Retracted):
            self._keep(item.reason, item.characters - self.drop(item.characters))
        else:
            self.add(item)

    def take(self) -> Chunk:
        """Remove the next item: a retraction, or all chunks as one."""
        self._has_delivered = True
        item = self._retracted
        if item is None:
            return super().take()
        self._retracted = None
        return item

    def retract(self, retraction: Retraction) -> Effect:
        """Remove void text; keep the part of the retraction that was delivered."""
        item = retraction.item
        delivered = item.characters - self.drop(item.characters)
        is_affected = delivered > 0
        if retraction.is_whole:
            is_affected, self._has_delivered = self._has_delivered, False
            self.clear()
        if not is_affected:
            return Effect.NONE
        if not retraction.is_marked:
            return Effect.FAILED
        self._keep(item.reason, delivered)
        return Effect.TOLD

    def _keep(self, reason: str, characters: int) -> None:
        self._retracted = Retracted.joined(self._retracted, characters, reason)

    def __bool__(self) -> bool:
        return self._retracted is not None or super().__bool__()


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
