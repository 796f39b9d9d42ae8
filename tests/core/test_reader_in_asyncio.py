"""The reader among asyncio's own tools: timeouts, races, groups and other loops lose nothing."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from mellea_rx import GenerationCancelledError, MelleaSession, ScriptedBackend
from tests.core.hand import STREAM, soon, started, started_many, until, until_blocking

WORDS = [f"{n} " for n in range(60)]
WHOLE = "".join(WORDS)


async def story() -> Any:
    m = MelleaSession(ScriptedBackend(WORDS, delay=0.001))
    return await m.ainstruct("Go.", model_options=STREAM)


async def with_wait_for(mot: Any) -> AsyncIterator[str]:
    while not mot.is_computed():
        try:
            yield await asyncio.wait_for(anext(mot.astream(), ""), 0.0007)
        except TimeoutError:
            pass


async def with_ensure_future(mot: Any) -> AsyncIterator[str]:
    while not mot.is_computed():
        yield await asyncio.ensure_future(mot.astream())


async def with_wait(mot: Any) -> AsyncIterator[str]:
    waiting = None
    while not mot.is_computed() or waiting:
        waiting = waiting or asyncio.ensure_future(mot.astream())
        done, _ = await asyncio.wait({waiting}, timeout=0.0007)
        if done:
            waiting = None
            yield done.pop().result()


async def with_a_task_for_each_piece(mot: Any) -> AsyncIterator[str]:
    while not mot.is_computed():
        async with asyncio.TaskGroup() as group:
            task = group.create_task(anext(mot.astream(), ""))
        yield task.result()


WAYS: list[Callable[[Any], AsyncIterator[str]]] = [
    with_wait_for,
    with_ensure_future,
    with_wait,
    with_a_task_for_each_piece,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("debug", [False, True])
def test_nothing_is_lost(way: Callable[[Any], AsyncIterator[str]], debug: bool) -> None:
    async def main() -> None:
        mot = await story()
        pieces = [piece async for piece in way(mot)]
        assert "".join(pieces) == WHOLE

    asyncio.run(asyncio.wait_for(main(), 20), debug=debug)


def test_nothing_is_lost_under_timeouts_around_the_pages_loop() -> None:
    async def main() -> None:
        mot = await story()
        pieces = []
        while not mot.is_computed():
            try:
                async with asyncio.timeout(0.0007):
                    pieces.append(await mot.astream())
            except TimeoutError:
                pass
        assert "".join(pieces) == WHOLE

    asyncio.run(main())


def test_it_reads_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        mot = await story()
        assert "".join([piece async for piece in mot.astream()]) == WHOLE

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_many_readers_of_many_thunks_in_one_loop() -> None:
    async def main() -> None:
        async def read(mot: Any) -> str:
            return "".join([piece async for piece in mot.astream()])

        thunks = [await story() for _ in range(100)]
        assert await asyncio.gather(*map(read, thunks)) == [WHOLE] * 100

    asyncio.run(main())


def test_cancelling_a_reader_in_the_moment_its_piece_comes_loses_nothing() -> None:
    async def main() -> None:
        for _ in range(50):
            thunk, answer = started()
            waiting = asyncio.create_task(anext(thunk.astream()))
            await asyncio.sleep(0)
            answer.say("a")
            until_text = asyncio.create_task(until(lambda t=thunk: t.text))
            waiting.cancel()
            got = ""
            try:
                got += await waiting
            except asyncio.CancelledError:
                pass
            await until_text
            answer.say("b")
            answer.end()
            while not thunk.is_computed():
                got += await soon(thunk.astream())
            assert got == "ab"

    asyncio.run(main())


@pytest.mark.parametrize("debug", [False, True])
def test_a_cancelled_reader_is_told_once_by_whom_and_goes_on_as_itself(debug: bool) -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")
    told: list[object] = []

    async def read(thunk: Any) -> str:
        name.set("reader")
        try:
            await thunk.astream()
        except asyncio.CancelledError as error:
            told.append((error.args, name.get()))
        piece: str = await thunk.astream()
        return piece

    async def main() -> None:
        for messages in (("scope 1", "scope 2"), (None,)):
            thunk, answer = started()
            reading = asyncio.create_task(read(thunk))
            await asyncio.sleep(0)
            for message in messages:
                assert reading.cancel(message)
            await asyncio.sleep(0)
            answer.say("a")
            assert await soon(reading) == "a"
            thunk.cancel()

    asyncio.run(main(), debug=debug)
    assert told == [(("scope 1",), "reader"), ((), "reader")]


@pytest.mark.parametrize("said", [["a"], []], ids=["a piece", "the end"])
def test_what_comes_in_the_moment_before_a_task_waits_is_not_missed(said: list[str]) -> None:
    async def main() -> None:
        thunk, answer = started()
        steps = thunk.astream().__await__()
        waits = next(steps)  # what a task gets, and will wait for …
        answer.say(*said)
        if not said:
            answer.end()
        until_blocking(lambda: thunk.text or repr(thunk).startswith("<ModelOutputThunk computed"))
        goes_on = asyncio.Event()
        waits.get_loop()
        waits.add_done_callback(lambda _: goes_on.set(), context=contextvars.copy_context())
        await soon(goes_on.wait())  # … and goes on
        with pytest.raises(StopIteration) as returned:
            next(steps)
        assert returned.value.value == "".join(said)

    asyncio.run(main())


def test_the_readers_context_variables_are_its_own() -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")

    async def read(thunk: Any, mine: str) -> None:
        name.set(mine)
        async for _ in thunk.astream():
            assert name.get() == mine
            assert asyncio.current_task() is not None

    async def main() -> None:
        (a, b), hand = started_many(2)
        readers = [asyncio.create_task(read(t, n)) for t, n in ((a, "a"), (b, "b"))]
        for _ in range(5):
            await asyncio.sleep(0.001)
            for answer in hand.answers:
                answer.say("x")
        for answer in hand.answers:
            answer.end()
        await soon(asyncio.gather(*readers))
        assert name.get() == "nobody"

    asyncio.run(main())


def test_a_reader_that_cancels_its_own_thunk_gets_the_error_next() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("a")
        seen = []
        with pytest.raises(GenerationCancelledError):
            await _cancel_on_first(thunk, seen)
        assert seen == ["a"]

    asyncio.run(main())


async def _cancel_on_first(thunk: Any, seen: list[str]) -> None:
    async for piece in thunk.astream():
        seen.append(piece)
        thunk.cancel()


def test_a_reader_task_that_is_dropped_with_its_loop_leaves_the_reader_free() -> None:
    thunk, answer = started()

    async def leave_waiting() -> None:
        asyncio.create_task(anext(thunk.astream()))  # noqa: RUF006  its loop ends under it
        await asyncio.sleep(0)

    asyncio.run(leave_waiting())
    answer.say("a")
    assert asyncio.run(_next(thunk)) == "a"
    assert threading.active_count() < 50
    thunk.cancel()


async def _next(thunk: Any) -> str:
    piece: str = await soon(thunk.astream())
    return piece


def test_pieces_are_plain_strings_and_readers_are_awaited_in_any_mix() -> None:
    async def main() -> None:
        thunk, answer = started()
        reader = thunk.astream()
        got = []
        for read in (lambda: reader, lambda: anext(reader), lambda: thunk.astream().__anext__()):
            answer.say("x")
            got.append(await soon(read()))
        answer.end()
        got.extend([piece async for piece in reader])
        assert got == ["x", "x", "x"]
        assert {type(piece) for piece in got} == {str}

    asyncio.run(main())
