"""Conversations as JSON, with messages in the form of OpenAI's API; `ChatContext` uses it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from mellea_rx.core.types.chunk import ToolCall
from mellea_rx.core.types.request import RequestMessage
from mellea_rx.errors import InvalidInputError

VERSION = 1
"""The version of the format; a later one is refused."""


def message_dict(message: RequestMessage) -> dict[str, Any]:
    """A message as OpenAI's API takes it. Pictures are `image_url` parts, of bytes `data:` URLs."""
    made: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.images:
        pictures = [
            {"type": "image_url", "image_url": {"url": image.address}} for image in message.images
        ]
        made["content"] = [{"type": "text", "text": message.content}, *pictures]
    if message.tool_calls:
        made["tool_calls"] = [_call_dict(call) for call in message.tool_calls]
    if message.tool_name:
        made["name"] = message.tool_name
    if message.tool_call_id:
        made["tool_call_id"] = message.tool_call_id
    return made


def _call_dict(call: ToolCall) -> dict[str, Any]:
    # Not msgspec: a model's text may hold half a surrogate pair, which only escapes can carry.
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return {"id": call.id, "type": "function", "function": function}


def conversation_json(messages: Iterable[RequestMessage], window_size: int | None) -> str:
    """A conversation as JSON, one message a line."""
    lines = ",\n".join(json.dumps(message_dict(each)) for each in messages)
    head = f'"version": {VERSION}, "window_size": {json.dumps(window_size)}'
    return f'{{{head}, "messages": [\n{lines}\n]}}\n'


def read_conversation(text: str) -> tuple[list[Any], int | None]:
    """The messages and the window size of a conversation as JSON.

    Raises:
        InvalidInputError: It is not JSON, not a conversation, or of a later version.
    """
    if not isinstance(text, (str, bytes)):
        raise InvalidInputError(f"from_json takes a text, not {type(text).__name__}")
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"the conversation is no JSON: {error}") from None
    if isinstance(read, list):  # messages alone, as other programs store them
        return read, None
    if not isinstance(read, dict) or not isinstance(read.get("messages"), list):
        raise InvalidInputError(
            "a conversation is a JSON object with a list of messages, or such a list; not "
            f"{text[:40]!r}"
        )
    version = read.get("version", VERSION)
    if isinstance(version, bool) or version not in range(1, VERSION + 1):
        raise InvalidInputError(
            f"the conversation has version {version!r:.40}, and this library reads {VERSION}: "
            "update mellea-rx"
        )
    return read["messages"], read.get("window_size")
