"""Async iterables, futures and functions as Observables; Observables as thunks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops

from mellea_rx import (
    BlockingWaitError,
    CallerLoopClosedError,
    Chunk,
    GenerationCancelledError,
    InvalidInputError,
    MelleaSession,
    ScriptedBackend,
    UnexpectedError,
)
from mellea_rx.operators import (
    concat,
    from_async_iterable,
    from_future,
    merge,
    to_async_iterator,
    to_iterator,
    to_thunk,
)
from tests.core.hand import PATIENCE, STREAM, Hand, Recorder, soon, started, until, until_blocking


class Words:
    """An async generator that tells how far it is, and where and how it ended."""

    def __init__(self, count: int = 3) -> None:
        self.count = count
        self.pulled = 0
        self.closed = threading.Event()
        self.threads: set[str] = set()

    async def __aiter__(self) -> AsyncIterator[str]:
        try:
            for n in range(self.count):
                self.pulled += 1
                self.threads.add(threading.current_thread().name)
                yield f"{n} "
        finally:
            self.closed.set()


# from_async_iterable


def test_an_async_iterable_is_iterated_on_the_subscribers_loop() -> None:
    async def main() -> None:
        words = Words()
        source = from_async_iterable(words)
        assert await soon(source.pipe(ops.to_list())) == ["0 ", "1 ", "2 "]
        assert await soon(source.pipe(ops.to_list())) == ["0 ", "1 ", "2 "]
        assert words.threads == {threading.current_thread().name}

    asyncio.run(main())


def test_without_a_loop_it_has_one_of_its_own() -> None:
    words = Words()
    recorder = Recorder()
    recorder.to(from_async_iterable(words))
    assert recorder.ended.wait(PATIENCE)
    assert recorder.texts == ["0 ", "1 ", "2 "]
    assert recorder.threads == {"mellea-rx-delivery"}
    assert words.threads == {"mellea-rx-subscription"}
    until_blocking(lambda: "mellea-rx-subscription" not in {t.name for t in threading.enumerate()})


def test_it_is_pulled_no_faster_than_it_is_taken() -> None:
    async def main() -> None:
        words = Words(100)
        go_on = threading.Event()
        seen: list[str] = []

        def slow(item: str) -> None:
            seen.append(item)
            assert go_on.wait(PATIENCE)

        from reactivex.scheduler import NewThreadScheduler

        from_async_iterable(words).subscribe(slow, scheduler=NewThreadScheduler())
        await until(lambda: seen)
        await asyncio.sleep(0)
        assert words.pulled <= 2
        go_on.set()
        await until(lambda: len(seen) == 100)

    asyncio.run(main())


@pytest.mark.parametrize("loop", [True, False])
def test_leaving_closes_the_iterable(loop: bool) -> None:
    words = Words(1_000_000)
    if loop:

        async def main() -> None:
            async for _ in to_async_iterator(from_async_iterable(words)):
                break
            await until(words.closed.is_set)

        asyncio.run(main())
    else:
        for _ in to_iterator(from_async_iterable(words)):
            break
    assert words.closed.wait(PATIENCE)


def test_what_an_iterable_raises_is_its_error() -> None:
    async def broken() -> AsyncIterator[str]:
        yield "a"
        raise ZeroDivisionError("oops")

    async def main() -> None:
        recorder = Recorder()
        recorder.to(from_async_iterable(broken()))
        await until(lambda: recorder.terminals)
        assert recorder.texts == ["a"]
        assert isinstance(recorder.error, ZeroDivisionError)

    asyncio.run(main())


def test_an_iterable_that_is_cancelled_from_within_has_an_end() -> None:
    async def cancelled() -> AsyncIterator[str]:
        yield "a"
        raise asyncio.CancelledError

    async def main() -> None:
        recorder = Recorder()
        recorder.to(from_async_iterable(cancelled()))
        await until(lambda: recorder.terminals)
        assert isinstance(recorder.error, GenerationCancelledError)

    asyncio.run(main())


def test_a_subscriber_that_raises_ends_the_iteration(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        words = Words(1_000_000)
        from_async_iterable(words).subscribe(lambda _: 1 / 0)
        await until(words.closed.is_set)

    asyncio.run(main())
    assert "a subscriber raised in on_next" in caplog.text


@pytest.mark.parametrize("wrong", [[1], "text", None])
def test_what_is_no_async_iterable_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="takes an async iterable, not a"):
        from_async_iterable(wrong)


# from_future


def test_a_future_is_shared_and_leaving_it_cancels_nothing() -> None:
    async def main() -> None:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        source = from_future(future)
        left, first, second = Recorder(), Recorder(), Recorder()
        left.to(source).dispose()
        first.to(source)
        second.to(source)
        assert not future.cancelled()
        future.set_result("done")
        await until(lambda: first.terminals and second.terminals)
        assert first.texts == second.texts == ["done"]
        assert (left.texts, left.terminals) == ([], [])
        assert await soon(source) == "done"

    asyncio.run(main())


def test_a_future_of_another_loop_or_of_a_thread_pool() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert from_future(pool.submit(lambda: "done")).run() == "done"

    async def main() -> None:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        got = asyncio.ensure_future(asyncio.to_thread(lambda: from_future(future).run()))
        await asyncio.sleep(0)
        future.set_result("done")
        assert await soon(got) == "done"
        assert await asyncio.to_thread(lambda: from_future(future).run()) == "done"

    asyncio.run(main())


def test_how_a_future_fails() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        failed, cancelled = loop.create_future(), loop.create_future()
        failed.set_exception(ZeroDivisionError("oops"))
        cancelled.cancel()
        for future, kind in ((failed, ZeroDivisionError), (cancelled, GenerationCancelledError)):
            recorder = Recorder()
            recorder.to(from_future(future))
            await until(lambda seen=recorder: seen.terminals)
            assert isinstance(recorder.error, kind)

    asyncio.run(main())


def test_only_futures_are_futures() -> None:
    with pytest.raises(InvalidInputError, match="takes a future or task, not a str"):
        from_future("text")  # type: ignore[arg-type]


# to_thunk


def test_what_operators_make_is_as_good_as_a_call() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("One ", "two.", lambda r: r.messages[-1].content))
        both = to_thunk(concat(m.cold.instruct("a"), m.cold.instruct("b")))
        echoed = await m.ainstruct("<{{ text }}>", user_variables={"text": both})
        assert await soon(echoed.avalue()) == "<One two.>"
        assert [piece async for piece in both.astream()] == ["One two."]
        assert both.usage is not None

    asyncio.run(main())


def test_it_is_read_as_it_comes_on_the_loop_that_made_it() -> None:
    async def main() -> None:
        thunk, answer = started()
        threads: set[str] = set()
        shown = thunk.pipe(
            ops.do_action(lambda _: threads.add(threading.current_thread().name)),
            ops.map(lambda chunk: str(chunk).upper()),
        )
        made = to_thunk(shown)
        answer.say("a")
        assert await soon(made.astream()) == "A"
        answer.say("b")
        answer.end()
        assert await soon(made.avalue()) == "AB"
        assert threads == {threading.current_thread().name}

    asyncio.run(main())


def test_thunks_and_cold_calls_have_a_thunk() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a"))
        thunk = await m.ainstruct("Go.")
        assert to_thunk(thunk) is thunk
        assert await soon(to_thunk(m.cold.instruct("Go.")).avalue()) == "a"

    asyncio.run(main())


@pytest.mark.parametrize("how", ["cancel", "drop"])
def test_ending_it_ends_its_source(how: str) -> None:
    async def main() -> None:
        hand = Hand(1)
        made = to_thunk(merge(MelleaSession(hand, model_options=STREAM).cold.instruct("Go.")))
        hand_over = hand.answers[0]
        assert await asyncio.to_thread(hand_over.asked.wait, PATIENCE)
        if how == "cancel":
            made.cancel()
        del made
        assert await asyncio.to_thread(hand_over.closed.wait, PATIENCE)

    asyncio.run(main())


def test_its_failures() -> None:
    made = to_thunk(rx.concat(rx.of(Chunk("half")), rx.throw(ZeroDivisionError("oops"))))
    with pytest.raises(UnexpectedError, match="oops") as caught:
        made.wait(PATIENCE)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert made.text == "half"
    with pytest.raises(InvalidInputError, match="takes an Observable"):
        to_thunk("text")  # type: ignore[call-overload]


def test_it_cannot_be_waited_for_on_the_loop_that_it_needs() -> None:
    async def main() -> None:
        made = to_thunk(rx.never())
        with pytest.raises(BlockingWaitError):
            made.wait(PATIENCE)
        made.cancel()

    asyncio.run(main())


def test_it_ends_with_the_loop_that_it_needs() -> None:
    async def main() -> Any:
        return to_thunk(rx.never())

    made = asyncio.run(main())

    async def elsewhere() -> None:
        with pytest.raises(CallerLoopClosedError):
            await soon(made.avalue())

    asyncio.run(elsewhere())
