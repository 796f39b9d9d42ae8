"""Typed use of combinators, bridges and cold calls: checked by mypy and pyright, never run."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any, assert_type

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops

from mellea_rx import Chunk, MelleaSession, ModelOutputThunk
from mellea_rx.core.streams.cold_call import ColdCall
from mellea_rx.operators import (
    Generated,
    Outcome,
    Started,
    Tagged,
    as_completed,
    by_sentence,
    combine_latest,
    concat,
    fallback,
    from_async_iterable,
    from_future,
    gather,
    hedge,
    map_async,
    map_generate,
    map_thunks,
    merge,
    race,
    to_async_iterator,
    to_iterator,
    to_thunk,
    zip,
)
from mellea_rx.stdlib.components import Template
from mellea_rx.stdlib.session.cold import ColdVerbs

Thunk = ModelOutputThunk[str]


@dataclass(frozen=True)
class Count:
    """A component whose answer stands for an int."""

    def template(self) -> Template:
        return Template("How many?")

    def parse(self, text: str) -> int:
        return int(text)


def over_thunks(a: Thunk, b: Thunk) -> None:
    assert_type(merge(a, b), Observable[Tagged[Thunk]])
    assert_type(concat(a, b), Observable[Tagged[Thunk]])
    assert_type(merge(a, b, max_concurrent=2), Observable[Tagged[Thunk]])
    assert_type(as_completed(a, b), Observable[Outcome[Thunk]])
    assert_type(gather(a, b), Observable[tuple[Outcome[Thunk], ...]])
    assert_type(zip(a, b), Observable[tuple[str, ...]])
    assert_type(combine_latest(a, b), Observable[tuple[str, ...]])
    assert_type(race(a, b, accept=str.isdigit), Observable[Outcome[Thunk]])
    assert_type(hedge(a, b, after=2), Observable[Tagged[Thunk]])
    assert_type(fallback(a, b, on=TimeoutError, after_text="hold"), Observable[Tagged[Thunk]])
    assert_type(merge(a, b).pipe(by_sentence()), Observable[str])


def items(tagged: Tagged[Thunk], outcome: Outcome[Thunk]) -> None:
    assert_type(tagged.index, int)
    assert_type(tagged.source, Thunk)
    assert_type(tagged.chunk, Chunk)
    assert_type(outcome.source, Thunk | None)
    assert_type(outcome.value, str)
    assert_type(outcome.error, Exception | None)


async def over_coroutines(m: MelleaSession) -> None:
    assert_type(merge(m.ainstruct("a"), m.achat("b")), Observable[Tagged[Thunk]])
    assert_type(merge(asyncio.ensure_future(m.ainstruct("a"))), Observable[Tagged[Thunk]])
    assert_type(await zip(m.ainstruct("a"), m.ainstruct("b")), tuple[str, ...])
    outcomes = await gather(m.ainstruct("a"), m.ainstruct("b"))
    assert_type(outcomes, tuple[Outcome[Thunk], ...])
    # Of several kinds at once:
    mixed = merge(m.ainstruct("a"), m.cold.instruct("b"), rx.of("c"))
    async for item in to_async_iterator(mixed):
        assert_type(item.index, int)
        assert_type(str(item), str)


def cold_calls(m: MelleaSession) -> None:
    assert_type(m.cold, ColdVerbs)
    assert_type(m.cold.instruct("Go.", requirements=["brief"]), ColdCall[str])
    assert_type(m.cold.chat("Hi."), ColdCall[str])
    assert_type(m.cold.query([1], "What?"), ColdCall[str])
    assert_type(m.cold.transform({"a": 1}, "Shorter."), ColdCall[Any])
    assert_type(m.cold.act(Count()), ColdCall[int])
    assert_type(m.cold.act(Count()).start(), ModelOutputThunk[int])
    assert_type(m.cold.instruct("Go.").pipe(ops.retry(2)), Observable[Chunk])
    takes_any_observable(m.cold.chat("Hi."))
    m.cold.instruct(5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    m.cold.chat()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


def takes_any_observable(source: Observable[Chunk]) -> None: ...


async def bridges(source: Observable[int], thunk: ModelOutputThunk[int]) -> None:
    async for number in to_async_iterator(source, overflow="drop_oldest", maxsize=3):
        assert_type(number, int)
    async with to_async_iterator(source) as numbers:
        assert_type(await anext(numbers), int)
    for each in to_iterator(source):
        assert_type(each, int)
    with to_iterator(source) as blocking:
        assert_type(next(blocking), int)
    assert_type(to_thunk(thunk), ModelOutputThunk[int])
    assert_type(to_thunk(merge(thunk)), ModelOutputThunk[Any])
    future: concurrent.futures.Future[int] = concurrent.futures.Future()
    assert_type(from_future(future), Observable[int])
    assert_type(from_future(asyncio.ensure_future(numbered())), Observable[int])
    assert_type(from_async_iterable(words()), Observable[str])
    to_async_iterator(source, overflow="wait")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def numbered() -> int:
    return 1


async def words() -> AsyncIterator[str]:
    yield "a"


async def length(text: str) -> int:
    return len(text)


def mapped(m: MelleaSession, texts: Iterable[str]) -> None:
    assert_type(map_async(length, max_concurrent=2)(texts), Observable[int])
    assert_type(map_async(len_of, max_concurrent=2, ordered=False)(words()), Observable[int])
    assert_type(rx.of("a").pipe(map_async(length, max_concurrent=2)), Observable[int])
    rows = [{"city": "Oslo"}]
    cities = map_generate(m, "In {{ city }}.", max_concurrent=4, per_second=2)(rows)
    assert_type(cities, Observable[Generated[dict[str, str]]])
    assert_type(map_generate(m, "In {{ city }}.")(rows), Observable[Generated[dict[str, str]]])
    asked: Callable[[str], Any] = m.ainstruct
    map_generate(asked, max_concurrent=4)(texts).subscribe(generated)
    assert_type(map_thunks(ask, max_concurrent=1)(texts), Observable[Started[str]])
    assert_type(map_generate(ask, emit="started")(texts), Observable[Started[str]])
    assert_type(map_generate(ask, emit="generated")(texts), Observable[Generated[str]])
    lengths = map_async(lambda text: len(text) + 1, max_concurrent=2)(texts)
    lengths.subscribe(print)
    told = map_generate(lambda city: m.ainstruct(city), max_concurrent=4)(texts)
    assert_type(told, Observable[Generated[str]])
    telling = map_generate(lambda city: m.ainstruct(city), emit="started")(texts)
    assert_type(telling, Observable[Started[str]])
    assert_type(map_thunks(lambda city: m.ainstruct(city))(texts), Observable[Started[str]])
    running = map_generate(m, "In {{ city }}.", emit="started")(rows)
    assert_type(running, Observable[Started[dict[str, str]]])
    map_generate(ask, emit="thunks")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def ask(text: str) -> ColdCall[str]:
    raise NotImplementedError


def generated(item: Generated[str]) -> None:
    assert_type(item.input, str)
    assert_type(item.thunk, ModelOutputThunk[Any])
    assert_type(item.value, str)


def len_of(text: str) -> int:
    return len(text)
