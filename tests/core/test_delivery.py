"""The place and the time of calls to subscribers."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from reactivex import scheduler as rx_scheduler
from reactivex.scheduler import (
    CurrentThreadScheduler,
    EventLoopScheduler,
    ImmediateScheduler,
    NewThreadScheduler,
    ThreadPoolScheduler,
)
from reactivex.scheduler.eventloop import AsyncIOScheduler, AsyncIOThreadSafeScheduler

from mellea_rx import Chunk, GenerationFailedError, MelleaSession, ScriptedBackend
from mellea_rx.core.runtime.delivery import Dispatcher
from mellea_rx.core.streams.coroutine_source import AckChannel
from mellea_rx.core.streams.subscriptions import ObserverSubscription
from tests.core.hand import (
    PATIENCE,
    STREAM,
    Recorder,
    engine_has_told,
    soon,
    started,
    until,
    until_blocking,
)

WORDS = [f"{n} " for n in range(200)]


def test_on_a_running_loop_it_is_called_on_that_loop_in_order() -> None:
    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend(WORDS)).ainstruct("Go.", model_options=STREAM)
        recorder = Recorder()
        loops = set()
        thunk.subscribe(lambda _: loops.add(asyncio.get_running_loop()), lambda _: None)
        recorder.to(thunk)
        await until(lambda: recorder.terminals)
        assert recorder.text == "".join(WORDS)
        assert recorder.terminals == ["completed"]
        assert recorder.threads == {threading.current_thread().name}
        assert loops == {asyncio.get_running_loop()}

    asyncio.run(main())


def test_without_a_loop_it_is_called_on_the_delivery_thread() -> None:
    thunk = asyncio.run(
        MelleaSession(ScriptedBackend(WORDS)).ainstruct("Go.", model_options=STREAM)
    )
    recorder = Recorder()
    recorder.to(thunk)
    assert recorder.ended.wait(PATIENCE)
    assert recorder.text == "".join(WORDS)
    assert recorder.threads == {"mellea-rx-delivery"}


SCHEDULERS: dict[str, Any] = {
    "event loop": EventLoopScheduler,
    "new thread": NewThreadScheduler,
    "thread pool": lambda: ThreadPoolScheduler(4),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_with_a_scheduler_it_is_called_there_in_order_and_one_at_a_time(name: str) -> None:
    thunk, answer = started()
    made = SCHEDULERS[name]()
    recorder = Recorder()
    recorder.to(thunk, scheduler=made)
    answer.say(*WORDS)
    answer.end()
    assert recorder.ended.wait(PATIENCE)
    if isinstance(made, EventLoopScheduler):
        made.dispose()
    elif isinstance(made, ThreadPoolScheduler):
        made.executor.shutdown()
    assert recorder.text == "".join(WORDS)
    assert recorder.terminals == ["completed"]
    assert recorder.threads.isdisjoint({"MainThread", "mellea-rx-engine", "mellea-rx-delivery"})


@pytest.mark.parametrize("kind", [AsyncIOScheduler, AsyncIOThreadSafeScheduler])
def test_with_an_asyncio_scheduler_it_is_called_on_that_loop(kind: Any) -> None:
    async def main() -> None:
        here = asyncio.get_running_loop()
        thunk, answer = started()
        recorder = Recorder()
        await asyncio.to_thread(lambda: recorder.to(thunk, scheduler=kind(here)))
        answer.say(*WORDS)
        answer.end()
        await until(lambda: recorder.terminals)
        assert recorder.text == "".join(WORDS)
        assert recorder.threads == {threading.current_thread().name}

    asyncio.run(main())


@pytest.mark.parametrize(
    "scheduler",
    [ImmediateScheduler(), CurrentThreadScheduler(), rx_scheduler.TrampolineScheduler()],
    ids=["immediate", "current thread", "trampoline"],
)
def test_a_scheduler_that_would_run_it_on_the_engine_counts_as_none(scheduler: Any) -> None:
    thunk, answer = started()
    recorder = Recorder()
    recorder.to(thunk, scheduler=scheduler)
    answer.say("a")
    answer.end()
    assert recorder.ended.wait(PATIENCE)
    assert recorder.threads == {"mellea-rx-delivery"}


class HastyScheduler(NewThreadScheduler):
    """Its thread is done before the one that scheduled goes on."""

    def schedule(self, action: Any, state: Any = None) -> Any:
        thread = threading.Thread(target=lambda: action(self, state))
        thread.start()
        thread.join(PATIENCE)


def test_a_scheduler_whose_threads_are_quicker_than_the_engine_loses_nothing() -> None:
    thunk, answer = started()
    recorder = Recorder()
    recorder.to(thunk, scheduler=HastyScheduler())
    for word in WORDS[:20]:
        answer.say(word)
    answer.end()
    assert recorder.ended.wait(PATIENCE)
    assert recorder.text == "".join(WORDS[:20])
    assert recorder.terminals == ["completed"]


class HoldingLock:
    """A lock that keeps a thread for a while: the second one but the test's that lets go of it."""

    def __init__(self) -> None:
        self.holds, self.go_on = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._test = threading.current_thread()
        self._left = 0

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if threading.current_thread() is not self._test:
            self._left += 1
            if self._left == 2:
                self.holds.set()
                assert self.go_on.wait(PATIENCE)


