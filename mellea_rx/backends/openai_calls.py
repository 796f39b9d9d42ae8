"""Assembles the tool calls that OpenAI's protocol streams in pieces; without I/O.

`OpenAIDecoder` uses it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mellea_rx.core.chunk import ToolCall
from mellea_rx.errors import ProtocolError
from mellea_rx.wire.payload import as_count, as_text
from mellea_rx.wire.words import excerpt, printable

__all__ = ["CallDelta", "CallPieces"]


class _Function(msgspec.Struct):
    name: Any = None
    arguments: Any = None


class CallDelta(msgspec.Struct):
    """A piece of a tool call, as a server sends it. A field of a wrong type counts as absent."""

    index: Any = None
    id: Any = None
    function: _Function | None = None

    def __post_init__(self) -> None:
        self.index = as_count(self.index)
        self.id = str(self.id) if isinstance(self.id, (str, int)) else None

    @property
    def name(self) -> str:
        """The tool's name; "" if the piece has none."""
        return "" if self.function is None else as_text(self.function.name)

    @property
    def arguments(self) -> str:
        """The piece of the arguments' JSON text; the whole text if the server sent an object."""
        given = None if self.function is None else self.function.arguments
        return msgspec.json.encode(given).decode() if isinstance(given, dict) else as_text(given)


class _Call:
    """A tool call that is being assembled."""

    __slots__ = ("arguments", "id", "name", "size")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.size = 0

    def add(self, piece: CallDelta) -> int:
        arguments = piece.arguments
        self.id = piece.id or self.id
        self.name = self.name or piece.name
        self.arguments.append(arguments)
        self.size += len(arguments)
        return len(arguments)


class CallPieces:
    """Assembles the tool calls of one answer. To add a piece takes constant time."""

    __slots__ = ("_by_id", "_by_index", "_calls")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        # By index: the latest call. By index and id: each call. Some servers repeat an index for
        # several calls, which then differ in their ids only.
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[tuple[int, str], _Call] = {}

    def add(self, piece: CallDelta) -> tuple[int, int]:
        """Add a piece to its call, which is a known or a new one.

        Returns:
            The number of characters of arguments in the piece, and in the whole call so far.
        """
        call = self._call_of(piece)
        if call is None:
            call = _Call()
            self._calls.append(call)
            if piece.index is not None:
                self._by_index[piece.index] = call
        size = call.add(piece)
        if piece.index is not None and call.id:
            self._by_id[piece.index, call.id] = call
        return size, call.size

    def _call_of(self, piece: CallDelta) -> _Call | None:
        """The call that a piece belongs to; None for a new call.

        Servers may leave indexes out, repeat them, or begin above 0.
        """
        if piece.index is None:
            return self._calls[-1] if self._calls and not self._starts_call(piece) else None
        call = self._by_index.get(piece.index)
        if call is None or not piece.id or not call.id:
            return call
        return self._by_id.get((piece.index, piece.id))

    def _starts_call(self, piece: CallDelta) -> bool:
        """Whether a piece without an index begins a new call."""
        latest = self._calls[-1]
        if piece.id:
            return bool(piece.id != latest.id)
        return bool(piece.name and latest.name)

    def joined(self, who: str, finish_reason: str) -> tuple[ToolCall, ...]:
        """The complete calls, at the end of the answer.

        Args:
            who: The server's name in messages.
            finish_reason: The answer's finish reason.

        Raises:
            ProtocolError: The arguments of a call are not a JSON object.
        """
        return tuple(_joined(call, who, finish_reason) for call in self._calls)


_CUT_OFF = {
    "length": " (it was cut off by its length)",
    "content_filter": " (it was cut off by the server's content filter)",
}


def _joined(call: _Call, who: str, finish_reason: str) -> ToolCall:
    raw = "".join(call.arguments)
    try:
        arguments = msgspec.json.decode(raw or "{}", type=dict[str, Any])
    except (ValueError, RecursionError):
        why = _CUT_OFF.get(finish_reason, "")
        raise ProtocolError(
            f"{who} sent a call of tool {printable(call.name, 80)!r} whose arguments are no JSON "
            f"object{why}: {excerpt(raw.encode('utf-8', 'replace'))}"
        ) from None
    return ToolCall(call.name, arguments, call.id)
