"""Tool calls as OpenAI's protocol streams them: in pieces, to be put together; no I/O."""

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
    """A piece of a call, as a server sends it. What is of a wrong type counts as absent."""

    index: Any = None
    id: Any = None
    function: _Function | None = None

    def __post_init__(self) -> None:
        self.index = as_count(self.index)
        self.id = str(self.id) if isinstance(self.id, (str, int)) else None

    @property
    def name(self) -> str:
        """The tool's name, where it has it."""
        return "" if self.function is None else as_text(self.function.name)

    @property
    def arguments(self) -> str:
        """The text of arguments that it brings; of an object, its JSON."""
        given = None if self.function is None else self.function.arguments
        return msgspec.json.encode(given).decode() if isinstance(given, dict) else as_text(given)


class _Call:
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
    """The calls of one answer. However many there are, a piece costs the same."""

    __slots__ = ("_at", "_calls", "_named")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        # The latest call of an index, and those of an index that have an id: an index may be
        # repeated by calls that only their ids tell apart.
        self._at: dict[int, _Call] = {}
        self._named: dict[tuple[int, str], _Call] = {}

    def add(self, piece: CallDelta) -> tuple[int, int]:
        """One more piece, of a call that is there or of a new one.

        Returns:
            How many characters of arguments it brings, and how many that call has now.
        """
        call = self._call_of(piece)
        if call is None:
            call = _Call()
            self._calls.append(call)
            if piece.index is not None:
                self._at[piece.index] = call
        size = call.add(piece)
        if piece.index is not None and call.id:
            self._named[piece.index, call.id] = call
        return size, call.size

    def _call_of(self, piece: CallDelta) -> _Call | None:
        """The call that a piece belongs to: indexes may be missing, repeated, or begin above 0."""
        if piece.index is None:
            return self._calls[-1] if self._calls and not self._begins(piece) else None
        call = self._at.get(piece.index)
        if call is None or not piece.id or not call.id:
            return call
        return self._named.get((piece.index, piece.id))

    def _begins(self, piece: CallDelta) -> bool:
        """Whether a piece without an index is a new call's."""
        latest = self._calls[-1]
        if piece.id:
            return bool(piece.id != latest.id)
        return bool(piece.name and latest.name)

    def joined(self, who: str, finish_reason: str) -> tuple[ToolCall, ...]:
        """All calls, at the end.

        Args:
            who: What messages call the server.
            finish_reason: Why the answer ended.

        Raises:
            ProtocolError: The arguments of one are no JSON object.
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
