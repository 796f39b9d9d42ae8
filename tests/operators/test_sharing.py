"""More than one reader of a stream."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import Observable
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from mellea_rx import Chunk, GenerationCancelledError, StreamInterruptedError, UnexpectedError
from mellea_rx.operators import observe, tee
from tests.core.hand import soon, started
from tests.operators.cuts import cut, places, texts
from tests.operators.virtual import END, Log, cold, seen

# tee


@given(texts, places, st.lists(st.integers(0, 20), min_size=1, max_size=5))
def test_every_reader_sees_the_same_text_whenever_it_comes(
    text: str, at: list[int], moments: list[int]
) -> None:
    time = TestScheduler()
    pieces = cut(text, at)
    source = cold(time, **{f"t{n + 1}": piece for n, piece in enumerate(pieces)}, t15=END)
    readers = source.pipe(tee(len(moments)))
    logs = [Log(time) for _ in moments]
    for moment, reader, log in zip(moments, readers, logs, strict=True):
        rx.timer(moment, scheduler=time).pipe(
            ops.flat_map(lambda _, reader=reader: reader)
        ).subscribe(log.on_next, log.on_error, log.on_completed, scheduler=time)
    time.advance_to(100)
    assert [log.text for log in logs] == [text] * len(moments)
    assert all(log.terminals == ["completed"] for log in logs)
    assert len(source.subscriptions) == 1


@settings(max_examples=50)
@given(st.integers(1, 9), st.integers(1, 9))
def test_the_source_is_left_with_the_last_reader(first: int, second: int) -> None:
    time = TestScheduler()
    source = cold(time, t2="a", t4="b", t20=END)
    a, b = source.pipe(tee(2))
    subscriptions = [Log().to(each, scheduler=time) for each in (a, b)]
    for moment, subscription in sorted(
        zip((first, second), subscriptions, strict=True), key=lambda each: each[0]
    ):
        rx.timer(moment, scheduler=time).subscribe(lambda _, s=subscription: s.dispose())
    time.advance_to(100)
    assert [each.unsubscribe for each in source.subscriptions] == [max(first, second)]


def test_who_comes_after_the_source_was_left_gets_the_text_and_is_told() -> None:
    time = TestScheduler()
    a, b = cold(time, t1="Once ", t5="upon").pipe(tee(2))
    subscription = Log().to(a, scheduler=time)
    time.advance_to(2)
    subscription.dispose()
    late = seen(time, b)
    assert late.text == "Once "
    assert isinstance(late.error, GenerationCancelledError)
    assert "left" in str(late.error)


def test_a_late_reader_of_an_empty_source_gets_nothing_as_one_in_time_does() -> None:
    time = TestScheduler()
    in_time, late = rx.empty().pipe(tee(2))
    first, second = seen(time, in_time), seen(time, late, until=2000.0)
    assert (first.items, second.items) == ([], [])
    assert (first.terminals, second.terminals) == (["completed"], ["completed"])


def test_a_slow_reader_gets_chunks_joined_and_holds_nobody() -> None:
    async def main() -> None:
        thunk, answer = started()
        quick, slow = thunk.pipe(tee(2))
        shown, behind = Log(), Log()
        lazy = TestScheduler()
        behind.to(slow, scheduler=lazy)
        done = asyncio.Event()
        quick.subscribe(shown.on_next, shown.on_error, done.set)
        answer.say(*["a"] * 50).end()
        await soon(done.wait())
        assert shown.text == "a" * 50
        assert behind.items == []
        lazy.advance_to(1)
        assert behind.items[0] == Chunk("a" * 50, finish_reason=behind.items[0].finish_reason)
        assert behind.terminals == ["completed"]

    asyncio.run(main())


def test_the_source_has_a_scheduler_of_its_own() -> None:
    given: list[Any] = []

    def subscribe(observer: Any, scheduler: Any = None) -> Disposable:
        given.append(scheduler)
        return Disposable()

    own = TestScheduler()
    for how in ({}, {"scheduler": own}):
        a, b = Observable(subscribe).pipe(tee(2, **how))
        Log().to(a, scheduler=TestScheduler())
        Log().to(b, scheduler=TestScheduler())
    assert given == [None, own]


def test_each_reader_is_called_where_it_subscribed() -> None:
    async def main() -> None:
        here = asyncio.get_running_loop()
        called: list[Any] = []
        done = asyncio.Event()
        a, b = rx.of("a", "b").pipe(tee(2))
        a.subscribe(lambda _: called.append(asyncio.get_running_loop()), None, done.set)
        await soon(done.wait())
        assert called == [here]
        assert str(await asyncio.to_thread(b.run)) == "ab"

    asyncio.run(main())


def test_a_reader_that_raises_ends_its_own_subscription(caplog: pytest.LogCaptureFixture) -> None:
    def faulty(chunk: Chunk) -> None:
        raise ValueError("my fault")

    time = TestScheduler()
    a, b = cold(time, t1="a", t2="b", t3=END).pipe(tee(2))
    a.subscribe(faulty, scheduler=time)
    assert seen(time, b).text == "ab"
    assert "a subscriber raised in on_next" in caplog.text


def test_every_reader_gets_the_error() -> None:
    time = TestScheduler()
    broken = StreamInterruptedError("it broke")
    a, b = cold(time, t1="a", t2=broken).pipe(tee(2))
    first = Log(time)
    first.to(a, scheduler=time)
    assert seen(time, b).error is first.error is broken
    assert broken.text == "a"


def test_a_strangers_error_is_the_cause() -> None:
    time = TestScheduler()
    mine = ValueError("mine")
    log = seen(time, rx.throw(mine).pipe(tee(1))[0])
    assert isinstance(log.error, UnexpectedError)
    assert log.error.__cause__ is mine


def test_no_reader_no_subscription() -> None:
    asked: list[int] = []

    def subscribe(observer: Any, scheduler: Any = None) -> Disposable:
        asked.append(1)
        return Disposable()

    a, b = Observable(subscribe).pipe(tee(2))
    assert asked == []
    Log().to(a).dispose()
    Log().to(b).dispose()
    assert asked == [1]


# observe


def test_a_sink_sees_all_and_before_the_subscriber() -> None:
    order: list[str] = []
    rx.of("a", "b").pipe(observe(lambda item: order.append(f"sink {item}"))).subscribe(order.append)
    assert order == ["sink a", "a", "sink b", "b"]


def test_an_observer_as_a_sink_gets_the_terminal_too() -> None:
    for source, terminals in ((rx.of("a"), ["completed"]), (rx.throw(ValueError()), ["error"])):
        sink, log = Log(), Log()
        log.to(source.pipe(observe(sink)))
        assert sink.terminals == log.terminals == terminals
        assert sink.items == log.items
    subject: Subject[str] = Subject()
    texts: list[str] = []
    subject.subscribe(texts.append)
    rx.of("a", "b").pipe(observe(subject)).subscribe()
    assert texts == ["a", "b"]


def test_what_a_sink_raises_is_logged_once_and_the_stream_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[str] = []

    def faulty(item: str) -> None:
        calls.append(item)
        raise ValueError("my fault")

    log = Log()
    source = rx.of("a", "b").pipe(observe(faulty))
    log.to(source)
    assert (log.items, log.terminals, calls) == (["a", "b"], ["completed"], ["a"])
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    assert "my fault" in caplog.text
    log = Log()
    log.to(source)
    assert calls == ["a", "a"]


@pytest.mark.parametrize("terminal", ["on_error", "on_completed"])
def test_a_sink_that_raises_in_its_terminal_does_not_disturb(
    terminal: str, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(*_: Any) -> None:
        raise ValueError("my fault")

    sink = Log()
    setattr(sink, terminal, faulty)
    for source in (rx.of("a"), rx.throw(StreamInterruptedError("it broke"))):
        log = Log()
        log.to(source.pipe(observe(sink)))
        assert len(log.terminals) == 1
        sink.terminals.clear()
    assert "my fault" in caplog.text
