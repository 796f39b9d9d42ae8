"""Rx's contract for every operator on chunks, whatever it does to the items."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex import Observable
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from mellea_rx import (
    Chunk,
    GenerationCancelledError,
    GenerationFailedError,
    InvalidInputError,
    MelleaSession,
    ScriptedBackend,
    StreamInterruptedError,
)
from mellea_rx.operators import (
    accumulate,
    by_line,
    by_paragraph,
    by_sentence,
    by_word,
    chunk_timeout,
    coalesce,
    observe,
    partial_object,
    retry,
    smooth,
    split_thinking,
    tee,
    text,
)
from tests.core.hand import STREAM, soon, started
from tests.operators.virtual import END, Log, cold, same_error, seen

Operator = Callable[[Observable[Any]], Observable[Any]]

OPERATORS: dict[str, Callable[[], Operator]] = {
    "accumulate": accumulate,
    "by_line": by_line,
    "by_paragraph": by_paragraph,
    "by_sentence": by_sentence,
    "by_word": by_word,
    "chunk_timeout": lambda: chunk_timeout(idle=50),
    "coalesce": lambda: coalesce(2),
    "observe": lambda: observe(lambda _: None),
    "retry": retry,
    "smooth": lambda: smooth(1),
    "split_thinking": split_thinking,
    "tee": lambda: lambda source: tee(2)(source)[0],
    "text": text,
}
WHOLE_TEXT = sorted(set(OPERATORS) - {"accumulate"})
"""Operators whose items joined are the text."""
BROKEN = StreamInterruptedError("it broke")

every = pytest.mark.parametrize("make", OPERATORS.values(), ids=OPERATORS.keys())
keeping_the_text = pytest.mark.parametrize("name", WHOLE_TEXT)


def brief(time: TestScheduler) -> Observable[Any]:
    return cold(time, t1="One. ", t2="Two", t4=" <and\n\n", t8="Three.", t9=END)


@keeping_the_text
@pytest.mark.parametrize("kind", [str, Chunk], ids=["str", "Chunk"])
def test_the_text_goes_through_whole(name: str, kind: Callable[[str], Any]) -> None:
    time = TestScheduler()
    log = seen(time, brief(time).pipe(ops.map(kind), OPERATORS[name]()))
    assert log.text == "One. Two <and\n\nThree."
    assert log.terminals == ["completed"]


@keeping_the_text
def test_all_that_came_before_an_error_goes_out_before_it(name: str) -> None:
    time = TestScheduler()
    log = seen(time, cold(time, t1="One. ", t2="Two <th", t3=BROKEN).pipe(OPERATORS[name]()))
    assert log.text == "One. Two <th"
    assert log.error is BROKEN
    assert log.times[-1] == 3
    assert log.terminals == ["error"]


@every
def test_its_state_is_of_one_subscription(make: Callable[[], Operator]) -> None:
    operator = make()
    time = TestScheduler()
    shared = brief(time).pipe(operator)
    first, second = Log(), Log()
    first.to(shared, scheduler=time)
    second.to(shared, scheduler=time)
    time.advance_to(100)
    assert first.items == second.items
    assert first.terminals == second.terminals == ["completed"]
    assert seen(TestScheduler(), rx.of("other").pipe(operator)).text == "other"


@pytest.mark.parametrize("name", sorted(set(OPERATORS) - {"tee"}))  # its readers have their own
def test_the_subscriptions_scheduler_is_handed_on(name: str) -> None:
    given: list[Any] = []

    def subscribe(observer: Any, scheduler: Any = None) -> Disposable:
        given.append(scheduler)
        return Disposable()

    time = TestScheduler()
    seen(time, Observable(subscribe).pipe(OPERATORS[name]()), until=1)
    assert given == [time]


@every
@given(when=st.integers(1, 12))
def test_disposed_at_any_moment_it_is_silent_and_leaves_its_source(
    make: Callable[[], Operator], when: int
) -> None:
    time = TestScheduler()
    source = brief(time)
    log = Log(time)
    subscription = log.to(source.pipe(make()), scheduler=time)
    time.advance_to(when)
    before = len(log.items), len(log.terminals)
    subscription.dispose()
    subscription.dispose()
    time.advance_to(100)
    assert (len(log.items), len(log.terminals)) == before
    assert all(each.unsubscribe <= max(when, 9) for each in source.subscriptions)


@every
def test_disposing_in_on_next_ends_it(make: Callable[[], Operator]) -> None:
    time = TestScheduler()
    items: list[Any] = []
    terminals: list[str] = []

    def on_next(item: Any) -> None:
        items.append(item)
        subscription.dispose()

    subscription = (
        brief(time)
        .pipe(make())
        .subscribe(
            on_next,
            lambda _: terminals.append("error"),
            lambda: terminals.append("completed"),
            scheduler=time,
        )
    )
    time.advance_to(100)
    assert len(items) == 1
    assert terminals == []


@every
def test_take_one_of_a_source_that_is_done_at_once(make: Callable[[], Operator]) -> None:
    time = TestScheduler()
    log = seen(time, rx.of("One. Two.\n\nThree ").pipe(make(), ops.take(1)))
    assert len(log.items) == 1
    assert log.terminals == ["completed"]


@every
def test_an_empty_source_completes(make: Callable[[], Operator]) -> None:
    log = seen(TestScheduler(), rx.empty().pipe(make()))
    assert (log.items, log.terminals) == ([], ["completed"])


@every
def test_after_the_terminal_the_source_is_not_heard(make: Callable[[], Operator]) -> None:
    time = TestScheduler()

    def rude(observer: Any, scheduler: Any = None) -> Disposable:
        observer.on_next("One.")
        observer.on_completed()
        observer.on_next("Two.")
        observer.on_error(BROKEN)
        return Disposable()

    log = seen(time, Observable(rude).pipe(make()))
    assert (log.text, log.terminals) == ("One.", ["completed"])


class Unspeakable:
    """An item without a text."""

    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize("name", sorted(set(OPERATORS) - {"observe", "retry"}))
def test_what_an_items_text_raises_goes_to_on_error(name: str) -> None:
    time = TestScheduler()
    log = seen(time, cold(time, t1=Unspeakable(), t2="b").pipe(OPERATORS[name]()))
    assert log.terminals == ["error"]
    assert "no words" in str(log.error)


@every
def test_a_thunk_is_a_source(make: Callable[[], Operator]) -> None:
    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend(["One. ", "Two. "])).ainstruct(
            "Go.", model_options=STREAM
        )
        log = Log()
        done = asyncio.get_running_loop().create_future()
        thunk.pipe(make(), ops.finally_action(lambda: done.set_result(None))).subscribe(
            log.on_next, log.on_error, log.on_completed
        )
        await soon(done)
        assert log.text.endswith("One. Two. ")
        assert log.terminals == ["completed"]

    asyncio.run(main())


@pytest.mark.parametrize("name", WHOLE_TEXT)
@pytest.mark.parametrize("cancelled", [False, True], ids=["failed", "cancelled"])
def test_a_thunk_that_has_failed_gives_its_text_and_its_error(name: str, cancelled: bool) -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("One. Tw")
        assert await soon(thunk.astream()) == "One. Tw"
        if cancelled:
            thunk.cancel()
        else:
            answer.fail(GenerationFailedError("crashed"))
        with pytest.raises((GenerationFailedError, GenerationCancelledError)):
            await soon(thunk.avalue())
        log = Log()
        done = asyncio.Event()
        thunk.pipe(OPERATORS[name](), ops.finally_action(done.set)).subscribe(
            log.on_next, log.on_error, log.on_completed
        )
        await soon(done.wait())
        assert log.text == "One. Tw"
        assert same_error(log.error, thunk.error)

    asyncio.run(main())


def test_a_subscriber_that_raises_in_a_timer_does_not_stop_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def faulty(chunk: Chunk) -> None:
        raise ValueError("my fault")

    first: Subject[str] = Subject()
    first.pipe(coalesce(0.001)).subscribe(faulty)
    first.on_next("a")
    assert rx.of("b", "c").pipe(ops.concat(rx.timer(0.01)), coalesce(0.001), ops.first()).run()
    assert str(rx.of("b").pipe(ops.concat(rx.never()), coalesce(0.001), ops.first()).run()) == "b"
    assert [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR] == [
        "a subscriber raised in on_next; its subscription has ended"
    ]


NO_TIME = [0, -1, float("nan"), float("inf"), True, "1", None]


@pytest.mark.parametrize("wrong", NO_TIME)
def test_what_is_no_time_is_refused_by_name(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="window must be a number of seconds"):
        coalesce(wrong)
    with pytest.raises(InvalidInputError, match="interval must be a number of seconds"):
        smooth(wrong)
    for name in ("first", "idle", "total"):
        with pytest.raises(InvalidInputError, match=name):
            chunk_timeout(**{name: wrong})


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2", None])
def test_what_is_no_count_is_refused_by_name(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="n must be an int, 1 or more"):
        tee(wrong)


@pytest.mark.parametrize("wrong", ["", 3, None])
def test_what_is_no_tag_is_refused_by_name(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="open must be a str"):
        split_thinking(open=wrong)
    with pytest.raises(InvalidInputError, match="close must be a str"):
        split_thinking(close=wrong)


@pytest.mark.parametrize("wrong", [None, 3, "sink"])
def test_what_is_no_sink_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="sink must be a function or an observer"):
        observe(wrong)


@pytest.mark.parametrize("wrong", [int, str, 3, "list", tuple[int, int], list[Any] | None])
def test_what_is_no_object_or_array_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="partial_object takes a dataclass"):
        partial_object(wrong)
