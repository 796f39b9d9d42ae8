"""Combinators in virtual time: their items, the times of these, and their ends."""

from __future__ import annotations

from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex.testing import TestScheduler

from mellea_rx import Chunk, InvalidInputError, StreamInterruptedError
from mellea_rx.operators import (
    Outcome,
    Tagged,
    as_completed,
    combine_latest,
    concat,
    gather,
    merge,
    zip,
)
from tests.operators.virtual import END, Log, cold, same_error, seen

BROKEN = StreamInterruptedError("the line broke")


@pytest.fixture
def time() -> TestScheduler:
    return TestScheduler()


def two(time: TestScheduler) -> tuple[Observable[Any], Observable[Any]]:
    return (
        cold(time, t1="a1 ", t3="a2 ", t6=END),
        cold(time, t2=Chunk("b1 "), t3="b2 ", t5=Chunk(finish_reason="stop"), t7=END),
    )


def told(log: Log) -> list[tuple[int, str]]:
    return [(item.index, str(item)) for item in log.items]


def test_merge_tells_whose_each_chunk_is(time: TestScheduler) -> None:
    a, b = two(time)
    log = seen(time, merge(a, b))
    assert told(log) == [(0, "a1 "), (1, "b1 "), (0, "a2 "), (1, "b2 "), (1, "")]
    assert log.times == [1, 2, 3, 3, 5, 7]
    assert log.terminals == ["completed"]
    assert log.items[1] == Tagged(1, b, Chunk("b1 "))
    assert log.items[0].chunk == Chunk("a1 ")


def test_merge_of_no_more_than_so_many_at_once(time: TestScheduler) -> None:
    sources = [cold(time, t1=f"{n}", t2=END) for n in range(4)]
    log = seen(time, merge(*sources, max_concurrent=2))
    assert told(log) == [(0, "0"), (1, "1"), (2, "2"), (3, "3")]
    assert log.times == [1, 1, 3, 3, 4]


def test_concat_subscribes_to_each_in_its_turn(time: TestScheduler) -> None:
    a, b = two(time)
    log = seen(time, concat(a, b))
    assert told(log) == [(0, "a1 "), (0, "a2 "), (1, "b1 "), (1, "b2 "), (1, "")]
    assert log.times == [1, 3, 8, 9, 11, 13]


def test_merge_fails_with_the_first_failure(time: TestScheduler) -> None:
    log = seen(time, merge(cold(time, t1="a", t4="never"), cold(time, t2="b", t3=BROKEN)))
    assert told(log) == [(0, "a"), (1, "b")]
    assert (log.terminals, log.error) == (["error"], BROKEN)


def test_as_completed_tells_of_failures_too(time: TestScheduler) -> None:
    a, b = two(time)
    c = cold(time, t1="c1 ", t4=BROKEN)
    log = seen(time, as_completed(a, b, c))
    assert log.items == [
        Outcome(2, c, Chunk("c1 "), BROKEN),
        Outcome(0, a, Chunk("a1 a2 ")),
        Outcome(1, b, Chunk("b1 b2 ", finish_reason="stop")),
    ]
    assert log.times == [4, 6, 7, 7]
    assert log.terminals == ["completed"]
    assert log.items[1].value == "a1 a2 "
    with pytest.raises(StreamInterruptedError, match="the line broke"):
        _ = log.items[0].value


def test_as_completed_of_one_at_once_is_in_order(time: TestScheduler) -> None:
    log = seen(time, as_completed(*two(time), max_concurrent=1))
    assert [item.index for item in log.items] == [0, 1]
    assert log.times == [6, 13, 13]


def test_gather_hides_no_answer_behind_a_failure(time: TestScheduler) -> None:
    a, _ = two(time)
    c = cold(time, t1="c1 ", t2=BROKEN)
    log = seen(time, gather(c, a))
    assert log.items == [(Outcome(0, c, Chunk("c1 "), BROKEN), Outcome(1, a, Chunk("a1 a2 ")))]
    assert log.times == [6, 6]


def test_zip_gives_the_texts_in_their_order(time: TestScheduler) -> None:
    a, b = two(time)
    log = seen(time, zip(b, a))
    assert log.items == [("b1 b2 ", "a1 a2 ")]
    assert log.times == [7, 7]


def test_zip_fails_with_the_first_failure_at_once(time: TestScheduler) -> None:
    log = seen(time, zip(*two(time), cold(time, t2=BROKEN)))
    assert (log.items, log.times) == ([], [2])
    assert same_error(log.error, BROKEN)


def test_combine_latest_shows_the_texts_side_by_side(time: TestScheduler) -> None:
    log = seen(time, combine_latest(*two(time)))
    assert log.items == [
        ("", ""),
        ("a1 ", ""),
        ("a1 ", "b1 "),
        ("a1 a2 ", "b1 "),
        ("a1 a2 ", "b1 b2 "),
    ]
    assert log.times == [0, 1, 2, 3, 3, 7]


def test_of_nothing_there_is_nothing(time: TestScheduler) -> None:
    for empty in (merge(), concat(), as_completed()):
        log = seen(time, empty)
        assert (log.items, log.terminals) == ([], ["completed"])
    for whole in (gather(), zip(), combine_latest()):
        log = seen(time, whole)
        assert (log.items, log.terminals) == ([()], ["completed"])


def test_of_one_there_is_that_one(time: TestScheduler) -> None:
    assert told(seen(time, merge(rx.of("a", "b")))) == [(0, "a"), (0, "b")]
    assert seen(time, zip(rx.of("a", "b")), 2000).items == [("ab",)]
    assert seen(time, combine_latest(rx.of("a", "b")), 3000).items == [("",), ("a",), ("ab",)]


def test_the_same_source_twice_counts_twice(time: TestScheduler) -> None:
    source = rx.of("a", "b")
    assert sorted(told(seen(time, merge(source, source)))) == [
        (0, "a"),
        (0, "b"),
        (1, "a"),
        (1, "b"),
    ]
    assert seen(time, zip(source, source), 2000).items == [("ab", "ab")]


def test_each_subscription_begins_anew(time: TestScheduler) -> None:
    sources = (merge(*two(time)), combine_latest(*two(time)), gather(*two(time)))
    for turn, source in enumerate(sources):
        first = seen(time, source, 2000 * turn + 1000)
        second = seen(time, source, 2000 * turn + 2000)
        assert first.items == second.items != []
        assert second.terminals == ["completed"]


def test_what_combinators_give_can_be_combined(time: TestScheduler) -> None:
    a, b = two(time)
    inner = merge(a, b)
    log = seen(time, merge(inner, rx.of("c")))
    assert told(log)[0] == (1, "c")
    assert "".join(text for index, text in told(log) if index == 0) == "a1 b1 a2 b2 "


@pytest.mark.parametrize("combine", [merge, concat, as_completed, gather, zip, combine_latest])
@pytest.mark.parametrize("wrong", ["text", None, 5, [rx.of("a")]])
def test_what_is_no_source_is_refused_by_its_place(combine: Any, wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"takes thunks.*source 2 is a "):
        combine(rx.of("a"), wrong)


def test_a_list_of_sources_is_told_how_to_be_given() -> None:
    with pytest.raises(InvalidInputError, match=r"one by one, with a \*"):
        merge([rx.of("a")])  # type: ignore[arg-type]


@pytest.mark.parametrize("combine", [merge, as_completed, gather, zip])
@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2"])
def test_how_many_at_once_is_refused_by_name(combine: Any, wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="max_concurrent"):
        combine(rx.of("a"), max_concurrent=wrong)
