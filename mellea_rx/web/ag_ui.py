"""The events of AG-UI, the protocol between agents and their user interfaces."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from mellea_rx.core.types.chunk import Chunk, Retracted, ToolCall, Usage
from mellea_rx.core.types.events import Event, Rejected, ToolCalled, ToolReturned
from mellea_rx.web.answer_items import Source
from mellea_rx.web.blocks import Blocks, CallIds, Kind
from mellea_rx.web.byte_stream import ByteStream
from mellea_rx.web.encoder import error_words, to_json
from mellea_rx.web.plain import KEEP_ALIVE


def _event(kind: str, **fields: Any) -> str:
    return f"data: {to_json({'type': kind, **fields})}\n\n"


class AgUiEncoder:
    """Writes the events of one run.

    Args:
        thread_id: The conversation.
        run_id: The run.
    """

    def __init__(self, thread_id: str, run_id: str) -> None:
        self._run = {"threadId": thread_id, "runId": run_id}
        self._blocks = Blocks(f"{run_id}-message-", _opening, _closing)
        self._calls = CallIds()
        self._usage: Usage | None = None

    def start(self) -> str:
        return _event("RUN_STARTED", **self._run)

    def item(self, item: Chunk | Event, /) -> str:
        match item:
            case Retracted():
                told = {"characters": item.characters, "reason": item.reason}
                return _event("CUSTOM", name="retracted", value=told)
            case Chunk():
                return self._chunk(item)
            case ToolCalled():
                return self._tool_call(item.call)
            case ToolReturned():
                return self._tool_result(item)
            case Rejected():
                told = {"attempt": item.attempt, "reasons": item.reasons}
                return _event("CUSTOM", name="rejected", value=told)
        return ""

    def _chunk(self, chunk: Chunk) -> str:
        self._usage = chunk.usage or self._usage
        sent = ""
        if chunk.thinking:
            opened = self._blocks.opened("thinking")
            delta = {"messageId": self._blocks.id, "delta": chunk.thinking}
            sent += opened + _event("REASONING_MESSAGE_CONTENT", **delta)
        if chunk.text:
            opened = self._blocks.opened("text")
            delta = {"messageId": self._blocks.id, "delta": chunk.text}
            sent += opened + _event("TEXT_MESSAGE_CONTENT", **delta)
        return sent + "".join(map(self._tool_call, chunk.tool_calls))

    def _tool_call(self, call: ToolCall) -> str:
        own = {"toolCallId": self._calls.called(call.name, call.id)}
        return "".join(
            [
                self._blocks.closed(),
                _event("TOOL_CALL_START", **own, toolCallName=call.name),
                _event("TOOL_CALL_ARGS", **own, delta=to_json(call.arguments)),
                _event("TOOL_CALL_END", **own),
            ]
        )

    def _tool_result(self, event: ToolReturned) -> str:
        call_id = self._calls.returned(event.name, event.call_id)
        if call_id is None:
            return ""
        message = f"{self._run['runId']}-result-{call_id}"
        result = {"messageId": message, "toolCallId": call_id, "content": event.content}
        return self._blocks.closed() + _event("TOOL_CALL_RESULT", **result, role="tool")

    def completed(self) -> str:
        usage = self._usage
        told = "" if usage is None else _usage(usage)
        return self._blocks.closed() + told + _event("RUN_FINISHED", **self._run)

    def failed(self, error: Exception, /) -> str:
        name, message = error_words(error)
        return self._blocks.closed() + _event("RUN_ERROR", message=message, code=name)


def _usage(usage: Usage) -> str:
    return _event("CUSTOM", name="usage", value=msgspec.to_builtins(usage))


def _opening(kind: Kind, message: str) -> str:
    if kind == "text":
        return _event("TEXT_MESSAGE_START", messageId=message, role="assistant")
    begun = _event("REASONING_START", messageId=message)
    return begun + _event("REASONING_MESSAGE_START", messageId=message, role="reasoning")


def _closing(kind: Kind, message: str) -> str:
    if kind == "text":
        return _event("TEXT_MESSAGE_END", messageId=message)
    ended = _event("REASONING_MESSAGE_END", messageId=message)
    return ended + _event("REASONING_END", messageId=message)


def ag_ui(
    source: Source,
    *,
    thread_id: str | None = None,
    run_id: str | None = None,
    keep_alive: float | None = KEEP_ALIVE,
) -> ByteStream:
    """An answer as a run of the AG-UI protocol.

    Text, reasoning, tool calls with their results and errors are its own events; retracted text,
    rejected attempts and usage are `CUSTOM` events.

    Example:
        >>> import asyncio, reactivex as rx
        >>> async def main():
        ...     async for data in ag_ui(rx.of("Hi"), thread_id="t", run_id="r"):
        ...         print(data.decode().splitlines()[0])
        >>> asyncio.run(main())
        data: {"type":"RUN_STARTED","threadId":"t","runId":"r"}

    Args:
        source: A thunk, or an Observable of chunks or texts.
        thread_id: The `threadId` of the client's request; a new one by default.
        run_id: The `runId` of the client's request; a new one by default.
        keep_alive: Seconds of silence after which a comment is sent; None for never.

    Returns:
        The bytes, as an async iterator that ends the thunk's request when it is left.

    Raises:
        InvalidInputError: `source` is something else, or `keep_alive` is no number above 0.

    Source: https://docs.ag-ui.com/concepts/events
    """
    return ByteStream(
        source,
        AgUiEncoder(thread_id or uuid.uuid4().hex, run_id or uuid.uuid4().hex),
        content_type="text/event-stream",
        keep_alive=keep_alive,
        idle=b": keep-alive\n\n",
    )
