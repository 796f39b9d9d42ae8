"""Tool calls as OpenAI's protocol streams them: in pieces, to be put together; no I/O."""

from __future__ import annotations

from typing import Any

import msgspec

from mellea_rx.core.chunk import ToolCall
from mellea_rx.errors import ProtocolError
from mellea_rx.wire.words import excerpt, printable

__all__ = ["CallDelta", "CallPieces"]


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class CallDelta(msgspec.Struct):
    """A piece of a call, as a server sends it."""

    index: int | None = None
    id: str | None = None
    function: _Function | None = None

    @property
    def size(self) -> int:
        """How many characters of arguments it brings."""
        return 0 if self.function is None else len(self.function.arguments or "")


class _Call:
    __slots__ = ("arguments", "id", "name", "size")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.size = 0

    def add(self, piece: CallDelta) -> None:
        self.id = piece.id or self.id
        if piece.function is not None:
            self.name = self.name or piece.function.name or ""
            self.arguments.append(piece.function.arguments or "")
            self.size += len(self.arguments[-1])


class CallPieces:
    """The calls of one answer. However many there are, a piece costs the same."""

    __slots__ = ("_at", "_calls", "_named")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        # The latest call of an index, and those of an index that have an id: an index may be
        # repeated by calls that only their ids tell apart.
        self._at: dict[int, _Call] = {}
        self._named: dict[tuple[int, str], _Call] = {}

    def add(self, piece: CallDelta) -> int:
        """One more piece, of a call that is there or of a new one.

        Returns:
            How many characters of arguments that call has now.
        """
        call = self._call_of(piece)
        if call is None:
            call = _Call()
            self._calls.append(call)
            if piece.index is not None:
                self._at[piece.index] = call
        call.add(piece)
        if piece.index is not None and call.id:
            self._named[piece.index, call.id] = call
        return call.size

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
            return piece.id != latest.id
        return bool(piece.function and piece.function.name and latest.name)

    def joined(self, who: str, finish_reason: str) -> tuple[ToolCall, ...]:
        """All calls, at the end.

        Args:
            who: What messages call the server.
            finish_reason: Why the answer ended.

        Raises:
            ProtocolError: The arguments of one are no JSON object.
        """
        return tuple(_joined(call, who, finish_reason) for call in self._calls)


def _joined(call: _Call, who: str, finish_reason: str) -> ToolCall:
    raw = "".join(call.arguments)
    try:
        arguments = msgspec.json.decode(raw or "{}", type=dict[str, Any])
    except (ValueError, RecursionError):
        why = " (it was cut off by its length)" if finish_reason == "length" else ""
        raise ProtocolError(
            f"{who} sent a call of tool {printable(call.name, 80)!r} whose arguments are no JSON "
            f"object{why}: {excerpt(raw.encode('utf-8', 'replace'))}"
        ) from None
    return ToolCall(call.name, arguments, call.id)
