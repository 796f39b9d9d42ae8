"""Observables to iterate: nothing lost that should not be, nothing left running."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.subject import Subject

from mellea_rx import (
    BackpressureError,
    BlockingWaitError,
    Chunk,
    ConcurrentReaderError,
    GenerationFailedError,
    InvalidInputError,
    MelleaSession,
    ScriptedBackend,
)
from mellea_rx.core.runtime.engine import engine
from mellea_rx.operators import Tagged, merge, to_async_iterator, to_iterator
from tests.core.hand import PATIENCE, soon, started, started_many, until

BOTH = pytest.mark.parametrize("make", [to_async_iterator, to_iterator])


class Watched(Observable[Any]):
    """A source that tells of its subscriptions, and pushes what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.subject: Subject[Any] = Subject()
        self.subscribed = threading.Event()
        self.disposed = threading.Event()

    def _subscribe_core(
        self, observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        inner = self.subject.subscribe(observer)
        self.subscribed.set()

        def dispose() -> None:
            inner.dispose()
            self.disposed.set()

        return Disposable(dispose)

    def say(self, *items: Any) -> None:
        """Push these."""
        for item in items:
            self.subject.on_next(item)


async def reading(source: Watched, **how: Any) -> Any:
    """An iterator that has subscribed and taken a first item, "go"."""
    items = to_async_iterator(source, **how)
    first = asyncio.ensure_future(soon(anext(items)))
    assert await asyncio.to_thread(source.subscribed.wait, PATIENCE)
    source.say("go")
    assert await first == "go"
    return items


def test_every_item_in_order_then_the_end() -> None:
    async def main() -> None:
        assert [n async for n in to_async_iterator(rx.range(5))] == [0, 1, 2, 3, 4]

    asyncio.run(main())
    assert list(to_iterator(rx.range(5))) == [0, 1, 2, 3, 4]
    assert list(to_iterator(rx.empty())) == []


def test_a_failure_comes_after_the_items_each_time() -> None:
    broken = rx.concat(rx.of(1), rx.throw(ZeroDivisionError("oops")))

    async def main() -> None:
        items = to_async_iterator(broken)
        assert await anext(items) == 1
        for _ in range(2):
            with pytest.raises(ZeroDivisionError, match="oops"):
                await anext(items)

    asyncio.run(main())
    blocking = to_iterator(broken)
    assert next(blocking) == 1
    with pytest.raises(ZeroDivisionError, match="oops"):
        next(blocking)


def test_the_first_step_subscribes() -> None:
    source = Watched()
    items = to_async_iterator(source)
    assert not source.subscribed.is_set()
    del items
    assert not source.disposed.is_set()


def test_coalesce_joins_texts_that_wait() -> None:
    async def main() -> None:
        source = Watched()
        items = await reading(source)
        source.say("a", "b", "c")
        assert await anext(items) == "abc"
        source.say(Chunk("d"), Chunk("e", finish_reason="stop"))
        assert await anext(items) == Chunk("de", finish_reason="stop")
        source.say("f", "g")
        source.subject.on_completed()
        assert [item async for item in items] == ["fg"]

    asyncio.run(main())


def test_coalesce_joins_by_source_and_keeps_what_cannot_be_joined() -> None:
    async def main() -> None:
        source = Watched()
        items = await reading(source)
        a, b = rx.empty(), rx.empty()
        source.say(
            Tagged(0, a, Chunk("1")), Tagged(1, b, Chunk("x")), Tagged(0, a, Chunk("2")), 7, 7
        )
        source.subject.on_completed()
        left = [item async for item in items]
        assert left == [Tagged(0, a, Chunk("12")), Tagged(1, b, Chunk("x")), 7, 7]

    asyncio.run(main())


def test_drop_oldest_keeps_the_newest() -> None:
    async def main() -> None:
        source = Watched()
        items = await reading(source, overflow="drop_oldest", maxsize=2)
        source.say(1, 2, 3, 4)
        source.subject.on_completed()
        assert [item async for item in items] == [3, 4]

    asyncio.run(main())


def test_error_gives_what_waits_then_tells() -> None:
    async def main() -> None:
        source = Watched()
        items = await reading(source, overflow="error", maxsize=2)
        source.say(1, 2, 3, 4)
        assert source.disposed.is_set()
        assert [await anext(items), await anext(items)] == [1, 2]
        with pytest.raises(BackpressureError, match="2 items wait"):
            await anext(items)

    asyncio.run(main())


def test_without_a_maxsize_nothing_overflows() -> None:
    async def main() -> None:
        for overflow in ("block", "drop_oldest", "error"):
            items = to_async_iterator(rx.range(1000), overflow=overflow)  # type: ignore[arg-type]
            assert [n async for n in items] == list(range(1000))

    asyncio.run(main())


def counted(pulled: list[int], limit: int = 1_000_000) -> Iterator[int]:
    for n in range(limit):
        pulled.append(n)
        yield n


def test_block_holds_a_source_up() -> None:
    async def main() -> None:
        pulled: list[int] = []
        source = rx.from_iterable(counted(pulled))
        async with to_async_iterator(source, overflow="block", maxsize=3) as items:
            for n in range(10):
                assert await anext(items) == n
                assert len(pulled) <= n + 1 + 3 + 1  # taken, waiting, and one at the door

    asyncio.run(main())
    pulled: list[int] = []
    with to_iterator(rx.from_iterable(counted(pulled)), overflow="block", maxsize=3) as blocking:
        assert list(itertools.islice(blocking, 10)) == list(range(10))
        assert len(pulled) <= 10 + 3 + 1


def test_block_never_stops_an_event_loop() -> None:
    async def main() -> None:
        source = Watched()
        items = await reading(source, overflow="block", maxsize=1)
        source.say(1, 2)
        assert await anext(items) == 1
        with pytest.raises(BlockingWaitError, match="block"):
            await anext(items)

    asyncio.run(main())


def test_a_second_reader_is_refused_and_the_first_goes_on() -> None:
    async def main() -> None:
        source = Watched()
        items = await reading(source)
        first = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0)
        with pytest.raises(ConcurrentReaderError):
            await soon(anext(items))
        source.say("a")
        assert await soon(first) == "a"

    asyncio.run(main())