def test_what_comes_before_an_idle_delivery_has_returned_is_delivered_by_another_thread() -> None:
    def in_new_thread(function: Any) -> None:
        threading.Thread(target=function).start()

    emitter: AckChannel[Chunk] = AckChannel()
    lock = HoldingLock()
    emitter.lock = lock  # type: ignore[assignment]
    recorder = Recorder()
    ObserverSubscription(emitter, recorder, Dispatcher(in_new_thread), emitter.buffer, keep=None)
    emitter.post(Chunk("a"))
    assert lock.holds.wait(PATIENCE)  # it found that nothing is left, and has said so
    emitter.post(Chunk("b"))
    emitter.end(None)
    assert recorder.ended.wait(PATIENCE)
    lock.go_on.set()
    assert recorder.texts == ["a", "b"]
    assert recorder.terminals == ["completed"]


def test_a_slow_subscriber_gets_what_came_meanwhile_as_one_chunk() -> None:
    thunk, answer = started()
    inside, go_on = threading.Event(), threading.Event()
    recorder = Recorder()

    def slow(chunk: Any) -> None:
        recorder.on_next(chunk)
        inside.set()
        assert go_on.wait(PATIENCE)

    thunk.subscribe(slow, recorder.on_error, recorder.on_completed)
    answer.say("a")
    assert inside.wait(PATIENCE)
    answer.say("b", "c", "d")
    until_blocking(lambda: thunk.text == "abcd")
    go_on.set()
    answer.end()
    assert recorder.ended.wait(PATIENCE)
    assert recorder.texts[:2] == ["a", "bcd"]


def test_a_slow_subscriber_on_many_threads_is_called_by_one_at_a_time() -> None:
    thunk, answer = started()
    inside, go_on = threading.Event(), threading.Event()
    slow, quick = Recorder(), Recorder()
    calls, at_once = [0], []

    def count(chunk: Any) -> None:
        calls[0] += 1
        at_once.append(calls[0])
        slow.on_next(chunk)
        inside.set()
        assert go_on.wait(PATIENCE)
        calls[0] -= 1

    where = NewThreadScheduler()
    thunk.subscribe(count, slow.on_error, slow.on_completed, scheduler=where)
    quick.to(thunk, scheduler=where)
    answer.say("a")
    assert inside.wait(PATIENCE)
    for piece in "bcd":
        answer.say(piece)
        until_blocking(lambda said=piece: quick.text.endswith(said))
    answer.end()
    assert quick.ended.wait(PATIENCE)
    assert slow.texts == ["a"]
    go_on.set()
    assert slow.ended.wait(PATIENCE)
    assert (slow.texts, at_once) == (["a", "bcd"], [1, 1])


def test_a_late_subscriber_gets_the_text_so_far_as_one_chunk_then_the_live_ones() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("Once ", "upon ")
        await until(lambda: thunk.text == "Once upon ")
        recorder = Recorder()
        recorder.to(thunk)
        await until(lambda: recorder.texts)
        assert recorder.texts == ["Once upon "]
        answer.say("a time")
        await until(lambda: len(recorder.texts) == 2)
        answer.end()
        await until(lambda: recorder.terminals)
        assert recorder.text == "Once upon a time"

    asyncio.run(main())


def test_the_size_of_a_calls_arguments_is_that_of_all_its_pieces() -> None:
    thunk, answer = started()
    answer.say(*(Chunk(arguments_size=size) for size in (6, 2, 5)), "a").end()
    assert str(thunk) == "a"
    recorder = Recorder()
    recorder.to(thunk)
    assert recorder.ended.wait(PATIENCE)
    assert recorder.chunks == [Chunk("a", arguments_size=13)]


