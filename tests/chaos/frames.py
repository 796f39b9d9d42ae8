"""Complete answers as bytes, for faults that the scripted server has no field for."""

from __future__ import annotations

import json
from typing import Any

TYPES = {"ollama": "application/x-ndjson", "openai": "text/event-stream"}


def said(wire: str, *texts: str) -> bytes:
    """The frames of these texts."""
    return b"".join(_text(wire, text) for text in texts)


def _text(wire: str, text: str) -> bytes:
    if wire == "ollama":
        return frame(wire, {"message": {"role": "assistant", "content": text}, "done": False})
    return frame(wire, {"choices": [{"index": 0, "delta": {"content": text}}]})


def frame(wire: str, body: Any) -> bytes:
    """One line, or event, with this JSON."""
    data = json.dumps(body, ensure_ascii=False).encode()
    return data + b"\n" if wire == "ollama" else b"data: " + data + b"\n\n"


def end(wire: str) -> bytes:
    """The frames that end an answer successfully."""
    if wire == "ollama":
        message = {"role": "assistant", "content": ""}
        return frame(wire, {"message": message, "done": True, "done_reason": "stop"})
    stop = frame(wire, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return stop + b"data: [DONE]\n\n"


def head(wire: str, *lines: str, status: str = "200 OK") -> bytes:
    """The head of a response with these lines."""
    told = [f"HTTP/1.1 {status}", f"Content-Type: {TYPES[wire]}", *lines, "", ""]
    return "\r\n".join(told).encode()


def chunked(*pieces: bytes) -> list[bytes]:
    """Pieces as HTTP chunks, without the terminating one."""
    return [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
