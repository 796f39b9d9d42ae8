"""A completion of LiteLLM, from a server that speaks as OpenAI does."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.clients.request import MESSAGES
from benchmarks.work import Answers, each

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else its import asks the network

from litellm import acompletion


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Answers]:
    """`acompletion`, streamed; as it is by default."""

    async def ask(model: str, pieces: list[str]) -> None:
        stream = await acompletion(
            model=f"openai/{model}",
            messages=MESSAGES,
            stream=True,
            api_base=f"{url}/v1",
            api_key="none",
        )
        async for chunk in stream:
            pieces.append(chunk.choices[0].delta.content or "")

    yield each(ask)
