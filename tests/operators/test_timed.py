"""Operators with a clock, in virtual time."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import operators as ops
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from mellea_rx import (
    Chunk,
    ConnectionFailedError,
    FirstTokenTimeoutError,
    GenerationTimeoutError,
    IdleTimeoutError,
    InvalidInputError,
    ModelNotFoundError,
    RateLimitError,
    ServerError,
    StreamInterruptedError,
    TotalTimeoutError,
    Usage,
)
from mellea_rx.core.streams.buffers import ChunkAccumulator
from mellea_rx.operators import RetryPolicy, chunk_timeout, coalesce, retry, smooth
from tests.operators.cuts import texts
from tests.operators.virtual import END, Log, cold, seen

BROKEN = StreamInterruptedError("it broke")


def timed(time: TestScheduler, items: list[Any], gaps: list[float]) -> rx.Observable[Any]:
    """A source of these items, with these pauses before them, in tenths of a second."""
    at, table = 0.0, {}
    for index, item in enumerate(items):
        at += (gaps[index % len(gaps)] if gaps else 0) / 10
        table[f"t{at + index / 1000:.3f}".replace(".", "_")] = item
    table[f"t{at + 1:.3f}".replace(".", "_")] = END
    return cold(time, **table)


gaps = st.lists(st.integers(0, 30), max_size=6)


# coalesce


def test_a_window_opens_with_a_chunk_and_gives_all_of_it_as_one() -> None:
    time = TestScheduler()
    log = seen(time, cold(time, t1="a", t2="b", t3_5="c", t4_5="d", t20=END).pipe(coalesce(3)))
    assert log.items == [Chunk("abc"), Chunk("d")]
    assert log.times == [4, 7.5, 20]


def test_whatever_else_chunks_have_is_kept() -> None:
    said = [Chunk("a", thinking="x"), Chunk("b", model="m"), Chunk(usage=Usage(1, 2))]
    whole = rx.of(*said).pipe(coalesce(1), ops.to_list()).run()
    assert whole == [Chunk("ab", "x", model="m", usage=Usage(1, 2))]


@given(st.lists(st.text(max_size=3).map(Chunk), max_size=12), gaps)
def test_coalescing_loses_nothing(chunks: list[Chunk], pauses: list[float]) -> None:
    time = TestScheduler()
    log = seen(time, timed(time, chunks, pauses).pipe(coalesce(0.7)))
    before, after = ChunkAccumulator(), ChunkAccumulator()
    for chunk in chunks:
        before.add(chunk)
    for chunk in log.items:
        after.add(chunk)
    assert after.snapshot() == before.snapshot()
    assert len(log.items) <= len(chunks)
    assert log.terminals == ["completed"]


def test_no_timer_runs_when_nothing_waits() -> None:
    time = TestScheduler()
    seen(time, rx.never().pipe(coalesce(1)), until=5)
    assert not time._queue


# smooth


def test_words_that_come_at_once_go_one_by_one() -> None:
    time = TestScheduler()
    log = seen(time, cold(time, t1="one two three four", t2=END).pipe(smooth(0.5)))
    assert log.items == ["one ", "two ", "three ", "four"]
    assert log.times == [1, 1.5, 2, 2.5, 2.5]


def test_a_word_that_comes_late_is_not_held_back() -> None:
    time = TestScheduler()
    log = seen(time, cold(time, t1="one t", t7="wo t", t9=END).pipe(smooth(2)))
    assert log.items == ["one ", "two ", "t"]
    assert log.times == [1, 7, 9, 9]


def test_a_burst_does_not_lag_for_long() -> None:
    time = TestScheduler()
    log = seen(time, cold(time, t1="word " * 1000, t2=END).pipe(smooth(1)))
    assert log.text == "word " * 1000
    assert log.times[-1] < 60
    assert [len(item.split()) for item in log.items[:2]] == [1, 125]


@pytest.mark.parametrize("rate", [1, 3, 20])
def test_a_steady_source_is_followed_at_its_own_rate(rate: int) -> None:
    """The number of waiting words is bounded, whatever the rate, over 200 intervals."""
    time = TestScheduler()
    source = rx.interval(1, scheduler=time).pipe(ops.map(lambda _: "word " * rate), ops.take(200))
    log = seen(time, source.pipe(smooth(1)), until=200)
    behind = 200 * rate - len(log.text.split())
    assert behind <= 9 * rate


@given(texts, st.integers(1, 9), gaps)
@settings(max_examples=60)
def test_smoothing_loses_nothing(text: str, size: int, pauses: list[float]) -> None:
    time = TestScheduler()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    log = seen(time, timed(time, pieces, pauses).pipe(smooth(0.25)))
    assert log.text == text
    assert log.terminals == ["completed"]


# chunk_timeout


def test_the_first_token_has_a_limit_of_its_own() -> None:
    time = TestScheduler()
    source = cold(time, t1=Chunk(), t2=Chunk(model="m"), t8="late")
    log = seen(time, source.pipe(chunk_timeout(first=5, idle=1)))
    assert isinstance(log.error, FirstTokenTimeoutError)
    assert log.times == [1, 2, 5]
    assert source.subscriptions[0].unsubscribe == 5


def test_content_breaks_the_silence_and_an_empty_chunk_does_not() -> None:
    time = TestScheduler()
    source = cold(
        time, t1="a", t3=Chunk(thinking="hm"), t5="b", t6=Chunk(), t7=Chunk(usage=Usage(1, 1))
    )
    log = seen(time, source.pipe(chunk_timeout(idle=3)))
    assert isinstance(log.error, IdleTimeoutError)
    assert log.error.text == "ab"
    assert log.times[-1] == 8
    assert source.subscriptions[0].unsubscribe == 8


def test_a_tool_call_that_is_being_written_breaks_the_silence() -> None:
    time = TestScheduler()
    piece = Chunk(arguments_size=5)
    source = cold(time, t2=piece, t4=piece, t6=piece, t8="b")
    log = seen(time, source.pipe(chunk_timeout(first=3, idle=3)))
    assert log.times[:4] == [2, 4, 6, 8]
    assert (log.error.text, log.times[-1]) == ("b", 11)


def test_the_end_has_to_come_in_time_too() -> None:
    time = TestScheduler()
    assert isinstance(
        seen(time, cold(time, t1="a").pipe(chunk_timeout(idle=3))).error, IdleTimeoutError
    )


def test_the_whole_has_a_limit_however_it_drips() -> None:
    time = TestScheduler()
    dripping = rx.interval(1, scheduler=time).pipe(ops.map(lambda n: f"{n} "))
    log = seen(time, dripping.pipe(chunk_timeout(first=4, idle=4, total=5.5)))
    assert isinstance(log.error, TotalTimeoutError)
    assert log.error.text == "0 1 2 3 4 "
    assert log.times[-1] == 5.5


def test_the_nearest_limit_counts() -> None:
    time = TestScheduler()
    late = seen(time, cold(time, t1="a").pipe(chunk_timeout(first=100, idle=2, total=50)))
    assert isinstance(late.error, IdleTimeoutError)
    assert late.times[-1] == 3
    time = TestScheduler()
    log = seen(time, rx.never().pipe(chunk_timeout(first=100, idle=2, total=50)))
    assert isinstance(log.error, TotalTimeoutError)


def test_what_comes_in_time_passes_as_it_is() -> None:
    time = TestScheduler()
    source = cold(time, t1="a", t3="b", t5=END)
    log = seen(time, source.pipe(chunk_timeout(first=2, idle=3, total=6)))
    assert (log.items, log.times, log.terminals) == (["a", "b"], [1, 3, 5], ["completed"])
    assert not [each for each in time._queue.items if not each[0].is_cancelled()]


@pytest.mark.parametrize("limit", ["first", "idle", "total"])
def test_the_message_names_the_limit(limit: str) -> None:
    time = TestScheduler()
    log = seen(time, cold(time, t9="a").pipe(chunk_timeout(**{limit: 2.5, "total": 2.5})))
    assert isinstance(log.error, GenerationTimeoutError)
    assert "2.5 s" in str(log.error)


def test_a_timeout_without_a_limit_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="`first`, `idle` or `total`"):
        chunk_timeout()


def test_one_timer_a_stream_and_not_one_a_chunk() -> None:
    class Counting(TestScheduler):
        set_up = 0

        def schedule_relative(self, *args: Any, **kwargs: Any) -> Any:
            Counting.set_up += 1
            return super().schedule_relative(*args, **kwargs)

    chunks: Subject[str] = Subject()
    log = Log()
    log.to(chunks.pipe(chunk_timeout(first=5, idle=5, scheduler=Counting())))
    for _ in range(1000):
        chunks.on_next("a")
    chunks.on_completed()
    assert Counting.set_up == 2
    assert log.terminals == ["completed"]


# retry


def attempts(*sources: rx.Observable[Any]) -> rx.Observable[Any]:
    """A cold call: each subscription gets the next of these."""
    following = iter(sources)
    return rx.defer(lambda _: next(following))


STEADY = RetryPolicy(initial=1, maximum=4, jitter=0)


def test_another_attempt_comes_after_a_pause_that_doubles() -> None:
    time = TestScheduler()
    calls: list[float] = []

    def call(_: Any) -> rx.Observable[Any]:
        calls.append(time.clock)
        return rx.throw(ConnectionFailedError(f"refused {len(calls)}"))

    policy = RetryPolicy(tries=6, initial=1, maximum=4, jitter=0)
    log = seen(time, rx.defer(call).pipe(retry(policy)))
    assert calls == [0, 1, 3, 7, 11, 15]
    assert str(log.error) == "refused 6"
    assert log.terminals == ["error"]


@pytest.mark.parametrize(
    "error", [RateLimitError("busy", status=429), ServerError("x", status=503)]
)
def test_it_completes_with_the_attempt_that_does(error: Exception) -> None:
    time = TestScheduler()
    log = seen(time, attempts(rx.throw(error), rx.of("a", "b")).pipe(retry(STEADY)))
    assert (log.items, log.terminals) == (["a", "b"], ["completed"])


@pytest.mark.parametrize("error", [ModelNotFoundError("no", status=404), ValueError("mine")])
def test_what_would_only_fail_again_is_not_retried(error: Exception) -> None:
    log = seen(TestScheduler(), attempts(rx.throw(error), rx.of("a")).pipe(retry(STEADY)))
    assert (log.items, log.error) == ([], error)


def test_what_is_retried_can_be_chosen() -> None:
    policy = RetryPolicy(jitter=0, retry_on=(ValueError,))
    log = seen(TestScheduler(), attempts(rx.throw(ValueError()), rx.of("a")).pipe(retry(policy)))
    assert log.items == ["a"]


def test_once_text_has_flowed_there_is_no_other_attempt_unless_asked_for() -> None:
    time = TestScheduler()
    broken = cold(time, t1=Chunk(model="m"), t2="Once ", t3=BROKEN)
    log = seen(time, attempts(broken, rx.of("again")).pipe(retry(STEADY)))
    assert log.text == "Once "
    assert log.error is BROKEN

    time = TestScheduler()
    broken = cold(time, t2="Once ", t3=BROKEN)
    again = retry(RetryPolicy(initial=1, jitter=0), after_text=True)
    log = seen(time, attempts(broken, rx.of("Once upon")).pipe(again))
    assert (log.items, log.terminals) == (["Once ", "Once upon"], ["completed"])


@pytest.mark.parametrize(
    ("policy", "items"),
    [
        ("fail", ["Once "]),
        (False, ["Once "]),
        ("restart", ["Once ", "Once upon"]),
        (True, ["Once ", "Once upon"]),
    ],
)
def test_after_text_has_the_words_of_fallback_and_takes_a_bool_too(
    policy: Any, items: list[str]
) -> None:
    time = TestScheduler()
    broken = cold(time, t2="Once ", t3=BROKEN)
    again = retry(RetryPolicy(initial=1, jitter=0), after_text=policy)
    assert seen(time, attempts(broken, rx.of("Once upon")).pipe(again)).items == items


@pytest.mark.parametrize("policy", ["hold", "again", None, 2])
def test_an_unknown_policy_after_text_is_refused_with_those_there_are(policy: Any) -> None:
    with pytest.raises(InvalidInputError, match="after_text must be one of 'fail', 'restart'"):
        retry(after_text=policy)


def test_a_chunk_without_content_is_no_text() -> None:
    time = TestScheduler()
    opened = cold(time, t1=Chunk(model="m"), t2=BROKEN)
    log = seen(time, attempts(opened, rx.of("a")).pipe(retry(STEADY)))
    assert log.text == "a"


def test_each_subscription_has_all_its_attempts() -> None:
    time = TestScheduler()
    source = rx.throw(BROKEN).pipe(retry(STEADY))
    assert seen(time, source, until=100).times[-1] == 3
    again = Log(time)
    again.to(source, scheduler=time)
    time.advance_to(200)
    assert again.times == [103]


def test_without_a_scheduler_the_pause_is_of_real_time() -> None:
    policy = RetryPolicy(initial=0.001, jitter=0)

    async def main() -> str:
        return str(await attempts(rx.throw(BROKEN), rx.of("a")).pipe(retry(policy)))

    assert asyncio.run(main()) == "a"
    assert attempts(rx.throw(BROKEN), rx.of("a")).pipe(retry(policy)).run() == "a"


def test_disposed_in_its_pause_it_does_not_try_again() -> None:
    time = TestScheduler()
    calls: list[float] = []

    def call(_: Any) -> rx.Observable[Any]:
        calls.append(time.clock)
        return rx.throw(BROKEN)

    subscription = Log().to(rx.defer(call).pipe(retry(STEADY)), scheduler=time)
    time.advance_to(0.5)
    subscription.dispose()
    time.advance_to(100)
    assert calls == [0]


def test_many_attempts_need_no_deeper_stack() -> None:
    time = TestScheduler()
    policy = RetryPolicy(tries=2000, initial=0.001, maximum=0.001, jitter=0)
    log = seen(time, rx.throw(BROKEN).pipe(retry(policy)))
    assert log.error is BROKEN


def test_no_pause_is_too_large_to_count() -> None:
    assert RetryPolicy(initial=1e300, maximum=1e301, jitter=0).pause(5000) == 1e301


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_pause_is_never_longer_than_it_may_be(attempt: int, jitter: float) -> None:
    policy = RetryPolicy(tries=3, initial=0.5, maximum=8, jitter=jitter)
    longest = min(8, 0.5 * 2 ** min(attempt - 1, 10))
    assert longest * (1 - jitter) <= policy.pause(attempt) <= longest


def test_a_server_may_ask_for_a_longer_pause_up_to_a_cap() -> None:
    policy = RetryPolicy(initial=1, jitter=0, max_retry_after=20)
    asked = {ask: RateLimitError("busy", status=429, retry_after=ask) for ask in (0.1, 7, 3600)}
    assert [policy.pause(1, error) for error in asked.values()] == [1, 7, 20]


def test_no_attempt_begins_after_the_budget() -> None:
    time = TestScheduler()
    calls: list[float] = []

    def call(_: Any) -> rx.Observable[Any]:
        calls.append(time.clock)
        return rx.throw(BROKEN)

    policy = RetryPolicy(tries=100, initial=4, maximum=4, jitter=0, budget=10)
    seen(time, rx.defer(call).pipe(retry(policy)), until=1000)
    assert calls == [0, 4, 8]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("budget", 0),
        ("max_retry_after", "long"),
        ("tries", 0),
        ("attempts", 0),
        ("attempts", 1.5),
        ("initial", 0),
        ("maximum", "8"),
        ("jitter", 1.1),
        ("jitter", -0.1),
        ("jitter", "much"),
        ("jitter", True),
        ("retry_on", ValueError),
        ("retry_on", (int,)),
        ("retry_on", ("ValueError",)),
    ],
)
def test_a_policy_that_cannot_be_used_is_refused_by_name(name: str, wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match=name):
        RetryPolicy(**{name: wrong})


def test_tries_have_another_name_and_only_one_can_be_given() -> None:
    policy = RetryPolicy(attempts=5)
    assert policy == RetryPolicy(tries=5) == RetryPolicy(5)
    assert policy.tries == policy.attempts == replace(policy, initial=1).tries == 5
    assert RetryPolicy().tries == 3
    with pytest.raises(InvalidInputError, match="attempts= is another name of tries=: give one"):
        RetryPolicy(tries=5, attempts=5)


def test_a_retry_without_a_policy_of_its_kind_is_refused() -> None:
    wrong: Any = 3
    with pytest.raises(InvalidInputError, match="policy must be a RetryPolicy, not 3"):
        retry(wrong)


# Threads


@pytest.mark.parametrize("operator", [coalesce(0.0005), smooth(0.0005), chunk_timeout(idle=60)])
def test_timers_and_source_on_two_threads_are_serialized(operator: Any) -> None:
    """The timers run on the delivery thread, the source on this one."""
    source: Subject[str] = Subject()
    inside = threading.Semaphore(1)
    clashes: list[str] = []
    said: list[str] = []
    ended = threading.Event()

    def on_next(item: Any) -> None:
        if not inside.acquire(blocking=False):
            clashes.append(str(item))
            return
        said.append(str(item))
        inside.release()

    source.pipe(operator).subscribe(on_next, lambda _: ended.set(), ended.set)
    text = "a word "
    for _ in range(3000):
        source.on_next(text)
    source.on_completed()
    assert ended.wait(30)
    assert clashes == []
    assert "".join(said) == text * 3000
