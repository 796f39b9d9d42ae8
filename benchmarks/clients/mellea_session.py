"""A session of Mellea, whose thunks are read with its `astream()`."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from mellea import MelleaSession
from mellea.backends import ModelOption
from mellea.backends.ollama import OllamaModelBackend
from mellea.backends.openai import OpenAIBackend
from mellea.stdlib.context import SimpleContext

from benchmarks.work import Answers, each


def _answers(session: Callable[[str], MelleaSession]) -> Answers:
    async def ask(model: str, pieces: list[str]) -> None:
        # Without a strategy: with one it streams nothing.
        thunk = await session(model).ainstruct(
            "x", strategy=None, model_options={ModelOption.STREAM: True}
        )
        while not thunk.is_computed():
            pieces.append(await thunk.astream())

    return each(ask)


@asynccontextmanager
async def ollama(url: str) -> AsyncIterator[Answers]:
    """Its Ollama backend."""

    @functools.cache
    def session(model: str) -> MelleaSession:
        return MelleaSession(OllamaModelBackend(model, base_url=url), SimpleContext())

    yield _answers(session)


@asynccontextmanager
async def openai(url: str) -> AsyncIterator[Answers]:
    """Its OpenAI backend."""

    @functools.cache
    def session(model: str) -> MelleaSession:
        backend = OpenAIBackend(model, base_url=f"{url}/v1", api_key="none")
        return MelleaSession(backend, SimpleContext())

    yield _answers(session)