def test_a_cancelled_wait_loses_nothing() -> None:
    async def main() -> None:
        source = Watched()
        items = await reading(source)
        waiting = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        source.say("a")
        assert await soon(anext(items)) == "a"

    asyncio.run(main())


def test_items_from_other_threads_wake_the_reader() -> None:
    async def main() -> None:
        source = Watched()
        items = await reading(source)
        thread = threading.Thread(target=source.say, args=("a",))
        thread.start()
        assert await soon(anext(items)) == "a"
        thread.join()

    asyncio.run(main())


@pytest.mark.parametrize("how", ["with", "aclose", "break", "drop"])
def test_leaving_ends_the_source(how: str) -> None:
    async def main() -> None:
        source = Watched()
        items = await reading(source)
        if how == "with":
            async with items:
                pass
        elif how == "aclose":
            await items.aclose()
            await items.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(items)
        elif how == "break":
            source.say("a")
            async for _ in items:
                break
        del items
        await until(source.disposed.is_set)

    asyncio.run(main())


@pytest.mark.parametrize("how", ["with", "close", "break"])
def test_leaving_a_blocking_one_ends_the_source(how: str) -> None:
    source = Watched()
    items = to_iterator(rx.merge(rx.of("a"), source))
    if how == "with":
        with items:
            assert next(items) == "a"
    elif how == "close":
        assert next(items) == "a"
        items.close()
        assert list(items) == []
    else:
        for _ in items:
            break
    del items
    assert source.disposed.wait(PATIENCE)


def test_a_blocking_one_is_woken_by_its_close() -> None:
    items = to_iterator(rx.never())
    done = threading.Event()

    def read() -> None:
        assert list(items) == []
        done.set()

    threading.Thread(target=read, daemon=True).start()
    items.close()
    assert done.wait(PATIENCE)


def test_a_blocking_one_works_where_a_loop_runs() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("One.", "Two.", delay=0.001))
        texts = [str(item) for item in to_iterator(merge(m.ainstruct("a"), m.cold.instruct("b")))]
        assert "".join(sorted(texts)) in ("One.Two.", "Two.One.")

    asyncio.run(main())


def test_a_blocking_one_refuses_the_engines_thread() -> None:
    async def read() -> None:
        next(to_iterator(rx.of(1)))

    with pytest.raises(BlockingWaitError, match="engine's own thread"):
        asyncio.run(engine().run(read))


def test_a_reader_that_is_slower_than_the_model_gets_it_all() -> None:
    async def main() -> None:
        (a, b), hand = started_many(2)
        items = to_async_iterator(merge(a, b))
        hand.answers[0].say("1")
        texts = ["", ""]
        item = await soon(anext(items))
        texts[item.index] += str(item)
        for number in range(2, 50):
            hand.answers[number % 2].say(f" {number}")
        for answer in hand.answers:
            answer.end()
        async for item in items:
            texts[item.index] += str(item)
        assert texts[0] == "1" + "".join(f" {n}" for n in range(2, 50, 2))
        assert texts[1] == "".join(f" {n}" for n in range(3, 50, 2))

    asyncio.run(main())


def test_the_loop_of_a_reader_may_close_before_its_end() -> None:
    thunk, answer = started()
    readers = []

    async def main() -> None:
        readers.append(to_async_iterator(merge(thunk)))
        answer.say("a")
        assert str(await soon(anext(readers[0]))) == "a"

    asyncio.run(main())
    readers.clear()
    assert answer.closed.wait(PATIENCE)


def test_a_thunks_failure_comes_through() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("half")
        answer.fail(GenerationFailedError("crashed"))
        items = to_async_iterator(thunk)
        assert str(await soon(anext(items))) == "half"
        with pytest.raises(GenerationFailedError) as caught:
            await soon(anext(items))
        assert caught.value.text == "half"

    asyncio.run(main())


@BOTH
@pytest.mark.parametrize("wrong", ["text", [1], None])
def test_only_observables_can_be_iterated_so(make: Any, wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="takes an Observable"):
        make(wrong)


@BOTH
@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"overflow": "wait"}, "'coalesce', 'block', 'drop_oldest', 'error'"),
        ({"overflow": "block", "maxsize": 0}, "maxsize"),
        ({"overflow": "error", "maxsize": "2"}, "maxsize"),
        ({"maxsize": 5}, "maxsize= has no meaning with"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make: Any, how: Any, what: str) -> None:
    with pytest.raises(InvalidInputError, match=what):
        make(rx.of(1), **how)


def test_take_is_as_good_as_break() -> None:
    async def main() -> None:
        (a, b), _hand = started_many(2)
        taken = asyncio.ensure_future(soon(merge(a, b).pipe(ops.take(1))))
        await asyncio.sleep(0)
        _hand.answers[1].say("first")
        assert str(await taken) == "first"
        assert a.cancelled
        assert b.cancelled

    asyncio.run(main())
