"""What every backend's stream promises: cold, one terminal, an end that ends."""

from __future__ import annotations

import asyncio
import threading

import pytest
from reactivex import Observable

from mellea_rx import (
    Chunk,
    FirstTokenTimeoutError,
    GenerationFailedError,
    IdleTimeoutError,
    MelleaRxError,
    MelleaSession,
    ModelOption,
)
from mellea_rx.backends import Backend
from tests.conformance.benches import CHUNKS, Bench, request
from tests.core.hand import PATIENCE, STREAM, Recorder, soon, until, until_blocking


def recorded(backend: Backend, count: int = 1, **options: object) -> list[Recorder]:
    """So many subscriptions to one stream, all to their end."""
    stream = backend.stream(request(**options))
    recorders = [Recorder() for _ in range(count)]
    for recorder in recorders:
        recorder.to(stream)
    for recorder in recorders:
        assert recorder.ended.wait(30)
    return recorders


def test_it_is_a_backend(bench: Bench) -> None:
    backend = bench.answering()
    assert isinstance(backend, Backend)
    assert isinstance(backend.stream(request()), Observable)
    assert backend.name


def test_nothing_is_asked_before_somebody_subscribes(bench: Bench) -> None:
    bench.answering().stream(request())
    assert bench.running() == 0
    assert bench.asked() in (0, -1)


def test_it_is_cold_two_subscriptions_are_two_requests(bench: Bench) -> None:
    recorders = recorded(bench.answering(), 2, **bench.limit)
    for recorder in recorders:
        assert recorder.terminals == ["completed"]
        assert recorder.chunks[-1].usage is not None
        assert recorder.text
    assert bench.asked() in (2, -1)


def test_text_comes_as_chunks_one_after_another(bench: Bench) -> None:
    (recorder,) = recorded(bench.answering(), **bench.limit)
    assert all(isinstance(chunk, Chunk) for chunk in recorder.chunks)
    assert sum(bool(chunk.text) for chunk in recorder.chunks) > 1
    assert bench.speaks in (recorder.text, None)


def test_it_comes_on_one_thread_which_is_not_the_subscribers(bench: Bench) -> None:
    (recorder,) = recorded(bench.answering(), **bench.limit)
    assert len(recorder.threads) == 1
    assert threading.current_thread().name not in recorder.threads


def test_the_last_chunk_says_why_it_ended_what_it_cost_and_who_spoke(bench: Bench) -> None:
    backend = bench.answering()
    (recorder,) = recorded(backend, **bench.limit)
    last = recorder.chunks[-1]
    assert last.finish_reason in ("stop", "length")
    assert last.usage is not None
    assert last.usage.completion_tokens > 0
    assert last.model == backend.model  # type: ignore[attr-defined]
    assert [chunk.finish_reason for chunk in recorder.chunks[:-1]] == [None] * (
        len(recorder.chunks) - 1
    )


def test_disposing_ends_the_request(bench: Bench) -> None:
    recorder = Recorder()
    subscription = recorder.to(bench.endless().stream(request()))
    until_blocking(lambda: recorder.text)
    subscription.dispose()
    until_blocking(lambda: bench.running() == 0)
    had = len(recorder.chunks)
    assert recorder.terminals == []
    recorded(bench.answering(), **bench.limit)
    assert len(recorder.chunks) == had


def test_disposing_at_once_or_twice_or_late_is_fine(bench: Bench) -> None:
    stream = bench.answering().stream(request(**bench.limit))
    for _ in range(10):
        subscription = Recorder().to(stream)
        subscription.dispose()
        subscription.dispose()
    late = Recorder()
    subscription = late.to(stream)
    assert late.ended.wait(PATIENCE)
    subscription.dispose()
    assert late.terminals == ["completed"]
    until_blocking(lambda: bench.running() == 0)


