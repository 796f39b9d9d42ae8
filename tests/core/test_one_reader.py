"""Each thing that is pulled has one reader: it may leave and move, and a second is refused."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from reactivex import Observable
from reactivex.subject import Subject

from mellea_rx import ConcurrentReaderError, ModelOutputThunk
from mellea_rx.core.runtime.delivery import loop_dispatcher
from mellea_rx.operators import to_async_iterator, to_iterator
from tests.core.hand import PATIENCE, Answer, engine_has_told, soon, started, until


class Source:
    """Something that is pulled, and how the test feeds it."""

    def __init__(self, thunk: ModelOutputThunk[str], answer: Answer, items: Any) -> None:
        self.thunk = thunk
        self.say = answer.say
        self._answer = answer
        self._items = items

    def pieces(self) -> AsyncIterator[Any]:
        """The reader, for coroutines."""
        return self._items() if callable(self._items) else self._items

    def told(self, piece: str) -> None:
        """Say a piece, and return when it is on its way to the reader's loop."""
        self.say(piece)
        engine_has_told()

    def end(self) -> None:
        """Nobody needs it any more."""
        self.thunk.cancel()


def of_a_thunk() -> Source:
    thunk, answer = started()
    return Source(thunk, answer, thunk.astream)


def of_an_observable() -> Source:
    thunk, answer = started()
    return Source(thunk, answer, to_async_iterator(thunk))


BOTH = pytest.mark.parametrize("make", [of_a_thunk, of_an_observable])


async def next_of(source: Source) -> str:
    return str(await anext(source.pieces()))


def bounded(main: Callable[[], Any]) -> Any:
    """Run a coroutine on a loop of its own, in a thread: what hangs there fails the test."""
    told: list[Any] = []

    def run() -> None:
        try:
            told.append(asyncio.run(main()))
        except BaseException as error:
            told.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert told, "it hangs, and neither a timeout nor a cancellation ends it"
    if isinstance(told[0], BaseException):
        raise told[0]
    return told[0]


@BOTH
@pytest.mark.parametrize("moment", ["while it waits", "as its piece comes", "as it is resumed"])
def test_who_reads_on_at_once_after_a_cancelled_reader_gets_everything(
    make: Callable[[], Source], moment: str
) -> None:
    async def main() -> None:
        source = make()
        first = asyncio.create_task(next_of(source))
        await asyncio.sleep(0)
        if moment != "while it waits":
            source.told("a")
        if moment == "as it is resumed":
            await asyncio.sleep(0)  # its loop has been told; the task has not gone on yet
        first.cancel()
        if moment == "while it waits":
            asyncio.get_running_loop().call_soon(source.say, "a")
        async with asyncio.timeout(PATIENCE):
            got = await next_of(source)  # at once: in the very turn of the cancellation
        await asyncio.wait({first})
        if not first.cancelled():
            got = first.result() + got
        source.say("b")
        while got != "ab":
            assert "ab".startswith(got)
            got += await soon(next_of(source))
        source.end()

    bounded(main)


@BOTH
def test_a_reader_that_was_cancelled_is_told_so_though_another_reads_on(
    make: Callable[[], Source],
) -> None:
    async def main() -> None:
        source = make()
        first = asyncio.create_task(next_of(source))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(TimeoutError):  # reads at once, in the very turn of the cancellation
            async with asyncio.timeout(0.01):
                await next_of(source)
        assert first.cancelled()
        source.say("a")
        assert await soon(next_of(source)) == "a"
        source.end()

    bounded(main)


@BOTH
def test_a_cancelled_task_reads_no_further(make: Callable[[], Source]) -> None:
    async def main() -> None:
        source = make()
        steps: list[str] = []

        async def read() -> None:
            steps.extend([str(piece) async for piece in source.pieces()])

        for count in range(1, 20):
            reading = asyncio.create_task(read())
            await asyncio.sleep(0)
            reading.cancel()
            following = asyncio.create_task(next_of(source))
            source.say("x")
            assert await soon(following) == "x", count
            with pytest.raises(asyncio.CancelledError):
                await soon(reading)
        assert steps == []
        source.end()

    bounded(main)


@BOTH
def test_a_second_reader_in_the_moment_of_the_firsts_piece_is_refused(
    make: Callable[[], Source],
) -> None:
    async def main() -> None:
        source = make()
        first = asyncio.create_task(next_of(source))
        await asyncio.sleep(0)
        source.told("a")
        with pytest.raises(ConcurrentReaderError):
            await next_of(source)
        assert await soon(first) == "a"
        source.say("b")
        assert await soon(next_of(source)) == "b"
        source.end()

    bounded(main)


