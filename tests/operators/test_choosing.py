"""race, hedge and fallback, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
import reactivex as rx
from reactivex.testing import TestScheduler

from mellea_rx import (
    Chunk,
    ConnectionFailedError,
    InvalidInputError,
    NoAnswerError,
    RateLimitError,
    StreamInterruptedError,
)
from mellea_rx.operators import fallback, hedge, race
from tests.operators.virtual import END, Log, cold, seen

BROKEN = StreamInterruptedError("the line broke", text="half")
REFUSED = ConnectionFailedError("nobody listens")


@pytest.fixture
def time() -> TestScheduler:
    return TestScheduler()


def told(log: Log) -> list[tuple[int, str]]:
    return [(item.index, str(item)) for item in log.items]


# race


def test_the_first_to_complete_wins_though_another_spoke_first(time: TestScheduler) -> None:
    slow = cold(time, t1="slow ", t5="text", t6=END)
    quick = cold(time, t2="quick ", t3="text", t4=END)
    log = seen(time, race(slow, quick))
    assert told(log) == [(1, "quick text")]
    assert log.times == [4, 4]
    assert log.items[0].source is quick


def test_the_first_acceptable_answer_wins(time: TestScheduler) -> None:
    hasty = cold(time, t1="I cannot say.", t2=END)
    failed = cold(time, t3=BROKEN)
    right = cold(time, t4="42", t5=END)
    log = seen(time, race(hasty, failed, right, accept=str.isdigit))
    assert told(log) == [(2, "42")]


def test_a_race_that_nobody_wins_has_every_reason(time: TestScheduler) -> None:
    hasty = cold(time, t2="I cannot say.", t3=END)
    failed = cold(time, t1=BROKEN)
    log = seen(time, race(hasty, failed, accept=str.isdigit))
    assert log.items == []
    error = log.error
    assert isinstance(error, NoAnswerError)
    assert [type(each) for each in error.errors] == [NoAnswerError, StreamInterruptedError]
    assert error.__cause__ is error.errors[0]
    assert error.text == "I cannot say."
    assert "1. NoAnswerError: not accepted; 2. StreamInterruptedError: the line broke" in str(error)


def test_an_accept_that_raises_ends_the_race(time: TestScheduler) -> None:
    log = seen(time, race(rx.of("a"), cold(time, t5="b"), accept=lambda text: bool(1 / 0)))
    assert isinstance(log.error, ZeroDivisionError)
    assert log.terminals == ["error"]


def test_race_again_for_each_subscription(time: TestScheduler) -> None:
    source = race(cold(time, t1=BROKEN), cold(time, t2="b", t3=END))
    assert told(seen(time, source)) == told(seen(time, source, 2000)) == [(1, "b")]


# hedge


def test_a_quick_one_is_not_hedged(time: TestScheduler) -> None:
    first = cold(time, t1="Once ", t9="upon", t10=END)
    asked: list[int] = []
    second = rx.defer(lambda _: asked.append(1) or rx.never())
    log = seen(time, hedge(first, second, after=2))
    assert told(log) == [(0, "Once "), (0, "upon")]
    assert log.times == [1, 9, 10]
    assert asked == []


def test_a_slow_one_is_and_the_first_to_speak_goes_on_live(time: TestScheduler) -> None:
    first = cold(time, t8="late", t9=END)
    second = cold(time, t1="b1 ", t3="b2", t4=END)  # from its start, at 2
    log = seen(time, hedge(first, second, after=2))
    assert told(log) == [(1, "b1 "), (1, "b2")]
    assert log.times == [3, 5, 6]


def test_each_next_one_is_asked_after_more_silence(time: TestScheduler) -> None:
    log = seen(time, hedge(rx.never(), rx.never(), cold(time, t1="c", t2=END), after=2))
    assert told(log) == [(2, "c")]
    assert log.times == [5, 6]


def test_the_first_may_still_win_while_the_second_is_asked(time: TestScheduler) -> None:
    first = cold(time, t3="a", t6="b", t7=END)
    log = seen(time, hedge(first, cold(time, t2="c", t3=END), after=2))
    assert told(log) == [(0, "a"), (0, "b")]


def test_chunks_without_content_are_not_speech_but_are_kept(time: TestScheduler) -> None:
    first = cold(time, t1=Chunk(model="m"), t5="never")
    second = cold(time, t1=Chunk(model="n"), t2="b", t3=END)
    log = seen(time, hedge(first, second, after=2))
    assert [item.chunk for item in log.items] == [Chunk("b", model="n")]


def test_thinking_is_speech(time: TestScheduler) -> None:
    first = cold(time, t1=Chunk(thinking="hm"), t5="a", t6=END)
    log = seen(time, hedge(first, rx.of("b"), after=2))
    assert told(log) == [(0, ""), (0, "a")]


def test_a_failure_before_speech_asks_the_next_at_once(time: TestScheduler) -> None:
    log = seen(time, hedge(cold(time, t1=BROKEN), cold(time, t1="b", t2=END), after=50))
    assert told(log) == [(1, "b")]
    assert log.times == [2, 3]


def test_a_failure_after_speech_is_the_end(time: TestScheduler) -> None:
    log = seen(time, hedge(cold(time, t1="a", t2=BROKEN), rx.of("b"), after=5))
    assert told(log) == [(0, "a")]
    assert log.error is BROKEN


def test_an_empty_answer_is_one(time: TestScheduler) -> None:
    log = seen(time, hedge(cold(time, t1=END), rx.of("b"), after=5))
    assert (log.items, log.terminals) == ([], ["completed"])


def test_a_hedge_whose_sources_all_fail_has_every_reason(time: TestScheduler) -> None:
    log = seen(time, hedge(cold(time, t3=BROKEN), cold(time, t9=REFUSED), after=1))
    assert isinstance(log.error, NoAnswerError)
    assert log.error.errors == (BROKEN, REFUSED)
    assert log.times == [10]


def test_hedges_own_clock(time: TestScheduler) -> None:
    log = Log(time)
    log.to(hedge(rx.never(), rx.of("b"), after=2, scheduler=time))
    time.advance_to(10)
    assert told(log) == [(1, "b")]
    assert log.times == [2, 2]


@pytest.mark.parametrize("wrong", [0, -1, "2", None, True, float("inf")])
def test_a_hedge_after_no_time_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="after"):
        hedge(rx.of("a"), after=wrong)


# fallback


def test_what_works_needs_no_fallback(time: TestScheduler) -> None:
    asked: list[int] = []
    second = rx.defer(lambda _: asked.append(1) or rx.never())
    log = seen(time, fallback(cold(time, t1="a", t2=END), second))
    assert told(log) == [(0, "a")]
    assert asked == []


def test_the_next_is_asked_when_one_fails_before_its_text(time: TestScheduler) -> None:
    first = cold(time, t1=Chunk(model="m"), t2=REFUSED)
    log = seen(time, fallback(first, cold(time, t1=BROKEN), cold(time, t1="c", t2=END)))
    assert told(log) == [(0, ""), (2, "c")]
    assert log.times == [1, 4, 5]


def test_after_text_it_fails_by_default(time: TestScheduler) -> None:
    log = seen(time, fallback(cold(time, t1="a", t2=BROKEN), rx.of("b")))
    assert told(log) == [(0, "a")]
    assert log.error is BROKEN


def test_after_text_it_may_begin_anew_which_the_index_tells(time: TestScheduler) -> None:
    source = fallback(cold(time, t1="a", t2=BROKEN), rx.of("b"), after_text="restart")
    assert told(seen(time, source)) == [(0, "a"), (1, "b")]


def test_text_may_be_held_until_it_is_whole(time: TestScheduler) -> None:
    second = cold(time, t1="b1 ", t2="b2", t3=END)
    log = seen(time, fallback(cold(time, t1="a", t2=BROKEN), second, after_text="hold"))
    assert told(log) == [(1, "b1 b2")]
    assert log.items[0].source is second
    assert log.times == [5, 5]


def test_errors_that_no_other_source_would_mend_pass(time: TestScheduler) -> None:
    log = seen(time, fallback(rx.throw(ValueError("a bug")), rx.of("b")))
    assert isinstance(log.error, ValueError)
    only = RateLimitError("slower", status=429)
    source = fallback(rx.throw(only), rx.of("b"), on=RateLimitError)
    assert told(seen(time, source, 2000)) == [(1, "b")]
    source = fallback(rx.throw(BROKEN), rx.of("b"), on=RateLimitError)
    assert seen(time, source, 3000).error is BROKEN


def test_when_all_fail_it_has_every_reason(time: TestScheduler) -> None:
    log = seen(time, fallback(rx.throw(REFUSED), cold(time, t1=BROKEN)))
    assert isinstance(log.error, NoAnswerError)
    assert log.error.errors == (REFUSED, BROKEN)
    assert log.error.text == "half"


def test_an_unknown_policy_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidInputError, match="'fail', 'restart', 'hold'"):
        fallback(rx.of("a"), after_text="again")  # type: ignore[arg-type]


@pytest.mark.parametrize("choose", [race, fallback, lambda *s: hedge(*s, after=1)])
def test_to_choose_there_has_to_be_one(choose: Any) -> None:
    with pytest.raises(InvalidInputError, match="needs at least 1 source"):
        choose()
    with pytest.raises(InvalidInputError, match="source 1 is a str"):
        choose("a")
