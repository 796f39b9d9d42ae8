"""A session's thunks, in the ways that one reads them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops

from benchmarks.work import AT_A_TIME, Answers, each
from mellea_rx import Chunk, MelleaSession, ModelOption, ModelOutputThunk, start_session
from mellea_rx.operators import map_generate, merge, to_async_iterator
from mellea_rx.stdlib.requirements import check

Start = Callable[[str], Awaitable[ModelOutputThunk[str]]]
"""Starts a call to a model."""


def _sessions(backend: str, url: str) -> Callable[[str], MelleaSession]:
    @functools.cache
    def session(model: str) -> MelleaSession:
        key: dict[str, Any] = {"api_key": "none"} if backend == "openai" else {}
        return start_session(backend, model_id=model, base_url=url, **key)

    return session


def _starter(backend: str, url: str) -> Start:
    session = _sessions(backend, url)

    async def start(model: str) -> ModelOutputThunk[str]:
        return await session(model).ainstruct("x", model_options={ModelOption.STREAM: True})

    return start


def _by_astream(start: Start) -> Answers:
    async def ask(model: str, pieces: list[str]) -> None:
        async for piece in (await start(model)).astream():
            pieces.append(piece)

    return each(ask)


@asynccontextmanager
async def checked(url: str) -> AsyncIterator[Answers]:
    """The text of a call whose words are validated while it streams."""
    session = _sessions("ollama", url)
    fine = check("any word", stream_validate=lambda word: bool(word), unit="word")

    async def start(model: str) -> ModelOutputThunk[str]:
        return await session(model).ainstruct(
            "x", requirements=[fine], release="validated", stream=True
        )

    yield _by_astream(start)


@asynccontextmanager
async def default(url: str) -> AsyncIterator[Answers]:
    """A call without any option, and its value: what most programs write."""
    session = _sessions("ollama", url)

    async def ask(model: str, pieces: list[str]) -> None:
        pieces.append(await (await session(model).ainstruct("x")).avalue())

    yield each(ask)


@asynccontextmanager
async def mixed(url: str) -> AsyncIterator[Answers]:
    """Paced answers by `astream()`, and others by a call without any option."""
    async with astream(url) as streamed, default(url) as short:

        async def answers(model: str, into: Sequence[list[str]]) -> None:
            await (streamed if model.startswith("paced") else short)(model, into)

        yield answers


@asynccontextmanager
async def sync(url: str) -> AsyncIterator[Answers]:
    """The verb that waits."""
    session = _sessions("ollama", url)

    async def ask(model: str, pieces: list[str]) -> None:
        pieces.append(str(session(model).instruct("x")))

    yield each(ask)


@asynccontextmanager
async def mapped(url: str) -> AsyncIterator[Answers]:
    """A call for each row of a list, fifty at a time."""
    session = _sessions("ollama", url)

    async def answers(model: str, into: Sequence[list[str]]) -> None:
        rows = [{"row": index} for index in range(len(into))]
        calls = map_generate(session(model), "x {{row}}", max_concurrent=AT_A_TIME)
        results = rx.from_iterable(rows).pipe(calls)
        index = 0
        async for text in to_async_iterator(results):
            into[index].append(str(text))
            index += 1

    yield answers


@asynccontextmanager
async def astream(url: str) -> AsyncIterator[Answers]:
    """Each read with `astream()`, from Ollama's lines."""
    yield _by_astream(_starter("ollama", url))


@asynccontextmanager
async def astream_sse(url: str) -> AsyncIterator[Answers]:
    """Each read with `astream()`, from OpenAI's events."""
    yield _by_astream(_starter("openai", f"{url}/v1"))


@asynccontextmanager
async def avalue(url: str) -> AsyncIterator[Answers]:
    """The whole of each, awaited."""
    start = _starter("ollama", url)

    async def ask(model: str, pieces: list[str]) -> None:
        pieces.append(await (await start(model)).avalue())

    yield each(ask)


def _three_operators(thunk: ModelOutputThunk[str]) -> Observable[str]:
    def goes_on(text: str) -> bool:
        return "STOP" not in text

    text_of: Callable[[Chunk], str] = str
    has_text: Callable[[str], bool] = bool
    return thunk.pipe(ops.map(text_of), ops.filter(has_text), ops.take_while(goes_on))


async def _ended(source: Observable[Any], take: Callable[[Any], None]) -> None:
    end = asyncio.get_running_loop().create_future()
    source.subscribe(take, end.set_exception, lambda: end.set_result(None))
    await end


@asynccontextmanager
async def chain(url: str) -> AsyncIterator[Answers]:
    """Each subscribed to through three operators of RxPY."""
    start = _starter("ollama", url)

    async def ask(model: str, pieces: list[str]) -> None:
        await _ended(_three_operators(await start(model)), pieces.append)

    yield each(ask)


@asynccontextmanager
async def merged(url: str) -> AsyncIterator[Answers]:
    """All as one stream."""
    start = _starter("ollama", url)

    async def answers(model: str, into: Sequence[list[str]]) -> None:
        thunks = [await start(model) for _ in into]
        await _ended(merge(*thunks), lambda item: into[item.index].append(item.chunk.text))

    yield answers


@asynccontextmanager
async def merged_chains(url: str) -> AsyncIterator[Answers]:
    """Each through three operators, and all of that as one stream."""
    start = _starter("ollama", url)

    async def answers(model: str, into: Sequence[list[str]]) -> None:
        chains = [_three_operators(await start(model)) for _ in into]
        await _ended(merge(*chains), lambda item: into[item.index].append(item.chunk.text))

    yield answers
