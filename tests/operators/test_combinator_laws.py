"""Laws of the combinators, for any texts, chunks and orders of arrival."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex.testing import ReactiveTest, TestScheduler

from mellea_rx import Chunk
from mellea_rx.operators import combine_latest, concat, gather, map_async, merge, race, zip
from mellea_rx.operators.iterators import backlog
from tests.core.hand import Recorder, soon, started, started_many, until
from tests.operators.virtual import Log, seen

texts = st.lists(st.text(max_size=3), max_size=6)
many_texts = st.lists(texts, min_size=1, max_size=5)
gaps = st.lists(st.integers(0, 3), min_size=8, max_size=8)
LAWS = settings(max_examples=60, deadline=None)


def timed(time: TestScheduler, pieces: list[str], gaps: list[int], fails: bool = False) -> Any:
    """A source of these pieces, with these gaps between them."""
    at, messages = 1.0, []
    for index, piece in enumerate(pieces):
        at += gaps[index % len(gaps)]
        messages.append(ReactiveTest.on_next(at, Chunk(piece)))
    end = ReactiveTest.on_error(at, ZeroDivisionError()) if fails else ReactiveTest.on_completed(at)
    return time.create_cold_observable([*messages, end])


def of_each(log: Log, count: int) -> list[list[str]]:
    return [[str(item) for item in log.items if item.index == n] for n in range(count)]


@LAWS
@given(many_texts, st.data())
def test_merge_keeps_each_sources_order_and_loses_nothing(
    answers: list[list[str]], data: st.DataObject
) -> None:
    time = TestScheduler()
    sources = [timed(time, each, data.draw(gaps)) for each in answers]
    limit = data.draw(st.none() | st.integers(1, 6))
    log = seen(time, merge(*sources, max_concurrent=limit))
    assert of_each(log, len(answers)) == answers
    assert log.terminals == ["completed"]


@LAWS
@given(many_texts, st.data())
def test_concat_is_one_after_the_other(answers: list[list[str]], data: st.DataObject) -> None:
    time = TestScheduler()
    log = seen(time, concat(*(timed(time, each, data.draw(gaps)) for each in answers)))
    assert [str(item) for item in log.items] == [piece for each in answers for piece in each]
    assert [item.index for item in log.items] == sorted(item.index for item in log.items)


@LAWS
@given(many_texts, st.data())
def test_zip_of_n_is_the_n_values(answers: list[list[str]], data: st.DataObject) -> None:
    time = TestScheduler()
    limit = data.draw(st.none() | st.integers(1, 6))
    sources = [timed(time, each, data.draw(gaps)) for each in answers]
    assert seen(time, zip(*sources, max_concurrent=limit)).items == [tuple(map("".join, answers))]


@LAWS
@given(st.lists(st.tuples(texts, st.booleans()), max_size=5), st.data())
def test_gather_is_every_answer_and_every_failure(
    answers: list[tuple[list[str], bool]], data: st.DataObject
) -> None:
    time = TestScheduler()
    sources = [timed(time, each, data.draw(gaps), fails) for each, fails in answers]
    (outcomes,) = seen(time, gather(*sources)).items
    assert [(str(each), each.error is not None) for each in outcomes] == [
        ("".join(each), fails) for each, fails in answers
    ]


@LAWS
@given(many_texts, st.data())
def test_combine_latest_ends_with_the_values_and_only_grows(
    answers: list[list[str]], data: st.DataObject
) -> None:
    time = TestScheduler()
    log = seen(time, combine_latest(*(timed(time, each, data.draw(gaps)) for each in answers)))
    assert log.items[0] == ("",) * len(answers)
    assert log.items[-1] == tuple(map("".join, answers))
    for before, after in zip_of(log.items, log.items[1:]):
        grown = [a != b for a, b in zip_of(before, after)]
        assert grown.count(True) == 1
        assert all(b.startswith(a) for a, b in zip_of(before, after))


def zip_of(one: Any, other: Any) -> list[tuple[Any, Any]]:
    return [(one[n], other[n]) for n in range(min(len(one), len(other)))]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 8), st.data())
def test_race_cancels_all_but_one(count: int, data: st.DataObject) -> None:
    winner = data.draw(st.integers(0, count - 1))
    spoken = data.draw(st.lists(st.integers(0, count - 1), max_size=5))

    async def main() -> None:
        thunks, hand = started_many(count)
        result = asyncio.ensure_future(soon(race(*thunks)))
        await asyncio.sleep(0)
        for index in spoken:
            hand.answers[index].say("text ")
        hand.answers[winner].say("won")
        hand.answers[winner].end()
        assert (await result).index == winner
        assert [thunk.cancelled for thunk in thunks] == [n != winner for n in range(count)]
        for index, answer in enumerate(hand.answers):
            await until(answer.closed.is_set if index != winner else lambda: True)

    asyncio.run(main())


@settings(max_examples=40, deadline=None)
@given(texts, st.integers(0, 6), st.integers(0, 6))
def test_replay_at_any_moment_and_live_is_the_whole(
    pieces: list[str], joins: int, leaves: int
) -> None:
    async def main() -> None:
        thunk, answer = started()
        late, left = Recorder(), Recorder()
        thunk.keep_alive()  # or the one that leaves would be the last
        subscription = left.to(merge(thunk))
        for index, piece in enumerate([*pieces, ""]):
            if index == min(joins, len(pieces)):
                late.to(merge(thunk))
            if index == min(leaves, len(pieces)):
                subscription.dispose()
                before = list(left.texts)
            answer.say(piece)
            await until(lambda upto=index: thunk.text == "".join(pieces[: upto + 1]))
            await asyncio.sleep(0)
        answer.end()
        await until(lambda: late.terminals)
        assert late.text == "".join(pieces)
        assert left.texts == before, "nothing after dispose"
        assert left.terminals == []
        assert await soon(thunk.avalue()) == "".join(pieces)

    asyncio.run(main())


@LAWS
@given(many_texts, st.data(), st.integers(0, 12))
def test_dispose_at_any_moment_is_clean(
    answers: list[list[str]], data: st.DataObject, moment: int
) -> None:
    time = TestScheduler()
    combine = data.draw(st.sampled_from([merge, concat, gather, zip, combine_latest, race]))
    sources = [timed(time, each, data.draw(gaps)) for each in answers]
    log = Log(time)
    subscription = log.to(combine(*sources), scheduler=time)
    time.advance_to(moment + 1.5)
    subscription.dispose()
    subscription.dispose()
    before = (list(log.items), list(log.terminals))
    time.advance_to(1000)
    assert (log.items, log.terminals) == before
    for source in sources:
        assert all(each.unsubscribe <= 1000 for each in source.subscriptions)


@LAWS
@given(st.lists(st.text(max_size=3)), st.data())
def test_what_waits_is_joined_and_nothing_is_lost(pieces: list[str], data: st.DataObject) -> None:
    waiting = backlog("coalesce", None)
    taken: list[str] = []
    for piece in pieces:
        waiting.add(piece)
        assert len(waiting) == 1
        if data.draw(st.booleans()):
            taken.append(waiting.take())
    while waiting:
        taken.append(waiting.take())
    assert "".join(taken) == "".join(pieces)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(), max_size=12), st.integers(1, 5), st.booleans())
def test_map_async_gives_a_result_for_each_input(
    inputs: list[int], limit: int, ordered: bool
) -> None:
    async def main() -> None:
        running = most = 0

        async def work(n: int) -> int:
            nonlocal running, most
            running += 1
            most = max(most, running)
            for _ in range(n % 3):
                await asyncio.sleep(0)
            running -= 1
            return -n

        recorder: list[int] = []
        done = asyncio.get_running_loop().create_future()
        results = map_async(work, max_concurrent=limit, ordered=ordered)(inputs)
        results.subscribe(recorder.append, done.set_exception, lambda: done.set_result(None))
        await soon(done)
        expected = [-n for n in inputs]
        assert recorder == expected if ordered else sorted(recorder) == sorted(expected)
        assert most <= limit

    asyncio.run(main())
