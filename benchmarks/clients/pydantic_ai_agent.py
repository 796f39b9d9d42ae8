"""An agent of Pydantic AI, without tools."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from benchmarks.work import Answers, each


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Answers]:
    """Deltas of a streamed run, each as it comes."""
    provider = OpenAIProvider(base_url=f"{url}/v1", api_key="none")

    @functools.cache
    def agent(model: str) -> Agent[None, str]:
        return Agent(OpenAIChatModel(model, provider=provider))

    async def ask(model: str, pieces: list[str]) -> None:
        async with agent(model).run_stream("x") as result:
            async for text in result.stream_text(delta=True, debounce_by=None):
                pieces.append(text)

    yield each(ask)
