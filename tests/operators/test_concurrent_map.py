"""map_async and map_generate as a state machine: reentrancy, disposal, inputs of all kinds."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import operators as ops
from reactivex.disposable import Disposable, SingleAssignmentDisposable
from reactivex.scheduler import NewThreadScheduler, TimeoutScheduler
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler
from reactivex.subject import Subject

from mellea_rx import (
    GenerationCancelledError,
    MelleaSession,
    ModelOutputThunk,
    ScriptedBackend,
)
from mellea_rx.backends import Pause
from mellea_rx.core.runtime.delivery import running_loop
from mellea_rx.operators import (
    map_async,
    map_generate,
    map_thunks,
    merge,
    to_async_iterator,
    to_iterator,
)
from mellea_rx.operators.concurrent_map import ConcurrentMap, Row
from mellea_rx.testing import run_virtual
from tests.core.hand import PATIENCE, STREAM, Hand, Recorder, soon, until

ROWS = 100_000


class AtOnce:
    """Work that is done as soon as it starts."""

    def __init__(self) -> None:
        self.deepest = 0

    def pause(self) -> float:
        return 0.0

    def count_start(self) -> None:
        pass

    def start(self, row: Row) -> None:
        row.complete(row.input)

    def count_end(self, row: Row) -> None:
        pass


async def same(n: int) -> int:
    return n


def echo() -> MelleaSession:
    return MelleaSession(ScriptedBackend(lambda request: request.messages[-1].content))


# Reentrancy


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("kind", [range, "generator", "async"])
def test_rows_that_end_at_once_make_the_stack_no_deeper(kind: Any, ordered: bool) -> None:
    count = ROWS if kind is range else ROWS // 20

    async def asynchronous() -> AsyncIterator[int]:
        for n in range(count):
            yield n

    async def main() -> None:
        inputs: Any = asynchronous() if kind == "async" else range(count)
        if kind == "generator":
            inputs = (n for n in inputs)
        mapped: ConcurrentMap[int] = ConcurrentMap(
            inputs, AtOnce, max_concurrent=3, ordered=ordered
        )
        items: list[int] = []
        done = asyncio.get_running_loop().create_future()
        mapped.subscribe(items.append, done.set_exception, lambda: done.set_result(None))
        async with asyncio.timeout(60):
            await done
        assert items == list(range(count))

    asyncio.run(main())


def test_rows_that_end_at_once_leave_others_their_turns() -> None:
    async def main() -> None:
        seen: list[int] = []
        mapped: ConcurrentMap[int] = ConcurrentMap(
            range(10_000), AtOnce, max_concurrent=8, ordered=True
        )
        mapped.subscribe(seen.append)
        most = 0
        while len(seen) < 10_000:
            before = len(seen)
            await asyncio.sleep(0)
            most = max(most, len(seen) - before)
        assert most <= 64

    asyncio.run(main())


def test_a_subscriber_may_subscribe_and_start_calls_in_on_next() -> None:
    async def main() -> None:
        inner: list[str] = []
        outer: list[str] = []
        m = echo()

        def on_next(item: Any) -> None:
            outer.append(str(item))
            more = map_generate(m, "{{ input }}!", max_concurrent=2)([str(item), "x"])
            more.subscribe(lambda each: inner.append(str(each)))

        map_generate(m, "{{ input }}", max_concurrent=2)(["a", "b", "c"]).subscribe(on_next)
        await until(lambda: len(inner) == 6)
        assert outer == ["a", "b", "c"]
        assert sorted(inner) == ["a!", "b!", "c!", "x!", "x!", "x!"]

    asyncio.run(main())


# Early disposal


@pytest.mark.parametrize("at", [1, 2, 5])
@pytest.mark.parametrize("ordered", [True, False])
def test_a_subscriber_that_leaves_in_on_next_gets_nothing_more_and_starts_nothing_more(
    at: int, ordered: bool
) -> None:
    async def main() -> None:
        seen: list[Any] = []
        started: list[int] = []
        subscription = SingleAssignmentDisposable()

        async def work(n: int) -> int:
            started.append(n)
            return n

        def on_next(n: int) -> None:
            seen.append(n)
            if len(seen) == at:
                subscription.dispose()

        mapped = map_async(work, max_concurrent=3, ordered=ordered)(range(100))
        subscription.disposable = mapped.subscribe(on_next, seen.append, lambda: seen.append("end"))
        for _ in range(50):
            await asyncio.sleep(0)
        assert seen == list(range(at))
        assert len(started) <= at - 1 + 3  # what was on its way already

    asyncio.run(main())


def test_leaving_before_it_has_begun_pulls_and_starts_nothing() -> None:
    def inputs() -> Iterator[int]:
        raise AssertionError("pulled")
        yield 1

    async def main() -> None:
        for source in (inputs(), [1, 2]):
            begun: list[int] = []
            map_async(begun.append, max_concurrent=2)(source).subscribe().dispose()
            for _ in range(20):
                await asyncio.sleep(0)
            assert begun == []

    asyncio.run(main())


def test_leaving_ends_the_calls_that_run_and_gives_their_rows_no_terminal() -> None:
    async def main() -> None:
        hand, recorder = Hand(4), Recorder()
        m = MelleaSession(hand, model_options=STREAM)
        subscription = recorder.to(map_generate(m, "{{ input }}", max_concurrent=3)(range(9)))
        await until(lambda: len(hand.requests) == 3)
        subscription.dispose()
        for answer in hand.answers[:3]:
            assert await asyncio.to_thread(answer.closed.wait, PATIENCE)
        assert recorder.texts == []
        assert not recorder.terminals

    asyncio.run(main())


def test_a_subscriber_that_raises_loses_its_subscription(caplog: Any) -> None:
    async def main() -> None:
        hand = Hand(3)
        m = MelleaSession(hand, model_options=STREAM)

        def on_next(item: Any) -> None:
            raise ValueError("my fault")

        map_generate(m, "{{ input }}", max_concurrent=2)(range(9)).subscribe(on_next)
        await until(lambda: len(hand.requests) == 2)
        hand.answers[0].say("a").end()
        assert await asyncio.to_thread(hand.answers[1].closed.wait, PATIENCE)
        assert not hand.answers[2].asked.is_set()

    asyncio.run(main())
    assert "my fault" in caplog.text


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit])
def test_a_subscriber_that_raises_no_exception_ends_it_too(error: type[BaseException]) -> None:
    async def main() -> None:
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        hand = Hand(3)
        m = MelleaSession(hand, model_options=STREAM)

        def on_next(item: Any) -> None:
            raise error

        map_generate(m, "{{ input }}", max_concurrent=2)(range(9)).subscribe(on_next)
        await until(lambda: len(hand.requests) == 2)
        hand.answers[0].say("a").end()
        assert await asyncio.to_thread(hand.answers[1].closed.wait, PATIENCE)

    asyncio.run(main())


def test_the_end_of_a_program_ends_its_calls_and_tells_the_subscriber() -> None:
    hand, recorder = Hand(2), Recorder()

    async def main() -> None:
        m = MelleaSession(hand, model_options=STREAM)
        recorder.to(map_generate(m, "{{ input }}", max_concurrent=2)(range(9)))
        await until(lambda: len(hand.requests) == 2)

    asyncio.run(main())
    assert all(answer.closed.wait(PATIENCE) for answer in hand.answers)
    assert recorder.ended.wait(PATIENCE)
    assert isinstance(recorder.error, GenerationCancelledError)


def test_a_loop_that_is_closed_under_it_ends_its_calls() -> None:
    hand = Hand(3)
    loop = asyncio.new_event_loop()

    async def begin() -> Any:
        m = MelleaSession(hand, model_options=STREAM)
        subscription = map_generate(m, "{{ input }}", max_concurrent=2)(range(9)).subscribe()
        await until(lambda: len(hand.requests) == 2)
        return subscription

    subscription = loop.run_until_complete(begin())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loop.set_exception_handler(lambda *_: None)  # "Task was destroyed but it is pending"
        loop.close()
        hand.answers[0].say("a").end()
        assert hand.answers[1].closed.wait(PATIENCE)
        subscription.dispose()
        del subscription
        gc.collect()


@pytest.mark.parametrize("way", ["failed", "left", "complete"])
def test_nothing_of_its_rows_is_kept_without_the_collector(way: str) -> None:
    thunks: list[weakref.ref[Any]] = []

    async def call(n: int) -> Any:
        if way == "failed" and n == 2:
            await until(lambda: len(thunks) == 2)
            raise ZeroDivisionError("oops")
        answer: Any = "done" if way == "complete" else ["first", Pause(60)]
        thunk = await MelleaSession(ScriptedBackend(answer)).ainstruct("Go.")
        thunks.append(weakref.ref(thunk))
        return thunk

    async def main() -> None:
        errors: list[Exception] = []
        mapped = map_generate(call, max_concurrent=3)(range(3))
        subscription = mapped.subscribe(lambda _: None, errors.append)
        await until(lambda: len(thunks) == (2 if way == "failed" else 3))
        if way == "left":
            subscription.dispose()
        await until(lambda: all(thunk() is None for thunk in thunks))
        assert len(errors) == (way == "failed")

    gc.collect()
    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()


# Inputs


@pytest.mark.parametrize(
    "inputs",
    [[1, 2, 3], (1, 2, 3), range(1, 4), {1, 2, 3}, frozenset({1, 2, 3}), {1: "a", 2: "b", 3: "c"}],
    ids=lambda value: type(value).__name__,
)
def test_a_container_is_stepped_without_a_thread(inputs: Any) -> None:
    async def main() -> None:
        before = set(threading.enumerate())
        mapped = map_async(same, max_concurrent=2)(inputs)
        assert [n async for n in to_async_iterator(mapped)] == [1, 2, 3]
        assert not [
            each for each in threading.enumerate() if each not in before and "worker" in each.name
        ]

    asyncio.run(main())


def test_a_generator_that_blocks_does_not_block_the_loop_and_gives_what_it_has() -> None:
    go_on = threading.Event()

    def slow() -> Iterator[int]:
        yield 0
        yield 1
        assert go_on.wait(PATIENCE)
        yield 2

    async def main() -> None:
        recorder = Recorder()
        recorder.to(map_async(same, max_concurrent=8)(slow()))
        await until(lambda: recorder.texts == ["0", "1"])
        go_on.set()
        await until(lambda: recorder.terminals)
        assert recorder.texts == ["0", "1", "2"]

    asyncio.run(main())


def test_a_generator_is_stepped_in_one_thread_at_a_time_and_closed_when_it_is_left() -> None:
    inside, left = threading.Lock(), threading.Event()
    go_on = threading.Event()
    overlaps: list[str] = []

    def slow() -> Iterator[int]:
        try:
            for n in range(1000):
                if not inside.acquire(blocking=False):
                    overlaps.append("two at once")
                inside.release()
                if n == 5:
                    assert go_on.wait(PATIENCE)
                yield n
        finally:
            left.set()

    async def main() -> None:
        recorder = Recorder()
        subscription = recorder.to(map_async(same, max_concurrent=2)(slow()))
        await until(lambda: recorder.texts == ["0", "1", "2", "3", "4"])
        subscription.dispose()  # within a step
        for _ in range(10):
            await asyncio.sleep(0)
        assert not left.is_set()
        go_on.set()
        assert await asyncio.to_thread(left.wait, PATIENCE)
        assert recorder.texts == ["0", "1", "2", "3", "4"]
        assert overlaps == []

    asyncio.run(main())


def faulty(kind: str, at: int) -> Any:
    def plain() -> Iterator[int]:
        yield from range(at)
        raise ZeroDivisionError("oops")

    async def asynchronous() -> AsyncIterator[int]:
        for n in range(at):
            yield n
        raise ZeroDivisionError("oops")

    if kind == "observable":
        return rx.concat(rx.of(*range(at)), rx.throw(ZeroDivisionError("oops")))
    return plain() if kind == "plain" else asynchronous()


@pytest.mark.parametrize("kind", ["plain", "async", "observable"])
@pytest.mark.parametrize("at", [0, 3])
def test_inputs_that_raise_fail_it_and_cancel_what_runs(kind: str, at: int) -> None:
    async def main() -> None:
        cancelled: list[int] = []
        recorder = Recorder()

        async def never(n: int) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(n)
                raise

        recorder.to(map_async(never, max_concurrent=5)(faulty(kind, at)))
        await until(lambda: recorder.terminals)
        assert isinstance(recorder.error, ZeroDivisionError)
        # They may not all have begun; those that had are over by now.
        assert set(cancelled) <= set(range(at))
        assert not [task for task in asyncio.all_tasks() if "never" in repr(task)]

    asyncio.run(main())


class NoIterator:
    def __iter__(self) -> Iterator[int]:
        raise ZeroDivisionError("no iterator")


def test_an_iterable_that_has_no_iterator_fails_it() -> None:
    with pytest.raises(ZeroDivisionError, match="no iterator"):
        list(to_iterator(map_async(same, max_concurrent=2)(NoIterator())))


def test_a_set_that_changes_meanwhile_fails_it() -> None:
    async def main() -> None:
        numbers = set(range(100))

        async def change(n: int) -> int:
            numbers.add(n + 1000)
            return n

        with pytest.raises(RuntimeError, match="changed size"):
            async for _ in to_async_iterator(map_async(change, max_concurrent=2)(numbers)):
                pass

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["plain", "async", "observable", "list"])
def test_no_inputs_complete_it(kind: str) -> None:
    async def none() -> AsyncIterator[int]:
        return
        yield 1

    inputs = {"plain": iter(()), "async": none(), "observable": rx.empty(), "list": []}[kind]
    assert list(to_iterator(map_async(same, max_concurrent=2)(inputs))) == []


def test_inputs_that_are_cancelled_from_within_fail_it() -> None:
    async def cancelled() -> AsyncIterator[int]:
        yield 1
        raise asyncio.CancelledError

    recorder = Recorder()
    recorder.to(map_async(same, max_concurrent=2)(cancelled()))
    assert recorder.ended.wait(PATIENCE)
    assert isinstance(recorder.error, GenerationCancelledError)


def test_a_subject_is_left_when_the_stream_is() -> None:
    async def main() -> None:
        inputs: Subject[int] = Subject()
        recorder = Recorder()
        subscription = recorder.to(map_async(same, max_concurrent=2)(inputs))
        await until(lambda: inputs.observers)
        inputs.on_next(1)
        await until(lambda: recorder.texts == ["1"])
        subscription.dispose()
        await until(lambda: not inputs.observers)

    asyncio.run(main())


# Where it runs


def test_what_is_bound_to_the_subscribers_context_reaches_every_row() -> None:
    name: ContextVar[str] = ContextVar("name", default="nobody")

    async def of_coroutine(_: int) -> str:
        before = name.get()
        name.set("changed")  # for itself only
        return before

    def of_thread(_: int) -> str:
        return name.get()

    async def main() -> None:
        name.set("mine")
        for function in (of_coroutine, of_thread):
            mapped = map_async(function, max_concurrent=2)(range(9))  # type: ignore[arg-type]
            assert set(await soon(mapped.pipe(ops.to_list()))) == {"mine"}

    asyncio.run(main())


@pytest.mark.parametrize("make", [map_generate, map_thunks])
def test_sync_code_needs_no_loop(make: Any) -> None:
    items = list(to_iterator(make(echo(), "{{ input }}", max_concurrent=3)(range(20))))
    assert [each.input for each in items] == list(range(20))
    assert [str(each.thunk) for each in items] == [str(n) for n in range(20)]


def test_a_scheduler_of_another_loop_is_where_it_runs() -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    where: set[Any] = set()

    async def work(n: int) -> int:
        where.add(running_loop())
        return n

    recorder = Recorder()
    seen_in: set[Any] = set()
    try:
        map_async(work, max_concurrent=2)(range(9)).subscribe(
            lambda n: (seen_in.add(running_loop()), recorder.on_next(n)),
            recorder.on_error,
            recorder.on_completed,
            scheduler=AsyncIOThreadSafeScheduler(loop),
        )
        assert recorder.ended.wait(PATIENCE)
        assert recorder.texts == [str(n) for n in range(9)]
        assert where == seen_in == {loop}
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.mark.parametrize("scheduler", [NewThreadScheduler, TimeoutScheduler])
def test_a_scheduler_with_a_thread_gets_all_in_order(scheduler: Any) -> None:
    recorder = Recorder()
    mapped = map_generate(echo(), "{{ input }}", max_concurrent=3)(range(30))
    mapped.subscribe(
        recorder.on_next,
        recorder.on_error,
        recorder.on_completed,
        scheduler=scheduler(),
    )
    assert recorder.ended.wait(PATIENCE)
    assert recorder.texts == [str(n) for n in range(30)]


class Counting(MelleaSession):
    """A session whose verb does something before it starts a call."""

    counted = 0

    async def ainstruct(self, *args: Any, **kwargs: Any) -> ModelOutputThunk[str]:  # type: ignore[override]
        async with asyncio.timeout(PATIENCE):  # needs a task
            await asyncio.sleep(0)
        self.counted += 1
        return await super().ainstruct(*args, **kwargs)


def test_a_session_with_a_verb_of_its_own_is_asked_by_that() -> None:
    async def main() -> None:
        m = Counting(ScriptedBackend(lambda request: request.messages[-1].content))
        mapped = map_generate(m, "{{ input }}", max_concurrent=2)(range(5))
        items = [str(each) async for each in to_async_iterator(mapped)]
        assert items == ["0", "1", "2", "3", "4"]
        assert m.counted == 5

    asyncio.run(main())


def test_a_coroutine_that_comes_of_a_function_too_late_is_closed() -> None:
    go_on = threading.Event()
    m = echo()

    def slow(city: str) -> Any:
        assert go_on.wait(PATIENCE)
        return m.ainstruct(city)

    async def main() -> None:
        subscription = map_generate(slow, max_concurrent=1)(["a"]).subscribe()
        await until(lambda: any("worker" in each.name for each in threading.enumerate()))
        await asyncio.sleep(0.01)
        subscription.dispose()
        for _ in range(10):
            await asyncio.sleep(0)
        go_on.set()
        await asyncio.sleep(0.05)
        gc.collect()  # "coroutine was never awaited" would be an error here

    asyncio.run(main())


# The law


@settings(max_examples=60, deadline=None)
@given(
    times=st.lists(st.integers(0, 5), max_size=12),
    room=st.integers(1, 5),
    ordered=st.booleans(),
    kind=st.sampled_from(["list", "generator", "async", "observable"]),
)
def test_all_come_once_in_their_order_and_never_more_run_than_may(
    times: list[int], room: int, ordered: bool, kind: str
) -> None:
    most = running = 0
    pulled = 0
    given_out: list[int] = []

    async def work(at: int) -> int:
        nonlocal most, running
        running += 1
        most = max(most, running)
        assert pulled <= len(given_out) + room or kind in ("list", "observable")
        await asyncio.sleep(times[at])
        running -= 1
        return at

    def plain() -> Iterator[int]:
        nonlocal pulled
        for at in range(len(times)):
            pulled += 1
            yield at

    async def asynchronous() -> AsyncIterator[int]:
        for at in plain():
            yield at

    kinds: dict[str, Callable[[], Any]] = {
        "list": lambda: list(range(len(times))),
        "generator": plain,
        "async": asynchronous,
        "observable": lambda: rx.of(*range(len(times))),
    }

    async def main() -> None:
        mapped = map_async(work, max_concurrent=room, ordered=ordered)(kinds[kind]())
        done = asyncio.get_running_loop().create_future()
        mapped.subscribe(given_out.append, done.set_exception, lambda: done.set_result(None))
        await done

    run_virtual(main())
    assert sorted(given_out) == list(range(len(times)))
    if ordered:
        assert given_out == sorted(given_out)
    assert most <= room


def test_items_of_an_ordered_stream_are_not_held_by_later_ones() -> None:
    async def main() -> None:
        clock = asyncio.get_running_loop().time
        began = clock()

        async def work(n: int) -> int:
            await asyncio.sleep(n)
            return n

        items = to_async_iterator(map_async(work, max_concurrent=2)([3, 1, 1]))
        assert [round(clock() - began) async for _ in items] == [3, 3, 4]

    run_virtual(main())


def test_results_that_are_due_together_come_one_in_a_turn() -> None:
    async def main() -> None:
        async def shout(text: str) -> str:
            return text.upper()

        words = ["one", "two", "three", "four"]
        for ordered in (True, False):
            # A reader that joins texts which wait for it finds each of them alone.
            loud = map_async(shout, max_concurrent=9, ordered=ordered)(words)
            assert [text async for text in to_async_iterator(loud)] == [
                "ONE",
                "TWO",
                "THREE",
                "FOUR",
            ]

    asyncio.run(main())


def test_soon_after_an_end_the_next_row_starts() -> None:
    async def main() -> None:
        hand, recorder = Hand(3), Recorder()
        m = MelleaSession(hand, model_options=STREAM)
        recorder.to(map_generate(m, "{{ input }}", max_concurrent=1)(["a", "b", "c"]))
        for n in range(3):
            await until(lambda at=n: len(hand.requests) == at + 1)
            hand.answers[n].say(str(n)).end()
        await soon(until(lambda: recorder.terminals))
        assert recorder.texts == ["0", "1", "2"]

    asyncio.run(main())


# merge with a cap


@pytest.mark.parametrize("limit", [1, 7, None])
def test_sources_that_end_at_once_make_the_stack_no_deeper(limit: int | None) -> None:
    seen: list[int] = []
    ends: list[str] = []
    sources = [rx.of(str(n)) for n in range(3_000)]
    merge(*sources, max_concurrent=limit).subscribe(
        lambda item: seen.append(item.index),
        lambda error: ends.append(repr(error)),
        lambda: ends.append("end"),
    )
    assert seen == list(range(3_000))
    assert ends == ["end"]


def test_no_source_is_lost_when_they_end_on_many_threads_at_once() -> None:
    running = most = 0
    lock = threading.Lock()

    def in_a_thread(n: int) -> rx.Observable[str]:
        def subscribe(observer: Any, _: Any = None) -> Disposable:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)

            def run() -> None:
                nonlocal running
                observer.on_next(str(n))
                with lock:
                    running -= 1
                observer.on_completed()

            threading.Thread(target=run).start()
            return Disposable()

        return rx.create(subscribe)

    for _ in range(5):
        recorder = Recorder()
        recorder.to(merge(*(in_a_thread(n) for n in range(200)), max_concurrent=4))
        assert recorder.ended.wait(PATIENCE)
        assert recorder.error is None
        assert sorted(map(int, recorder.texts)) == list(range(200))
    assert most <= 4


def test_a_merge_that_is_left_subscribes_to_no_more_sources() -> None:
    subscribed: list[int] = []

    def source(n: int) -> rx.Observable[str]:
        return rx.defer(lambda _: subscribed.append(n) or rx.of(str(n)))  # type: ignore[func-returns-value]

    merge(*(source(n) for n in range(9)), max_concurrent=1).pipe(ops.take(3)).subscribe()
    assert subscribed == [0, 1, 2]
    failing = merge(source(1), rx.throw(ZeroDivisionError("oops")), source(3), max_concurrent=1)
    subscribed.clear()
    errors: list[Exception] = []
    failing.subscribe(lambda _: None, errors.append)
    assert subscribed == [1]
    assert isinstance(errors[0], ZeroDivisionError)


# Observables as inputs


def test_what_an_observable_emits_on_other_threads_waits_until_it_is_asked_for() -> None:
    async def main() -> None:
        inputs: Subject[int] = Subject()
        gates: dict[int, asyncio.Future[None]] = {}

        async def work(n: int) -> int:
            gates[n] = asyncio.get_running_loop().create_future()
            await gates[n]
            return n

        recorder = Recorder()
        recorder.to(map_async(work, max_concurrent=2)(inputs))
        await until(lambda: inputs.observers)
        await asyncio.to_thread(lambda: [inputs.on_next(n) for n in range(4)])
        await asyncio.to_thread(inputs.on_error, ZeroDivisionError("oops"))
        await until(lambda: set(gates) == {0, 1})
        for n in range(4):
            await until(lambda at=n: at in gates)
            assert not recorder.terminals  # its error comes after what came before it
            gates[n].set_result(None)
        await until(lambda: recorder.terminals)
        assert isinstance(recorder.error, ZeroDivisionError)
        assert recorder.texts[:3] == ["0", "1", "2"]

    asyncio.run(main())


class Once:
    """An iterator that counts its steps after its end."""

    def __init__(self, items: int, error: Exception | None = None) -> None:
        self.left, self.error, self.steps_after = items, error, 0
        self.has_ended = False

    def __iter__(self) -> Once:
        return self

    def __next__(self) -> int:
        self.steps_after += self.has_ended
        if self.left:
            self.left -= 1
            return self.left
        self.has_ended = True
        raise self.error or StopIteration


@pytest.mark.parametrize("error", [None, ValueError("no more rows")])
def test_an_iterator_is_not_stepped_after_its_end(error: Exception | None) -> None:
    async def main() -> None:
        inputs = Once(2, error)
        stream = map_async(lambda n: n, max_concurrent=8)(inputs)
        with suppress(ValueError):
            assert [item async for item in to_async_iterator(stream)] == [1, 0]
        await asyncio.sleep(0.05)  # a step that should not be made would come from a thread
        assert inputs.steps_after == 0

    asyncio.run(main())


def test_a_function_that_raises_stop_async_iteration_does_not_end_the_stream_silently() -> None:
    async def hint(_: int) -> int:
        raise StopAsyncIteration

    async def main() -> None:
        stream = map_async(hint, max_concurrent=2)(range(5))
        with pytest.raises(RuntimeError, match="StopAsyncIteration"):
            await soon(anext(to_async_iterator(stream)))

    asyncio.run(main())


def test_async_inputs_that_raise_no_exception_class_end_the_stream() -> None:
    class Outcome(BaseException):
        """As pytest's own, for a failed test."""

    async def rows() -> AsyncIterator[int]:
        yield 1
        raise Outcome("no more rows")

    async def main() -> None:
        stream = to_async_iterator(map_async(lambda n: n, max_concurrent=1)(rows()))
        assert await soon(anext(stream)) == 1
        with pytest.raises(RuntimeError, match="the inputs raised Outcome: no more rows"):
            await soon(anext(stream))

    asyncio.run(main())
