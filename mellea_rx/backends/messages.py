"""Encodes the messages of a conversation for each server's protocol. Used by the dialects."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec

from mellea_rx.core.json_value import well_formed
from mellea_rx.core.request import WireMessage

__all__ = ["for_ollama", "for_openai"]


def for_ollama(message: WireMessage) -> dict[str, Any]:
    """A message in Ollama's format: images as plain base64, arguments as an object."""
    body: dict[str, Any] = {"role": message.role, "content": well_formed(message.content)}
    if message.images:
        body["images"] = [b64encode(image.data).decode() for image in message.images]
    if message.tool_calls:
        body["tool_calls"] = [
            {"function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.role == "tool" and message.tool_name:
        body["tool_name"] = message.tool_name
    return body


def for_openai(message: WireMessage) -> dict[str, Any]:
    """A message in OpenAI's format: images as content parts, arguments as a JSON string."""
    content = well_formed(message.content)
    body: dict[str, Any] = {"role": message.role, "content": content}
    if message.images:
        text = [{"type": "text", "text": content}] if content else []
        pictures = [
            {"type": "image_url", "image_url": {"url": image.address}} for image in message.images
        ]
        body["content"] = [*text, *pictures]
    if message.tool_calls:
        body["content"] = body["content"] or None
        body["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": msgspec.json.encode(call.arguments).decode(),
                },
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        body["tool_call_id"] = message.tool_call_id
    return body
