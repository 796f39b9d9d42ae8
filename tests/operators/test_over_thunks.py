"""Combinators over thunks, coroutines and cold calls, and the release of these sources."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops

from mellea_rx import (
    GenerationCancelledError,
    GenerationFailedError,
    InvalidInputError,
    MelleaSession,
    ScriptedBackend,
    SessionClosedError,
    ValidatorError,
)
from mellea_rx.operators import (
    as_completed,
    combine_latest,
    concat,
    fallback,
    gather,
    hedge,
    merge,
    race,
    to_async_iterator,
    to_iterator,
    zip,
)
from mellea_rx.stdlib.requirements import check, simple_validate
from tests.core.hand import PATIENCE, STREAM, Hand, Recorder, soon, started, started_many, until


def test_merge_of_thunks_coroutines_and_cold_calls() -> None:
    async def main() -> None:
        backend = ScriptedBackend(lambda request: request.messages[-1].content.split(" "))
        m = MelleaSession(backend, model_options=STREAM)
        thunk = await m.ainstruct("one two")
        task = asyncio.ensure_future(m.ainstruct("five six"))
        merged = merge(thunk, m.ainstruct("three four"), task, m.cold.instruct("seven eight"))
        texts: dict[int, str] = {}
        async for item in to_async_iterator(merged):
            texts[item.index] = texts.get(item.index, "") + str(item)
        assert texts == {0: "onetwo", 1: "threefour", 2: "fivesix", 3: "seveneight"}

    asyncio.run(main())


def test_the_source_of_an_item_is_the_thunk_also_where_a_coroutine_gave_it() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("Yes."))
        (item,) = await soon(merge(m.ainstruct("Go.")).pipe(ops.filter(str), ops.to_list()))
        assert item.source.value == "Yes."
        assert item.source.usage == item.chunk.usage

    asyncio.run(main())


def test_it_works_without_a_loop() -> None:
    m = MelleaSession(ScriptedBackend("One.", "Two.", delay=0.001))
    items = list(to_iterator(zip(m.ainstruct("a"), m.cold.instruct("b"))))
    assert sorted(items[0]) == ["One.", "Two."]
    recorder = Recorder()
    recorder.to(merge(m.cold.instruct("a"), m.instruct("b")).pipe(ops.map(lambda i: i.chunk)))
    assert recorder.ended.wait(PATIENCE)
    assert recorder.text == "Two.Two."
    assert recorder.threads == {"mellea-rx-delivery"}


def test_a_coroutine_that_takes_its_time_runs_on_the_subscribers_loop() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(lambda request: f"<{request.messages[-1].content}>"))
        go_on = asyncio.Event()

        async def two_steps() -> Any:
            first = await (await m.ainstruct("a"))
            await go_on.wait()
            return await m.ainstruct(first)

        result = asyncio.ensure_future(soon(zip(two_steps(), m.achat("b"))))
        await asyncio.sleep(0)
        go_on.set()
        assert await result == ("<<a>>", "<b>")

    asyncio.run(main())


def test_a_coroutine_is_for_one_subscription() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a"))
        merged = merge(m.ainstruct("Go."))
        assert str(await soon(merged)) == "a"
        with pytest.raises(InvalidInputError, match=r"source 1 is a coroutine.*cold call"):
            await soon(merged)

    asyncio.run(main())


def test_a_coroutine_has_to_give_a_source() -> None:
    async def text() -> str:
        return "text"

    async def main() -> None:
        with pytest.raises(InvalidInputError, match=r"source 1 must return a thunk.*a str"):
            await soon(merge(text()))  # type: ignore[arg-type]

    asyncio.run(main())


def test_a_coroutine_that_fails_is_an_outcome_without_a_source() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a"))
        failed, good = await soon(gather(m.ainstruct(""), m.ainstruct("Go.")))
        assert isinstance(failed.error, InvalidInputError)
        assert failed.source is None
        assert good.value == "a"

    asyncio.run(main())


# Failures and ends


def test_thunks_that_failed_or_were_cancelled_before() -> None:
    async def main() -> None:
        (failed, cancelled, good), hand = started_many(3)
        hand.answers[0].say("half")
        hand.answers[0].fail(GenerationFailedError("crashed"))
        await until(lambda: failed.error)
        cancelled.cancel("enough")
        hand.answers[2].say("whole")
        hand.answers[2].end()
        outcomes = await soon(gather(failed, cancelled, good))
        assert [str(each) for each in outcomes] == ["half", "", "whole"]
        assert isinstance(outcomes[0].error, GenerationFailedError)
        assert isinstance(outcomes[1].error, GenerationCancelledError)
        assert (await soon(race(failed, cancelled, good))).index == 2
        with pytest.raises(GenerationCancelledError, match="enough"):
            await soon(merge(cancelled, good))
        with pytest.raises(GenerationFailedError):
            await soon(fallback(failed, good))
        restarted = await soon(fallback(failed, good, after_text="restart").pipe(ops.to_list()))
        assert [(item.index, str(item)) for item in restarted] == [(0, "half"), (1, "whole")]

    asyncio.run(main())


def test_calls_of_a_closed_session() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("never", delay=60))
        running, cold = await m.ainstruct("Go."), m.cold.instruct("Go.")
        m.close()
        outcomes = await soon(gather(running, cold, m.ainstruct("Go.")))
        kinds = [type(each.error) for each in outcomes]
        assert kinds == [GenerationCancelledError, SessionClosedError, SessionClosedError]

    asyncio.run(main())


def test_a_validator_that_raises_is_an_error_of_its_source() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a"))
        wrong = check("x", simple_validate(lambda text: bool(1 / 0)))
        bad, good = await soon(gather(m.ainstruct("Go.", requirements=[wrong]), m.ainstruct("Go.")))
        assert isinstance(bad.error, ValidatorError)
        assert good.value == "a"

    asyncio.run(main())


# Early disposal


@pytest.mark.parametrize("combine", [merge, concat, as_completed, gather, zip, combine_latest])
def test_leaving_ends_the_thunks_that_nobody_else_takes(combine: Any) -> None:
    async def main() -> None:
        (left, shared, held), hand = started_many(3)
        elsewhere = Recorder()
        elsewhere.to(shared)
        waiting = asyncio.create_task(held.avalue())
        await asyncio.sleep(0)
        subscription = combine(left, shared, held).subscribe(lambda _: None, lambda _: None)
        subscription.dispose()
        assert left.cancelled
        assert await asyncio.to_thread(hand.answers[0].closed.wait, PATIENCE)
        assert not shared.cancelled
        assert not held.cancelled
        for answer in hand.answers[1:]:
            answer.say("whole")
            answer.end()
        assert await soon(waiting) == "whole"
        await until(lambda: elsewhere.terminals)
        assert elsewhere.text == "whole"

    asyncio.run(main())


def test_the_last_of_two_subscriptions_ends_the_thunks() -> None:
    async def main() -> None:
        (a, b), _ = started_many(2)
        merged = concat(a, b)
        first = merged.subscribe(lambda _: None, lambda _: None)
        second = merged.subscribe(lambda _: None, lambda _: None)
        first.dispose()
        assert not a.cancelled
        assert not b.cancelled
        second.dispose()
        assert a.cancelled
        assert b.cancelled

    asyncio.run(main())


def test_a_failure_lets_go_of_the_others() -> None:
    async def main() -> None:
        (a, b), hand = started_many(2)
        failing = asyncio.ensure_future(soon(zip(a, b)))
        await asyncio.sleep(0)
        hand.answers[0].fail(GenerationFailedError("crashed"))
        with pytest.raises(GenerationFailedError):
            await failing
        assert b.cancelled

    asyncio.run(main())


def test_break_ends_a_merge_also_while_another_branch_is_pending() -> None:
    async def main() -> None:
        (speaks, silent), hand = started_many(2)
        hand.answers[0].say("first")
        async for item in to_async_iterator(merge(speaks, silent)):
            assert str(item) == "first"
            break
        await until(lambda: speaks.cancelled and silent.cancelled)
        for answer in hand.answers:
            assert await asyncio.to_thread(answer.closed.wait, PATIENCE)

    asyncio.run(main())


def test_the_losers_of_a_race_are_cancelled_also_where_they_are_watched() -> None:
    async def main() -> None:
        thunks, hand = started_many(4)
        watched = Recorder()
        watched.to(thunks[0])
        result = asyncio.ensure_future(soon(race(*thunks)))
        await asyncio.sleep(0)
        hand.answers[2].say("quick")
        hand.answers[2].end()
        assert (await result).value == "quick"
        assert [thunk.cancelled for thunk in thunks] == [True, True, False, True]
        assert await asyncio.to_thread(hand.answers[0].closed.wait, PATIENCE)
        await until(lambda: watched.terminals)
        assert "another source was chosen" in str(watched.error)

    asyncio.run(main())


def test_a_thunk_that_races_itself_wins() -> None:
    async def main() -> None:
        thunk, answer = started()
        result = asyncio.ensure_future(soon(race(thunk, thunk)))
        await asyncio.sleep(0)
        answer.say("me")
        answer.end()
        assert str(await result) == "me"
        assert not thunk.cancelled

    asyncio.run(main())


def test_leaving_a_race_ends_it_all() -> None:
    async def main() -> None:
        (a, b), _ = started_many(2)
        race(a, b).subscribe(lambda _: None, lambda _: None).dispose()
        assert a.cancelled
        assert b.cancelled

    asyncio.run(main())


def test_a_hedge_cancels_the_slow_one_when_the_other_speaks() -> None:
    async def main() -> None:
        hand = Hand(2)
        m = MelleaSession(hand, model_options=STREAM)
        call = m.cold.instruct("Go.")
        reader = to_async_iterator(hedge(call, call, after=0.001))
        first = asyncio.ensure_future(soon(anext(reader)))
        assert await asyncio.to_thread(hand.answers[1].asked.wait, PATIENCE)
        hand.answers[1].say("Here.")
        assert str(await first) == "Here."
        assert await asyncio.to_thread(hand.answers[0].closed.wait, PATIENCE)
        assert not hand.answers[1].closed.is_set()
        await reader.aclose()
        assert await asyncio.to_thread(hand.answers[1].closed.wait, PATIENCE)

    asyncio.run(main())


def test_what_a_choice_does_not_need_is_not_asked_for() -> None:
    async def main() -> None:
        backend = ScriptedBackend("Here.")
        m = MelleaSession(backend)
        assert str(await soon(fallback(m.ainstruct("a"), m.ainstruct("b")))) == "Here."
        assert str(await soon(hedge(m.ainstruct("a"), m.ainstruct("b"), after=60))) == "Here."
        gc.collect()  # a coroutine that was never awaited would warn
        assert [request.messages[-1].content for request in backend.requests] == ["a", "a"]

    asyncio.run(main())


def test_a_thunk_that_a_fallback_did_not_need_is_cancelled() -> None:
    async def main() -> None:
        (good, spare), hand = started_many(2)
        hand.answers[0].say("good")
        hand.answers[0].end()
        assert str(await soon(fallback(good, spare))) == "good"
        assert spare.cancelled

    asyncio.run(main())


# Subscribers that misbehave


def test_a_subscriber_that_raises_loses_its_merge_and_nobody_else_anything(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        (a, b), hand = started_many(2)
        alone, merged = Recorder(), Recorder()
        calls: list[Any] = []

        def raising(item: Any) -> None:
            calls.append(item)
            raise ZeroDivisionError("oops")

        alone.to(a)
        merge(a, b).subscribe(raising)
        merged.to(merge(a, b))
        for answer, word in ((0, "a"), (1, "b")):
            hand.answers[answer].say(word)
            await until(lambda end=word: merged.text.endswith(end))
            hand.answers[answer].end()
        await until(lambda: merged.terminals)
        assert len(calls) == 1
        assert (merged.text, merged.terminals) == ("ab", ["completed"])
        assert (alone.text, alone.terminals) == ("a", ["completed"])

    with caplog.at_level(logging.ERROR, "mellea_rx"):
        asyncio.run(main())
    assert "a subscriber raised in on_next" in caplog.text
    assert caplog.text.count("ZeroDivisionError: oops") == 1


def test_a_subscriber_without_on_error_is_told_of_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        (a, b), hand = started_many(2)
        merge(a, b).subscribe(lambda _: None)
        other = Recorder()
        other.to(merge(a, b))
        hand.answers[0].fail(GenerationFailedError("crashed"))
        await until(lambda: other.terminals)
        assert other.terminals == ["error"]

    with caplog.at_level(logging.ERROR, "mellea_rx"):
        asyncio.run(main())
    assert "a subscriber has no on_error: GenerationFailedError: crashed" in caplog.text


def test_a_mapper_that_raises_ends_its_stream_and_lets_go() -> None:
    async def main() -> None:
        (a, b), hand = started_many(2)
        recorder = Recorder()
        recorder.to(merge(a, b).pipe(ops.map(lambda _: 1 / 0)))
        hand.answers[0].say("a")
        await until(lambda: recorder.terminals)
        assert isinstance(recorder.error, ZeroDivisionError)
        await until(lambda: a.cancelled and b.cancelled)

    asyncio.run(main())


def test_subscribing_and_disposing_within_on_next() -> None:
    async def main() -> None:
        (a, b), hand = started_many(2)
        merged = merge(a, b)
        within, after = Recorder(), Recorder()
        mine: list[Any] = []

        def on_next(item: Any) -> None:
            within.to(merged)
            mine.append(item)
            subscription.dispose()

        subscription = merged.subscribe(on_next, lambda _: None)
        after.to(merged)
        hand.answers[0].say("a")
        await until(lambda: after.texts)
        hand.answers[1].say("b")
        for answer in hand.answers:
            answer.end()
        await until(lambda: within.terminals and after.terminals)
        assert len(mine) == 1
        assert within.text == after.text == "ab"

    asyncio.run(main())


def test_a_blocked_consumer_holds_up_nobody_else() -> None:
    import threading

    from reactivex.scheduler import NewThreadScheduler

    (a, b), hand = started_many(2)
    merged = merge(a, b)
    go_on = threading.Event()
    blocked, free = Recorder(), Recorder()

    def stuck(item: Any) -> None:
        assert go_on.wait(PATIENCE)
        blocked.on_next(item.chunk)

    merged.subscribe(stuck, blocked.on_error, blocked.on_completed, scheduler=NewThreadScheduler())
    free.to(merged)
    for answer in hand.answers:
        answer.say("x", "y")
        answer.end()
    assert free.ended.wait(PATIENCE)
    assert free.text in ("xyxy", "xxyy")
    go_on.set()
    assert blocked.ended.wait(PATIENCE)
    assert sorted(blocked.text) == list("xxyy")


def test_a_subscription_keeps_what_it_needs() -> None:
    async def main() -> None:
        recorder = Recorder()
        hand = Hand(2)
        m = MelleaSession(hand, model_options=STREAM)
        recorder.to(merge(await m.ainstruct("a"), m.cold.instruct("b")))
        gc.collect()
        for answer in hand.answers:
            answer.say("x")
            answer.end()
        await until(lambda: recorder.terminals)
        assert recorder.text == "xx"

    asyncio.run(main())


def test_plain_rx_over_the_same_thunks_leaves_them_alone() -> None:
    async def main() -> None:
        (a, b), hand = started_many(2)
        rx.merge(a, b).subscribe(lambda _: None, lambda _: None).dispose()
        for answer in hand.answers:
            answer.say("x")
            answer.end()
        assert await soon(zip(a, b)) == ("x", "x")

    asyncio.run(main())
