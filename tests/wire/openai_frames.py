"""Frames of OpenAI's protocol, as servers send them."""

from __future__ import annotations

import json
from typing import Any

from mellea_rx.backends.openai_stream import OpenAIDecoder

DONE = b"data: [DONE]\n\n"


def event(body: Any) -> bytes:
    """An event with this JSON."""
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def delta(delta: Any = None, reason: str | None = None, **more: Any) -> bytes:
    """An event with one choice, which has this delta."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": reason}
    head = {"id": "c", "object": "chat.completion.chunk", "model": "m"}
    return event({**head, "choices": [choice], **more})


def said(text: str) -> bytes:
    """An event with this text."""
    return delta({"content": text})


def call(index: int | None = 0, id: str | None = None, **function: str) -> bytes:
    """An event with a piece of a tool call; arguments that are None are left out."""
    part: dict[str, Any] = {"function": function}
    if index is not None:
        part["index"] = index
    if id is not None:
        part["id"] = id
    return delta({"tool_calls": [part]})


STOP = delta(reason="stop")
USAGE = event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}})
END = STOP + USAGE + DONE
CALLED = delta(reason="tool_calls") + DONE


def decoder() -> OpenAIDecoder:
    """A decoder for one answer."""
    return OpenAIDecoder("http://server")