def test_four_at_once(bench: Bench) -> None:
    async def main() -> None:
        backend = bench.endless()
        m = MelleaSession(backend)
        thunks = [await m.ainstruct(f"{n}", model_options=STREAM) for n in range(4)]
        await until(lambda: all(thunk.text for thunk in thunks), 20)
        assert not any(thunk.is_computed() for thunk in thunks)
        for thunk in thunks:
            thunk.cancel()
        await until(lambda: bench.running() == 0)

    asyncio.run(main())


def test_many_more_than_run_at_once_all_complete(bench: Bench) -> None:
    recorders = recorded(bench.answering(), 16, **bench.limit)
    assert [recorder.terminals for recorder in recorders] == [["completed"]] * 16


@pytest.mark.parametrize("after", [0, 2])
def test_a_failure_is_typed_and_keeps_the_chunks_before_it(bench: Bench, after: int) -> None:
    backend = bench.failing(after)
    if backend is None:
        return
    (recorder,) = recorded(backend)
    assert recorder.terminals == ["error"]
    assert recorder.text == "".join(CHUNKS[:after])
    assert isinstance(recorder.error, GenerationFailedError)
    assert "the model crashed" in str(recorder.error)


@pytest.mark.parametrize(("after", "kind"), [(0, FirstTokenTimeoutError), (2, IdleTimeoutError)])
def test_silence_is_a_timeout_of_its_own_kind(
    bench: Bench, after: int, kind: type[MelleaRxError]
) -> None:
    backend = bench.stalling(after)
    if backend is None:
        return
    (recorder,) = recorded(backend, STREAM_TIMEOUT=0.2)
    assert recorder.terminals == ["error"]
    assert type(recorder.error) is kind
    assert "STREAM_TIMEOUT" in str(recorder.error)
    assert recorder.text == "".join(CHUNKS[:after])
    until_blocking(lambda: bench.running() == 0)


def test_a_timeout_is_for_silence_not_for_the_whole(bench: Bench) -> None:
    async def main() -> None:
        m = MelleaSession(bench.endless())
        options = {ModelOption.STREAM: True, ModelOption.STREAM_TIMEOUT: 0.5}
        thunk = await m.ainstruct("Go.", model_options=options)
        await until(lambda: thunk.duration > 0.7 and thunk.text, 20)
        assert thunk.error is None
        thunk.cancel()

    asyncio.run(main())


def test_text_before_a_failure_stays_on_thunk_and_error(bench: Bench) -> None:
    backend = bench.failing(2)
    if backend is None:
        return

    async def main() -> None:
        thunk = await MelleaSession(backend).ainstruct("Go.")
        with pytest.raises(GenerationFailedError) as caught:
            await soon(thunk.avalue())
        assert caught.value.text == thunk.text == "".join(CHUNKS[:2])

    asyncio.run(main())


def test_closing_is_idempotent_and_a_later_request_opens_again(bench: Bench) -> None:
    backend = bench.answering()
    for _ in range(3):
        (recorder,) = recorded(backend, **bench.limit)
        assert recorder.terminals == ["completed"]
        backend.close()
        backend.close()


def test_it_lists_its_models(bench: Bench) -> None:
    backend = bench.answering()
    assert backend.model in asyncio.run(backend.models())  # type: ignore[attr-defined]


def test_a_session_on_it_works_sync_and_async(bench: Bench) -> None:
    limit = {ModelOption[name]: value for name, value in bench.limit.items()}
    m = MelleaSession(bench.answering(), model_options=limit)
    thunk = m.instruct("Go.")
    assert bench.speaks in (thunk.value, None)
    assert thunk.ttft is not None
    assert thunk.finish_reason in ("stop", "length")

    async def main() -> None:
        mot = await m.ainstruct("Go.", model_options=STREAM)
        assert not mot.is_computed()
        pieces = [piece async for piece in mot.astream()]
        assert "".join(pieces) == mot.value
        assert mot.value

    asyncio.run(main())
