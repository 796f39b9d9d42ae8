"""A subscriber that misbehaves takes nothing from the others."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.scheduler import (
    EventLoopScheduler,
    NewThreadScheduler,
    ThreadPoolScheduler,
    TimeoutScheduler,
)

from mellea_rx import GenerationFailedError
from mellea_rx.operators import chunk_timeout, coalesce, observe, smooth
from tests.core.hand import PATIENCE, Recorder, soon, started, started_many, until, until_blocking


def test_a_raising_subscriber_loses_its_subscription_and_the_others_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        thunk, answer = started()
        before, after = Recorder(), Recorder()
        calls = []

        def raising(chunk: Any) -> None:
            calls.append(chunk)
            raise ZeroDivisionError("oops")

        before.to(thunk)
        thunk.subscribe(raising)
        after.to(thunk)
        for word in ("a", "b", "c"):
            answer.say(word)
            await until(lambda end=word: before.text.endswith(end))
        answer.end()
        await until(lambda: before.terminals and after.terminals)
        assert before.text == after.text == "abc"
        assert before.terminals == after.terminals == ["completed"]
        assert len(calls) == 1
        assert await soon(thunk.avalue()) == "abc"

    with caplog.at_level(logging.ERROR, "mellea_rx"):
        asyncio.run(main())
    assert "a subscriber raised" in caplog.text
    assert "oops" in caplog.text


def test_a_subscriber_without_on_error_leaves_the_others_their_terminal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        thunk, answer = started()
        before, after = Recorder(), Recorder()
        before.to(thunk)
        thunk.subscribe(lambda _: None)
        after.to(thunk)
        answer.say("a")
        answer.fail(GenerationFailedError("the model crashed"))
        await until(lambda: before.terminals and after.terminals)
        assert before.terminals == after.terminals == ["error"]
        assert isinstance(after.error, GenerationFailedError)
        assert after.error.text == "a"

    with caplog.at_level(logging.ERROR, "mellea_rx"):
        asyncio.run(main())
    assert "no on_error" in caplog.text


@pytest.mark.parametrize("terminal", ["on_error", "on_completed"])
def test_one_that_raises_in_its_terminal_leaves_the_others_theirs(
    caplog: pytest.LogCaptureFixture, terminal: str
) -> None:
    def explode(*_: object) -> None:
        raise ZeroDivisionError("oops")

    async def main() -> None:
        thunk, answer = started()
        after = Recorder()
        thunk.subscribe(lambda _: None, **{"on_error": lambda _: None, terminal: explode})
        after.to(thunk)
        answer.say("a")
        if terminal == "on_error":
            answer.fail(GenerationFailedError("the model crashed"))
        else:
            answer.end()
        await until(lambda: after.terminals)
        assert after.text == "a"

    with caplog.at_level(logging.ERROR, "mellea_rx"):
        asyncio.run(main())
    assert "oops" in caplog.text


def test_a_slow_subscriber_on_its_own_scheduler_holds_up_nobody() -> None:
    thunk, answer = started()
    go_on = threading.Event()
    slow, quick = Recorder(), Recorder()

    def blocked(chunk: Any) -> None:
        assert go_on.wait(PATIENCE)
        slow.on_next(chunk)

    thunk.subscribe(blocked, slow.on_error, slow.on_completed, scheduler=NewThreadScheduler())
    quick.to(thunk)
    answer.say("a", "b")
    answer.end()
    assert quick.ended.wait(PATIENCE)
    assert quick.text == "ab"
    assert thunk.wait(PATIENCE).value == "ab"
    go_on.set()
    assert slow.ended.wait(PATIENCE)
    assert slow.text == "ab"


def on_first(action: Callable[[], object]) -> Callable[[Any], None]:
    """An on_next that does something the first time."""
    done = []

    def on_next(_: Any) -> None:
        if not done:
            done.append(True)
            action()

    return on_next


def test_subscribing_within_on_next_disturbs_nobody() -> None:
    async def main() -> None:
        thunk, answer = started()
        before, within, after = Recorder(), Recorder(), Recorder()
        before.to(thunk)
        thunk.subscribe(on_first(lambda: within.to(thunk)), lambda _: None)
        after.to(thunk)
        answer.say("a")
        await until(lambda: after.texts)
        answer.say("b", "c")
        answer.end()
        await until(lambda: before.terminals and within.terminals and after.terminals)
        assert [each.text for each in (before, within, after)] == ["abc"] * 3
        assert within.terminals == ["completed"]

    asyncio.run(main())


def test_disposing_another_within_on_next_disturbs_nobody_else() -> None:
    async def main() -> None:
        thunk, answer = started()
        before, victim, after = Recorder(), Recorder(), Recorder()
        before.to(thunk)
        thunk.subscribe(on_first(lambda: subscription.dispose()), lambda _: None)
        subscription = victim.to(thunk)
        after.to(thunk)
        answer.say("a")
        await until(lambda: after.texts)
        answer.say("b")
        answer.end()
        await until(lambda: before.terminals and after.terminals)
        assert before.text == after.text == "ab"
        assert victim.texts == []
        assert victim.terminals == []

    asyncio.run(main())


def test_cancelling_within_on_next_gives_everybody_one_terminal() -> None:
    async def main() -> None:
        thunk, answer = started()
        before, after = Recorder(), Recorder()
        before.to(thunk)
        thunk.subscribe(on_first(thunk.cancel), lambda _: None)
        after.to(thunk)
        answer.say("a")
        await until(lambda: before.terminals and after.terminals)
        assert before.text == after.text == "a"
        assert before.terminals == after.terminals == ["error"]

    asyncio.run(main())


def test_a_reentrant_subscriber_sees_its_chunks_in_order() -> None:
    async def main() -> None:
        thunk, answer = started()
        depth, deepest, texts = [0], [0], []

        def on_next(chunk: Any) -> None:
            depth[0] += 1
            deepest[0] = max(deepest[0], depth[0])
            answer.say(f"{len(texts)} ") if len(texts) < 5 else answer.end()
            texts.append(str(chunk))
            depth[0] -= 1

        thunk.subscribe(on_next, lambda _: None)
        answer.say("go ")
        assert await soon(thunk.avalue()) == "go 0 1 2 3 4 "
        await until(lambda: len(texts) == 6)
        assert texts == ["go ", "0 ", "1 ", "2 ", "3 ", "4 "]
        assert deepest == [1]

    asyncio.run(main())


def raises(error: BaseException) -> Callable[..., None]:
    """A callback that raises."""

    def callback(*_: object) -> None:
        raise error

    return callback


FATAL = [asyncio.CancelledError, SystemExit, KeyboardInterrupt, GeneratorExit]


@pytest.mark.parametrize("kind", FATAL)
@pytest.mark.parametrize("where", ["on_next", "on_completed", "a timer"])
def test_no_exception_of_a_subscriber_of_sync_code_takes_anything_from_the_others(
    kind: type[BaseException], where: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        thunk, answer = started()
        before, after = Recorder(), Recorder()
        before.to(thunk)
        if where == "a timer":
            thunk.pipe(coalesce(0.001)).subscribe(raises(kind("mine")))
        else:
            thunk.subscribe(**{"on_next": lambda _: None, where: raises(kind("mine"))})
        after.to(thunk)
        answer.say("a").end()
        assert before.ended.wait(PATIENCE)
        assert after.ended.wait(PATIENCE)
        assert before.text == after.text == "a"
    until_blocking(lambda: kind.__name__ in caplog.text)
    late = Recorder()
    late.to(thunk)
    assert late.ended.wait(PATIENCE)


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit])
def test_on_a_loop_such_an_exception_ends_one_subscription(kind: type[BaseException]) -> None:
    async def main() -> None:
        thunk, answer = started()
        after = Recorder()
        thunk.subscribe(raises(kind()))
        after.to(thunk)
        answer.say("a").end()
        await until(lambda: after.terminals)
        assert after.text == "a"

    asyncio.run(main())


def test_an_exit_in_a_subscriber_on_a_loop_ends_its_program() -> None:
    thunk, answer = started()
    calls: list[Any] = []

    def leave(chunk: Any) -> None:
        calls.append(chunk)
        raise SystemExit(3)

    async def main() -> None:
        thunk.subscribe(leave)
        answer.say("a")
        await asyncio.sleep(PATIENCE)

    with pytest.raises(SystemExit) as caught:
        asyncio.run(main())
    assert caught.value.code == 3
    thunk.keep_alive().dispose()
    assert thunk.cancelled, "its subscription has ended: nobody takes it any more"
    assert len(calls) == 1


def test_subscribers_of_sync_code_that_block_hold_up_no_other() -> None:
    go_on = threading.Event()
    blocked, others = [], []
    for _ in range(12):
        thunk, answer = started()
        recorder = Recorder()
        inside = threading.Event()

        def block(chunk: Any, recorder: Any = recorder, inside: Any = inside) -> None:
            inside.set()
            assert go_on.wait(PATIENCE * 2)
            recorder.on_next(chunk)

        thunk.subscribe(block, recorder.on_error, recorder.on_completed)
        other = Recorder()
        other.to(thunk)
        answer.say("a", "b").end()
        assert inside.wait(PATIENCE)
        blocked.append(recorder)
        others.append(other)
    for other in others:
        assert other.ended.wait(PATIENCE)
        assert other.text == "ab"
    assert not any(recorder.terminals for recorder in blocked)
    go_on.set()
    for recorder in blocked:
        assert recorder.ended.wait(PATIENCE)
        assert recorder.text == "ab"


def test_a_timed_operator_whose_subscriber_blocks_holds_up_no_other() -> None:
    go_on, inside = threading.Event(), threading.Event()

    def block(_: Any) -> None:
        inside.set()
        assert go_on.wait(PATIENCE * 2)

    thunk, answer = started()
    other = Recorder()
    thunk.pipe(coalesce(0.001)).subscribe(block)
    answer.say("a")
    assert inside.wait(PATIENCE)
    thunk.pipe(coalesce(0.001)).subscribe(other)
    until_blocking(lambda: other.text == "a")
    answer.say("b").end()
    assert other.ended.wait(PATIENCE)
    go_on.set()


def test_a_slow_subscriber_gets_its_chunks_one_call_at_a_time_in_order() -> None:
    thunk, answer = started()
    inside = threading.Lock()
    texts: list[str] = []
    ended = threading.Event()

    def slow(chunk: Any) -> None:
        assert inside.acquire(blocking=False)
        threading.Event().wait(0.02)  # beyond what a delivery thread is waited for
        texts.append(str(chunk))
        inside.release()

    thunk.subscribe(slow, on_completed=ended.set)
    for number in range(10):
        answer.say(f"{number} ")
        thunk.subscribe(lambda _: None)
    answer.end()
    assert ended.wait(PATIENCE)
    assert "".join(texts) == "".join(f"{n} " for n in range(10))


def test_all_that_one_subscription_leads_to_is_called_one_at_a_time() -> None:
    thunks, hand = started_many(4)
    inside, overlaps = threading.Lock(), []
    ended = threading.Event()

    def slow(_: Any) -> None:
        if not inside.acquire(blocking=False):
            overlaps.append(1)
            return
        threading.Event().wait(0.015)
        inside.release()

    first, second, third, fourth = thunks
    both = rx.of(first, second).pipe(ops.flat_map(lambda thunk: thunk))
    merged = rx.merge(both, third, rx.just(0).pipe(ops.flat_map(lambda _: fourth)))
    merged.pipe(ops.do_action(slow)).subscribe(on_completed=ended.set)
    for number in range(5):
        for answer in hand.answers:
            answer.say(f"{number}")
    for answer in hand.answers:
        answer.end()
    assert ended.wait(PATIENCE)
    assert overlaps == []


def test_many_subscribers_that_are_quick_need_few_threads() -> None:
    thunk, answer = started()
    recorders = [Recorder() for _ in range(300)]
    threads: set[int] = set()
    for recorder in recorders:
        recorder.to(thunk)
        thunk.subscribe(lambda _: threads.add(threading.get_ident()))
    for number in range(5):
        answer.say(f"{number}")
    answer.end()
    for recorder in recorders:
        assert recorder.ended.wait(PATIENCE * 4)
        assert recorder.text == "01234"
    assert len(threads) < 100


@pytest.mark.parametrize("kind", FATAL)
def test_a_sink_that_raises_in_sync_code_takes_nothing_from_its_stream(
    kind: type[BaseException],
) -> None:
    thunk, answer = started()
    recorder = Recorder()
    recorder.to(thunk.pipe(observe(raises(kind()))))
    answer.say("a").end()
    assert recorder.ended.wait(PATIENCE)
    assert (recorder.text, recorder.terminals) == ("a", ["completed"])


def test_a_scheduler_that_takes_another_thread_each_time_gets_everything() -> None:
    for _ in range(20):
        thunk, answer = started()
        recorder = Recorder()
        recorder.to(thunk, scheduler=TimeoutScheduler())
        answer.say("a", "b", "c").end()
        assert recorder.ended.wait(PATIENCE)
        assert (recorder.text, recorder.terminals) == ("abc", ["completed"])


TIMED: dict[str, Any] = {"coalesce": coalesce(0.001), "smooth": smooth(0.001)}


@pytest.mark.parametrize("scheduler", [None, NewThreadScheduler, EventLoopScheduler])
@pytest.mark.parametrize("name", TIMED)
def test_a_subscriber_that_raises_in_a_timer_loses_its_subscription(
    name: str, scheduler: Any
) -> None:
    made = scheduler and scheduler()
    thunk, answer = started()
    calls: list[Any] = []
    other = Recorder()

    def raising(item: Any) -> None:
        calls.append(item)
        raise ZeroDivisionError("oops")

    thunk.pipe(TIMED[name]).subscribe(raising, calls.append, calls.append, scheduler=made)
    other.to(thunk.pipe(TIMED[name]), scheduler=made)
    for word in ("a ", "b ", "c "):
        answer.say(word)
        until_blocking(lambda end=word: other.text.endswith(end) or name == "smooth")
    answer.end()
    assert other.ended.wait(PATIENCE)
    assert other.text == "a b c "
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["coalesce", "smooth"])
def test_what_a_subscriber_raises_in_its_terminal_ends_no_thread_of_its_scheduler(
    name: str,
) -> None:
    made = EventLoopScheduler()
    for _ in range(2):
        thunk, answer = started()
        recorder = Recorder()
        thunk.pipe(TIMED[name]).subscribe(
            lambda _: None, raises(ZeroDivisionError()), raises(ZeroDivisionError()), scheduler=made
        )
        recorder.to(thunk.pipe(TIMED[name]), scheduler=made)
        answer.say("a b").end()
        assert recorder.ended.wait(PATIENCE)
        assert recorder.text == "a b"
    made.dispose()


def test_a_limit_takes_no_thread_of_a_pool_from_the_chunks() -> None:
    made = ThreadPoolScheduler(1)
    thunk, answer = started()
    recorder = Recorder()
    recorder.to(thunk.pipe(chunk_timeout(total=60)), scheduler=made)
    answer.say("a").end()
    assert recorder.ended.wait(PATIENCE)
    assert (recorder.text, recorder.terminals) == ("a", ["completed"])
    made.executor.shutdown()