@pytest.mark.parametrize("options", [{}, STREAM])
def test_after_the_end_a_subscriber_gets_the_whole_as_one_chunk_each_time(
    options: dict[Any, bool],
) -> None:
    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend("a b c")).ainstruct(
            "Go.", model_options=options
        )
        await thunk.avalue()
        for _ in range(2):
            recorder = Recorder()
            recorder.to(thunk)
            await until(lambda seen=recorder: seen.terminals)
            assert recorder.texts == ["a b c"]
            assert recorder.chunks[0].finish_reason == "stop"
            assert recorder.terminals == ["completed"]

    asyncio.run(main())


def test_without_stream_a_subscriber_gets_the_whole_once_at_the_end() -> None:
    async def main() -> None:
        thunk, answer = started(stream=False)
        recorder = Recorder()
        recorder.to(thunk)
        answer.say("a", "b")
        await until(lambda: thunk.text == "ab")
        assert recorder.texts == []
        answer.end()
        await until(lambda: recorder.terminals)
        assert recorder.texts == ["ab"]

    asyncio.run(main())


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("texts", [[], ["half"]])
def test_of_a_failure_a_subscriber_gets_what_there_is_and_no_empty_chunk(
    stream: bool, texts: list[str]
) -> None:
    async def main() -> None:
        thunk, answer = started(stream=stream)
        early, late = Recorder(), Recorder()
        early.to(thunk)
        answer.say(*texts).fail(GenerationFailedError("crashed"))
        await until(lambda: early.terminals)
        late.to(thunk)
        await until(lambda: late.terminals)
        assert early.texts == late.texts == texts
        assert early.terminals == late.terminals == ["error"]

    asyncio.run(main())


def test_a_complete_answer_without_text_is_one_chunk_that_says_so() -> None:
    async def main() -> None:
        thunk, answer = started(stream=False)
        early, late = Recorder(), Recorder()
        early.to(thunk)
        answer.end()
        await until(lambda: early.terminals)
        late.to(thunk)
        await until(lambda: late.terminals)
        assert early.chunks == late.chunks == [Chunk()]

    asyncio.run(main())


def test_nothing_comes_after_dispose_on_the_same_thread() -> None:
    async def main() -> None:
        thunk, answer = started()
        recorder = Recorder()
        subscription = recorder.to(thunk)
        answer.say("a")
        await until(lambda: recorder.texts)
        answer.say("b")
        await until(lambda: thunk.text == "ab")
        had = list(recorder.texts)
        subscription.dispose()
        subscription.dispose()
        answer.say("c")
        answer.end()
        await soon(thunk.avalue())
        await asyncio.sleep(0)
        assert recorder.texts == had
        assert recorder.terminals == []

    asyncio.run(main())


def test_an_end_that_was_on_its_way_at_dispose_is_taken_by_nobody() -> None:
    async def main() -> None:
        thunk, answer = started()
        recorder = Recorder()
        subscription = recorder.to(thunk)
        answer.say("a").end()
        until_blocking(lambda: repr(thunk).startswith("<ModelOutputThunk computed"))
        subscription.dispose()
        await asyncio.to_thread(engine_has_told)
        assert recorder.texts == recorder.terminals == []
        assert not thunk.is_computed()
        assert await soon(thunk.astream()) == "a"

    asyncio.run(main())


def test_dispose_within_on_next_is_the_last_that_is_heard() -> None:
    async def main() -> None:
        thunk, answer = started()
        seen: list[str] = []
        subscription: Any = None

        def once(chunk: Any) -> None:
            seen.append(str(chunk))
            subscription.dispose()

        subscription = thunk.subscribe(once, seen.append, lambda: seen.append("end"))
        answer.say("a")
        await until(lambda: seen)
        answer.say("b")
        answer.end()
        assert await soon(thunk.avalue()) == "ab"
        await asyncio.sleep(0)
        assert seen == ["a"]

    asyncio.run(main())


def test_a_subscriber_that_took_the_end_makes_a_stream_thunk_computed() -> None:
    async def main() -> None:
        thunk, answer = started()
        recorder = Recorder()
        recorder.to(thunk)
        answer.say("all")
        answer.end()
        await until(lambda: recorder.terminals)
        assert thunk.is_computed()

    asyncio.run(main())
