"""A thunk is an Observable: Rx's own functions and operators take it as it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops
from reactivex.scheduler import EventLoopScheduler, NewThreadScheduler
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler
from reactivex.subject import Subject

from mellea_rx import ChatContext, GenerationFailedError, MelleaSession, ScriptedBackend
from tests.core.hand import PATIENCE, STREAM, Recorder, soon, started, started_many, until


async def collect(source: Observable[Any]) -> list[Any]:
    """All items of a finite observable, which is subscribed on this loop."""
    done: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
    items: list[Any] = []
    source.subscribe(items.append, done.set_exception, lambda: done.set_result(items))
    return await soon(done)


def test_a_thunk_is_an_observable_of_chunks() -> None:
    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend(["a", "b"])).ainstruct(
            "Go.", model_options=STREAM
        )
        assert isinstance(thunk, Observable)
        chunks = await collect(thunk)
        assert "".join(map(str, chunks)) == "ab"
        assert chunks[-1].finish_reason == "stop"

    asyncio.run(main())


def test_pipe_and_map() -> None:
    async def main() -> None:
        (thunk,), hand = started_many(1)
        texts = asyncio.create_task(collect(thunk.pipe(ops.map(str), ops.map(str.upper))))
        await asyncio.sleep(0)
        hand.answers[0].say("a")
        await until(lambda: thunk.text == "a")
        hand.answers[0].say("b")
        hand.answers[0].end()
        assert "".join(await texts) == "AB"

    asyncio.run(main())


def test_merge_interleaves_as_the_texts_come() -> None:
    async def main() -> None:
        (a, b), hand = started_many(2)
        recorder = Recorder()
        recorder.to(rx.merge(a, b))
        for who, word in ((0, "a1 "), (1, "b1 "), (0, "a2 "), (1, "b2 ")):
            hand.answers[who].say(word)
            await until(lambda end=word: recorder.text.endswith(end))
        hand.answers[0].end()
        hand.answers[1].say("b3")
        hand.answers[1].end()
        await until(lambda: recorder.terminals)
        assert recorder.text == "a1 b1 a2 b2 b3"
        assert recorder.terminals == ["completed"]

    asyncio.run(main())


def test_merge_as_a_method() -> None:
    async def main() -> None:
        (a, b), hand = started_many(2)
        recorder = Recorder()
        recorder.to(a.merge(b))
        for who, word in ((1, "b"), (0, "a")):
            hand.answers[who].say(word)
            await until(lambda end=word: recorder.text.endswith(end))
            hand.answers[who].end()
        await until(lambda: recorder.terminals)
        assert recorder.text == "ba"

    asyncio.run(main())


def test_zip_pairs_the_whole_texts_of_parallel_generations() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("one two", "three four", "five", delay=0.002))
        thunks = [await m.ainstruct(f"Go {n}.") for n in range(3)]
        ((a, b, c),) = await collect(rx.zip(*thunks))
        assert {str(a), str(b), str(c)} == {"one two", "three four", "five"}

    asyncio.run(main())


def test_concat_gives_each_in_turn_though_all_run_at_once() -> None:
    async def main() -> None:
        (a, b), hand = started_many(2)
        recorder = Recorder()
        recorder.to(rx.concat(a, b))
        hand.answers[1].say("second ", "text")
        hand.answers[1].end()
        await until(lambda: b.text == "second text")
        assert recorder.text == ""
        hand.answers[0].say("first ")
        hand.answers[0].end()
        await until(lambda: recorder.terminals)
        assert recorder.texts == ["first ", "second text"]

    asyncio.run(main())


def test_combine_latest_sees_both_texts_grow() -> None:
    async def main() -> None:
        (a, b), hand = started_many(2)
        grown = [each.pipe(ops.map(str), ops.scan(lambda text, s: text + s, "")) for each in (a, b)]
        items: list[tuple[str, str]] = []
        rx.combine_latest(*grown).subscribe(items.append, lambda _: None)
        for who, word, last in ((0, "a", None), (1, "x", ("a", "x")), (0, "b", ("ab", "x"))):
            hand.answers[who].say(word)
            await until(
                lambda want=last, at=who, w=word: (
                    items and items[-1] == want if want else (a, b)[at].text.endswith(w)
                )
            )
            await asyncio.sleep(0)
        assert items == [("a", "x"), ("ab", "x")]

    asyncio.run(main())


def test_amb_takes_the_first_to_speak() -> None:
    async def main() -> None:
        (slow, quick), hand = started_many(2)
        recorder = Recorder()
        recorder.to(rx.amb(slow, quick))
        hand.answers[1].say("quick ")
        await until(lambda: recorder.text == "quick ")
        hand.answers[0].say("slow")
        hand.answers[0].end()
        hand.answers[1].say("wins")
        hand.answers[1].end()
        await until(lambda: recorder.terminals)
        assert recorder.text == "quick wins"
        assert not slow.cancelled

    asyncio.run(main())


def test_a_failure_goes_through_the_operators() -> None:
    async def main() -> None:
        (a, b), hand = started_many(2)
        recorder = Recorder()
        recorder.to(rx.merge(a, b).pipe(ops.map(str)))
        hand.answers[0].say("a")
        hand.answers[0].fail(GenerationFailedError("crashed"))
        await until(lambda: recorder.terminals)
        assert recorder.terminals == ["error"]
        assert isinstance(recorder.error, GenerationFailedError)
        assert recorder.error.text == "a"
        hand.answers[1].say("still here")
        hand.answers[1].end()
        assert await soon(b.avalue()) == "still here"

    asyncio.run(main())


def test_catch_goes_on_with_another_thunk() -> None:
    async def main() -> None:
        (first, second), hand = started_many(2)
        recorder = Recorder()
        recorder.to(first.pipe(ops.catch(second)))
        hand.answers[0].fail(GenerationFailedError("crashed"))
        hand.answers[1].say("instead")
        hand.answers[1].end()
        await until(lambda: recorder.terminals)
        assert (recorder.text, recorder.terminals) == ("instead", ["completed"])

    asyncio.run(main())


def test_a_pipeline_may_call_the_model_again() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(lambda r: f"<{r.messages[-1].content}>"))
        thunk = await m.ainstruct("a")

        def again(chunk: Any) -> Observable[Any]:
            return rx.from_future(asyncio.ensure_future(m.ainstruct(str(chunk)))).pipe(
                ops.merge_all()
            )

        (chunk,) = await collect(thunk.pipe(ops.filter(str), ops.flat_map(again)))
        assert str(chunk) == "<<a>>"

    asyncio.run(main())


def test_take_ends_the_subscription_only() -> None:
    async def main() -> None:
        (thunk,), hand = started_many(1)
        first = asyncio.create_task(collect(thunk.pipe(ops.take(1), ops.map(str))))
        await asyncio.sleep(0)
        hand.answers[0].say("a")
        assert await soon(first) == ["a"]
        hand.answers[0].say("b")
        hand.answers[0].end()
        assert await soon(thunk.avalue()) == "ab"

    asyncio.run(main())


def test_operators_on_a_chat_keep_its_order() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("One.", "Two.", delay=0.002), ChatContext())
        a = await m.achat("1", model_options=STREAM)
        b = await m.achat("2", model_options=STREAM)
        chunks = await collect(rx.merge(a, b))
        assert "".join(map(str, chunks)) == "One.Two."

    asyncio.run(main())


def test_flat_map_to_thunks_that_run_already() -> None:
    async def main() -> None:
        (a, b), hand = started_many(2)
        recorder = Recorder()
        recorder.to(rx.of(0, 1).pipe(ops.flat_map(lambda n: (a, b)[n])))
        for who, word in ((1, "b"), (0, "a")):
            hand.answers[who].say(word)
            await until(lambda end=word: recorder.text.endswith(end))
            hand.answers[who].end()
        await until(lambda: recorder.terminals)
        assert (recorder.text, recorder.terminals) == ("ba", ["completed"])

    asyncio.run(main())


def test_switch_latest_leaves_a_thunk_for_the_next() -> None:
    async def main() -> None:
        (old, new), hand = started_many(2)
        chosen: Subject[Any] = Subject()
        recorder = Recorder()
        recorder.to(chosen.pipe(ops.switch_latest()))
        chosen.on_next(old)
        hand.answers[0].say("old")
        await until(lambda: recorder.text == "old")
        chosen.on_next(new)
        hand.answers[0].say(" never seen")
        await until(lambda: old.text.endswith("seen"))
        hand.answers[1].say(" new")
        hand.answers[1].end()
        chosen.on_completed()
        await until(lambda: recorder.terminals)
        assert recorder.text == "old new"

    asyncio.run(main())


@pytest.mark.parametrize("kind", [EventLoopScheduler, NewThreadScheduler])
def test_observe_on_and_subscribe_on_move_it_elsewhere(kind: Any) -> None:
    scheduler = kind()
    for moved in (ops.observe_on(scheduler), ops.subscribe_on(scheduler)):
        thunks, hand = started_many(2)
        recorder = Recorder()
        recorder.to(rx.merge(*thunks).pipe(moved))
        for answer in hand.answers:
            answer.say("a", "b")
            answer.end()
        assert recorder.ended.wait(PATIENCE)
        assert sorted(recorder.text) == list("aabb")
        assert recorder.terminals == ["completed"]
        assert "mellea-rx-engine" not in recorder.threads


def test_observe_on_a_loop_of_another_thread() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        thunk, answer = await asyncio.to_thread(started)
        recorder = Recorder()
        subscribe = thunk.pipe(ops.observe_on(AsyncIOThreadSafeScheduler(loop)))
        await asyncio.to_thread(recorder.to, subscribe)
        answer.say("a")
        answer.end()
        await until(lambda: recorder.terminals)
        assert recorder.text == "a"
        assert recorder.threads == {"MainThread"}

    asyncio.run(main())


FAILING: dict[str, Any] = {
    "zip": rx.zip,
    "combine_latest": rx.combine_latest,
    "concat": rx.concat,
    "amb": rx.amb,
    "merge": rx.merge,
    "fork_join": rx.fork_join,
    "flat_map": lambda a, b: rx.of(a, b).pipe(ops.flat_map(lambda thunk: thunk)),
    "pipe": lambda a, b: a.pipe(ops.map(str), ops.merge(b)),
    "timeout": lambda a, b: a.pipe(ops.timeout(60)),
    "share": lambda a, b: a.pipe(ops.share()),
}


@pytest.mark.parametrize("name", FAILING)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_failure_goes_through_each(name: str, when: str) -> None:
    async def main() -> None:
        (a, b), hand = started_many(2)
        recorder = Recorder()
        if when == "after":
            recorder.to(FAILING[name](a, b))
        hand.answers[0].fail(GenerationFailedError("crashed"))
        await until(lambda: a.error)
        if when == "before":
            recorder.to(FAILING[name](a, b))
        await until(lambda: recorder.terminals)
        assert recorder.terminals == ["error"]
        assert isinstance(recorder.error, GenerationFailedError)
        assert not b.cancelled

    asyncio.run(main())


def test_a_cancellation_goes_through_too_and_can_be_caught() -> None:
    async def main() -> None:
        (a, b), hand = started_many(2)
        recorder = Recorder()
        recorder.to(a.pipe(ops.catch(lambda error, _: rx.of(error.text).pipe(ops.concat(b)))))
        hand.answers[0].say("half ")
        await until(lambda: recorder.text == "half ")
        a.cancel()
        hand.answers[1].say("whole")
        hand.answers[1].end()
        await until(lambda: recorder.terminals)
        assert recorder.texts == ["half ", "half ", "whole"]
        assert recorder.terminals == ["completed"]

    asyncio.run(main())


def test_a_timeout_of_rx_ends_the_subscription_only() -> None:
    async def main() -> None:
        thunk, answer = started()
        recorder = Recorder()
        recorder.to(thunk.pipe(ops.timeout(0.01)))
        await until(lambda: recorder.terminals)
        assert recorder.terminals == ["error"]
        assert not thunk.cancelled
        answer.say("late")
        answer.end()
        assert await soon(thunk.avalue()) == "late"

    asyncio.run(main())


def test_materialize_and_retry_on_a_hot_thunk_ask_for_nothing_new() -> None:
    async def main() -> None:
        (thunk,), hand = started_many(1)
        hand.answers[0].fail(GenerationFailedError("crashed"))
        await until(lambda: thunk.error)
        notes = await collect(thunk.pipe(ops.materialize()))
        assert [note.kind for note in notes] == ["E"]
        recorder = Recorder()
        recorder.to(thunk.pipe(ops.retry(3)))
        await until(lambda: recorder.terminals)
        assert isinstance(recorder.error, GenerationFailedError)
        assert len(hand.requests) == 1

    asyncio.run(main())
