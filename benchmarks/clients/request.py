"""The requests of clients that speak HTTP themselves."""

from __future__ import annotations

from typing import Any

MESSAGES = [{"role": "user", "content": "x"}]


def body(model: str) -> dict[str, Any]:
    """A chat request, as both wires take it."""
    return {"model": model, "messages": MESSAGES, "stream": True}
