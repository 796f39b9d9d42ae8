"""The loops that one would write with aiohttp."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from benchmarks.clients.request import body
from benchmarks.work import Answers, Ask, at_a_time, each


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    )


@asynccontextmanager
async def ndjson(url: str) -> AsyncIterator[Answers]:
    """Ollama's lines."""
    async with _session() as session:
        yield each(_lines(session, url))


@asynccontextmanager
async def fifty(url: str) -> AsyncIterator[Answers]:
    """Ollama's lines, of fifty calls at a time."""
    async with _session() as session:
        yield at_a_time(_lines(session, url))


def _lines(session: aiohttp.ClientSession, url: str) -> Ask:
    async def ask(model: str, pieces: list[str]) -> None:
        async with session.post(f"{url}/api/chat", json=body(model)) as response:
            async for line in response.content:
                data = json.loads(line)
                pieces.append(data["message"]["content"])

    return ask


@asynccontextmanager
async def sse(url: str) -> AsyncIterator[Answers]:
    """OpenAI's events."""
    async with _session() as session:

        async def ask(model: str, pieces: list[str]) -> None:
            async with session.post(f"{url}/v1/chat/completions", json=body(model)) as response:
                async for line in response.content:
                    if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                        continue
                    delta = json.loads(line[6:])["choices"][0]["delta"]
                    if "content" in delta:
                        pieces.append(delta["content"])

        yield each(ask)
