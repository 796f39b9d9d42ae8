"""The loop that one would write with httpx."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from benchmarks.clients.request import body
from benchmarks.work import Answers, each


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Answers]:
    """Ollama's lines, without a limit on connections."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=None, limits=limits) as http:

        async def ask(model: str, pieces: list[str]) -> None:
            async with http.stream("POST", f"{url}/api/chat", json=body(model)) as response:
                async for line in response.aiter_lines():
                    pieces.append(json.loads(line)["message"]["content"])

        yield each(ask)
