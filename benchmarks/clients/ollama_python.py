"""Ollama's own client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ollama import AsyncClient

from benchmarks.clients.request import MESSAGES
from benchmarks.work import Answers, each


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Answers]:
    """A chat, streamed; the client as it is by default."""
    ollama = AsyncClient(url)

    async def ask(model: str, pieces: list[str]) -> None:
        async for part in await ollama.chat(model, MESSAGES, stream=True):
            pieces.append(part.message.content or "")

    yield each(ask)