def test_a_reader_that_moved_while_its_wake_up_was_on_its_way_stays_in_its_thread() -> None:
    thunk, answer = started()
    where: list[str] = []
    waits = threading.Event()
    got: list[str] = []

    async def elsewhere() -> None:
        for _ in range(2):
            got.append(await soon(thunk.astream()))
            where.append(threading.current_thread().name)
            if len(got) == 1:
                asyncio.get_running_loop().call_later(0.01, waits.set)

    async def main() -> None:
        reading = asyncio.create_task(anext(thunk.astream()))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        answer.say("a")
        engine_has_told()  # the wake-up is in this loop's queue, and this loop stands still
        reading.cancel()
        thread = threading.Thread(target=lambda: asyncio.run(elsewhere()), name="elsewhere")
        thread.start()
        assert await asyncio.to_thread(waits.wait, PATIENCE)
        answer.say("b")
        await asyncio.to_thread(thread.join, PATIENCE)
        assert not thread.is_alive()
        with pytest.raises(asyncio.CancelledError):
            await reading

    bounded(main)
    assert (got, where) == (["a", "b"], ["elsewhere", "elsewhere"])
    thunk.cancel()


def pulled_from_a_thunk(thunk: ModelOutputThunk[str]) -> Callable[[], Iterator[Any]]:
    return thunk.stream


def pulled_from_an_observable(thunk: ModelOutputThunk[str]) -> Callable[[], Iterator[Any]]:
    items = to_iterator(thunk)
    return lambda: items


@pytest.mark.parametrize("pulled", [pulled_from_a_thunk, pulled_from_an_observable])
def test_of_two_blocking_readers_that_start_together_none_hangs(pulled: Any) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(60):
            _pair(pulled)
    finally:
        sys.setswitchinterval(interval)


def _pair(pulled: Callable[[ModelOutputThunk[str]], Callable[[], Iterator[Any]]]) -> None:
    thunk, answer = started()
    reader = pulled(thunk)
    start = threading.Barrier(3)
    told: list[str] = []

    def read() -> None:
        start.wait(PATIENCE)
        try:
            told.append(str(next(reader())))
        except ConcurrentReaderError:
            told.append("refused")

    threads = [threading.Thread(target=read, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    start.wait(PATIENCE)
    while threads[0].is_alive() and threads[1].is_alive():
        threads[0].join(0.001)  # the one that is refused has ended
    answer.say("all").end()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), told
    assert sorted(told) == ["all", "refused"]


def test_a_blocking_reader_and_a_coroutine_are_two_readers() -> None:
    thunk, answer = started()
    got: list[str] = []
    thread = threading.Thread(target=lambda: got.extend(thunk.stream()), daemon=True)
    thread.start()
    answer.say("a")

    async def read() -> None:
        while True:
            await soon(thunk.astream())

    async def refused() -> None:
        await until(lambda: got)
        with pytest.raises(ConcurrentReaderError):
            await read()

    bounded(refused)
    answer.say("b").end()
    thread.join(PATIENCE)
    assert "".join(got) == "ab"


def test_a_reader_whose_loop_was_closed_under_it_is_no_second_reader() -> None:
    subject: Subject[str] = Subject()
    items = to_async_iterator(_observable(subject))
    left: list[Any] = []

    async def leave_waiting() -> None:
        steps = items.__anext__().__await__()
        left.append(steps)  # nobody closes it, as nobody closes a task that is kept
        next(steps)

    asyncio.run(leave_waiting())
    thunk, answer = started()

    async def leave_the_thunk_waiting() -> None:
        steps = thunk.astream().__await__()
        left.append(steps)
        next(steps)

    asyncio.run(leave_the_thunk_waiting())
    answer.say("a")
    assert next(thunk.stream()) == "a"
    thunk.cancel()


def test_a_cancelled_readers_context_is_not_kept_by_what_it_read() -> None:
    class Held:
        """A value that only the reader's context refers to."""

    held: ContextVar[Held] = ContextVar("held")
    kept: list[weakref.ref[Held]] = []

    async def main() -> None:
        loop_dispatcher(asyncio.get_running_loop())  # made here, and not in the reader's context
        thunk, _ = started()

        async def read() -> None:
            value = Held()
            kept.append(weakref.ref(value))
            held.set(value)
            await anext(thunk.astream())

        reading = asyncio.create_task(read())
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait({reading})
        del reading
        gc.collect()
        assert kept[0]() is None
        thunk.cancel()

    bounded(main)


def _observable(subject: Subject[str]) -> Observable[str]:
    return subject
