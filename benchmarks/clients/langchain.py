"""LangChain's chat model for Ollama."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from langchain_ollama import ChatOllama

from benchmarks.work import Answers, each


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Answers]:
    """`astream` of a chat model, as it is by default."""

    @functools.cache
    def chat(model: str) -> ChatOllama:
        return ChatOllama(model=model, base_url=url)

    async def ask(model: str, pieces: list[str]) -> None:
        async for chunk in chat(model).astream("x"):
            pieces.append(str(chunk.content))

    yield each(ask)
