"""OpenAI's own client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from openai import AsyncOpenAI

from benchmarks.clients.request import MESSAGES
from benchmarks.work import Answers, each


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Answers]:
    """A chat completion, streamed; the client as it is by default."""
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as openai:

        async def ask(model: str, pieces: list[str]) -> None:
            stream = await openai.chat.completions.create(
                model=model, messages=MESSAGES, stream=True
            )
            async for chunk in stream:
                pieces.append(chunk.choices[0].delta.content or "")

        yield each(ask)
