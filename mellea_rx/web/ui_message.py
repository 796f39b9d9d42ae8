"""The UI message stream of Vercel's AI SDK (`useChat`), version 5 and later."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from mellea_rx.core.types.chunk import Chunk, Retracted, ToolCall, Usage
from mellea_rx.core.types.events import Event, Rejected, ToolCalled, ToolReturned
from mellea_rx.errors import GenerationCancelledError
from mellea_rx.web.answer_items import Source
from mellea_rx.web.blocks import Blocks, CallIds, Kind
from mellea_rx.web.byte_stream import ByteStream
from mellea_rx.web.encoder import error_words, to_json
from mellea_rx.web.plain import KEEP_ALIVE

_PART = {"text": "text", "thinking": "reasoning"}


def _part(kind: str, **fields: Any) -> str:
    return f"data: {to_json({'type': kind, **fields})}\n\n"


class UiMessageEncoder:
    """Writes the parts of one message; keys that version 5 does not know are left out.

    Args:
        message_id: The id of the message.
    """

    def __init__(self, message_id: str) -> None:
        self._message_id = message_id
        self._blocks = Blocks("block-", self._opening, self._closing)
        self._calls = CallIds()
        self._has_result = False
        """Whether a tool has returned in this step: what follows is another step."""
        self._usage: Usage | None = None

    def start(self) -> str:
        return _part("start", messageId=self._message_id) + _part("start-step")

    def item(self, item: Chunk | Event, /) -> str:
        match item:
            case Retracted():
                told = {"characters": item.characters, "reason": item.reason}
                return self._blocks.closed() + _part("data-retracted", data=told)
            case Chunk():
                return self._chunk(item)
            case ToolCalled():
                return self._tool_call(item.call)
            case ToolReturned():
                return self._tool_result(item)
            case Rejected():
                told = {"attempt": item.attempt, "reasons": item.reasons}
                return self._blocks.closed() + _part("data-rejected", data=told)
        return ""

    def _chunk(self, chunk: Chunk) -> str:
        self._usage = chunk.usage or self._usage
        parts = self._delta("thinking", chunk.thinking) + self._delta("text", chunk.text)
        return parts + "".join(map(self._tool_call, chunk.tool_calls))

    def _delta(self, kind: Kind, text: str) -> str:
        if not text:
            return ""
        opened = self._step() + self._blocks.opened(kind)
        return opened + _part(f"{_PART[kind]}-delta", id=self._blocks.id, delta=text)

    def _tool_call(self, call: ToolCall) -> str:
        own = {"toolCallId": self._calls.called(call.name, call.id), "toolName": call.name}
        begun = self._step() + self._blocks.closed() + _part("tool-input-start", **own)
        return begun + _part("tool-input-available", **own, input=call.arguments)

    def _tool_result(self, event: ToolReturned) -> str:
        call_id = self._calls.returned(event.name, event.call_id)
        if call_id is None:  # the client would refuse a result without its call
            return ""
        self._has_result = True
        return _part("tool-output-available", toolCallId=call_id, output=event.content)

    def _step(self) -> str:
        """The text between two steps, where a tool has returned."""
        if not self._has_result:
            return ""
        self._has_result = False
        return self._blocks.closed() + _part("finish-step") + _part("start-step")

    def completed(self) -> str:
        usage = self._usage
        told = "" if usage is None else _metadata(usage)
        return self._blocks.closed() + told + _part("finish-step") + _part("finish") + _DONE

    def failed(self, error: Exception, /) -> str:
        if isinstance(error, GenerationCancelledError):
            return self._blocks.closed() + _part("abort") + _DONE
        return self._blocks.closed() + _part("error", errorText=error_words(error)[1]) + _DONE

    def _opening(self, kind: Kind, block: str) -> str:
        return _part(f"{_PART[kind]}-start", id=block)

    def _closing(self, kind: Kind, block: str) -> str:
        return _part(f"{_PART[kind]}-end", id=block)


_DONE = "data: [DONE]\n\n"


def _metadata(usage: Usage) -> str:
    return _part("message-metadata", messageMetadata={"usage": msgspec.to_builtins(usage)})


def ui_message_stream(
    source: Source, *, message_id: str | None = None, keep_alive: float | None = KEEP_ALIVE
) -> ByteStream:
    """An answer as a UI message stream, which `useChat` of Vercel's AI SDK reads.

    Text, reasoning, tool calls with their results and errors are its own parts; text that is void
    and attempts that were rejected are the data parts `data-retracted` and `data-rejected`; usage
    is the message's metadata.

    Example:
        >>> import asyncio, reactivex as rx
        >>> async def main():
        ...     async for data in ui_message_stream(rx.of("Hi"), message_id="m1"):
        ...         print(data.decode().splitlines()[0])
        >>> asyncio.run(main())
        data: {"type":"start","messageId":"m1"}

    Args:
        source: A thunk, or an Observable of chunks or texts.
        message_id: The id of the message; a new one by default.
        keep_alive: Seconds of silence after which a comment is sent; None for never.

    Returns:
        The bytes, as an async iterator that ends the thunk's request when it is left. Its `headers`
        have those of the protocol.

    Raises:
        InvalidInputError: `source` is something else, or `keep_alive` is no number above 0.

    Source: https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol
    """
    return ByteStream(
        source,
        UiMessageEncoder(message_id or f"msg-{uuid.uuid4().hex}"),
        content_type="text/event-stream",
        headers={"x-vercel-ai-ui-message-stream": "v1"},
        keep_alive=keep_alive,
        idle=b": keep-alive\n\n",
    )
