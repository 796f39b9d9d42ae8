"""Typed use of thunks: checked by mypy --strict and pyright, never run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_type

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops

from mellea_rx import (
    Chunk,
    ComputedThunk,
    MelleaRxError,
    MelleaSession,
    ModelOption,
    ModelOutputThunk,
    ThunkStream,
    ToolCall,
    Usage,
    start_session,
    wait_for_all_mots,
)
from mellea_rx.stdlib.sampling import SamplingResult


async def reading(mot: ModelOutputThunk[str]) -> None:
    assert_type(await mot.avalue(), str)
    assert_type(await mot, str)
    assert_type(mot.astream(), ThunkStream)
    assert_type(await mot.astream(), str)
    async for piece in mot.astream():
        assert_type(piece, str)
    async with mot.astream() as reader:
        assert_type(await anext(reader), str)
    async with mot as same:
        assert_type(same, ModelOutputThunk[str])
    assert_type(mot.stream(), Iterator[str])
    assert_type(mot.wait(1.5), ComputedThunk[str])
    assert_type(str(mot), str)


def state(mot: ModelOutputThunk[str]) -> None:
    assert_type(mot.is_computed(), bool)
    assert_type(mot.value, str | None)
    assert_type(mot.text, str)
    assert_type(mot.parsed, str | None)
    assert_type(mot.thinking, str)
    assert_type(mot.tool_calls, tuple[ToolCall, ...])
    assert_type(mot.usage, Usage | None)
    assert_type(mot.model, str | None)
    assert_type(mot.finish_reason, str | None)
    assert_type(mot.ttft, float | None)
    assert_type(mot.duration, float)
    assert_type(mot.error, MelleaRxError | None)
    assert_type(mot.cancelled, bool)


def operators(a: ModelOutputThunk[str], b: ModelOutputThunk[int]) -> None:
    takes_any_observable(a)
    assert_type(a.pipe(ops.map(str)), Observable[str])
    assert_type(a.pipe(ops.map(len_of), ops.sum()), Observable[float])
    assert_type(a.merge(a), Observable[Chunk])
    rx.merge(a, b).subscribe(print)
    a.subscribe(lambda chunk: print(chunk.text))


def takes_any_observable(source: Observable[Chunk]) -> None: ...


def len_of(chunk: Chunk) -> int:
    return len(chunk.text)


async def the_pages_snippets() -> None:
    m = start_session()
    assert_type(m, MelleaSession)
    mot = await m.ainstruct("A story.", model_options={ModelOption.STREAM: True})
    while not mot.is_computed():
        chunk = await mot.astream()
        print(chunk, end="", flush=True)
    thunks = [await m.ainstruct(f"A poem about {topic}.") for topic in ("mountains", "rivers")]
    await wait_for_all_mots(thunks)
    print([thunk.value for thunk in thunks])


async def no_check_is_needed_after_a_wait(mot: ModelOutputThunk[int], m: MelleaSession) -> None:
    assert_type(await mot.aparsed(), int)
    assert_type(mot.wait().value, str)
    assert_type(mot.wait().parsed, int)
    done = await wait_for_all_mots([mot, mot])
    assert_type(done, list[ComputedThunk[int]])
    assert_type(done[0].value.upper(), str)
    await wait_for_all_mots([mot, m.instruct("Go.")])
    assert_type(m.instruct("Go.").value.upper(), str)
    if isinstance(mot, ComputedThunk):
        assert_type(mot.value, str)


def what_sampling_did(mot: ModelOutputThunk[str]) -> None:
    assert_type(mot.sampling, SamplingResult | None)
    if mot.sampling is not None:
        assert_type(mot.sampling.attempts[0].text, str)
