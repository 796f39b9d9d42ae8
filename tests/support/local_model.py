"""Asking the embedded model, and looking at the threads that it runs in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from mellea_rx import ModelOption, ModelOutputThunk
from mellea_rx.backends import Backend, Options, Request, RequestMessage
from mellea_rx.core.streams.chunk_source import drain

LONG = "Tell me all about the sea. " * 170  # 1,200 tokens
TOKENS, WARMTH = ModelOption.MAX_NEW_TOKENS, ModelOption.TEMPERATURE


def request_for(text: str, options: dict[Any, Any], **more: Any) -> Request:
    messages = (
        RequestMessage("system", "You are a helpful assistant."),
        RequestMessage("user", text),
    )
    return Request(messages, Options({WARMTH: 0, **options}), **more)


def ask(
    backend: Backend, text: str, options: dict[Any, Any] | None = None, **more: Any
) -> ModelOutputThunk[str]:
    request = request_for(text, options or {TOKENS: 8}, **more)
    return ModelOutputThunk(
        lambda g: drain(backend.stream(request), g.push, backend.name), live=True
    )


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(90):
            await main()

    asyncio.run(limited())


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - threads and memory have no event
        await asyncio.sleep(0.001)


def generating() -> int:
    return sum(thread.name == "mellea-rx-generation" for thread in threading.enumerate())
