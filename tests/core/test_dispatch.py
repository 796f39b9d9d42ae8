"""The times of calls to consumers: once for all ready items, and never after a fixed pause."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mellea_rx import MelleaSession, ScriptedBackend
from mellea_rx.core.runtime.delivery import Dispatcher, loop_dispatcher
from mellea_rx.core.runtime.engine import engine
from tests.core.hand import PATIENCE, STREAM, engine_has_told, soon, started, until, until_blocking


class Counted:
    """A consumer that counts its calls, and may do something in each."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.calls = 0
        self.lost = 0
        self._then = then

    def deliver(self) -> None:
        self.calls += 1
        self._then()

    def on_target_closed(self) -> None:
        self.lost += 1


class Place:
    """A place to which functions are posted, and where the test calls them."""

    def __init__(self) -> None:
        self.posted: list[Callable[[], None]] = []
        self.dispatcher = Dispatcher(self.posted.append)

    def turn(self) -> None:
        """Call what is posted now."""
        now, self.posted[:] = list(self.posted), []
        for function in now:
            function()


def on_engine(work: Callable[[], object]) -> None:
    """Do it, and all that follows from it at once."""

    async def run() -> None:
        work()
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run(engine().run(run))


def test_each_wake_up_is_posted_at_once_when_nothing_is_posted() -> None:
    place, consumer = Place(), Counted()
    for count in range(1, 5):
        on_engine(lambda: place.dispatcher.wake(consumer))
        assert len(place.posted) == 1
        place.turn()
        assert consumer.calls == count


def test_all_of_one_turn_of_the_engine_is_one_wake_up_posted_after_it() -> None:
    place, consumers = Place(), [Counted() for _ in range(50)]
    during: list[int] = []

    def many() -> None:
        for consumer in consumers:
            place.dispatcher.wake(consumer)
        during.append(len(place.posted))

    for _ in range(3):  # no pause, whatever came before
        on_engine(many)
        assert len(place.posted) == 1
        place.turn()
    assert during == [0, 0, 0]
    assert [each.calls for each in consumers] == [3] * 50


def test_from_another_thread_than_the_engines_it_is_posted_at_once() -> None:
    place, consumer = Place(), Counted()
    place.dispatcher.wake(consumer)
    place.dispatcher.wake(consumer)
    assert len(place.posted) == 1
    place.turn()
    assert (consumer.calls, place.posted) == (2, [])


def test_who_is_woken_again_by_its_own_call_has_a_turn_of_its_own() -> None:
    place = Place()
    greedy = Counted(lambda: place.dispatcher.wake(greedy))
    modest = Counted()
    place.dispatcher.wake(greedy)
    place.dispatcher.wake(modest)
    for count in range(1, 4):
        place.turn()
        assert (greedy.calls, modest.calls) == (count, 1)


def test_one_that_raises_takes_nothing_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ZeroDivisionError("oops")

    place, bad, good = Place(), Counted(fail), Counted()
    place.dispatcher.wake(bad)
    place.dispatcher.wake(good)
    place.turn()
    assert (bad.calls, good.calls) == (1, 1)
    assert "oops" in caplog.text


def test_after_an_interrupt_in_one_the_others_are_called_in_a_later_turn() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    place, bad, good = Place(), Counted(interrupt), Counted()
    place.dispatcher.wake(bad)
    place.dispatcher.wake(good)
    with pytest.raises(KeyboardInterrupt):
        place.turn()
    assert good.calls == 0
    place.turn()
    assert good.calls == 1


def test_where_the_place_is_gone_each_is_told_so() -> None:
    def post(_: object) -> None:
        raise RuntimeError("gone")

    dispatcher, consumers = Dispatcher(post), [Counted(), Counted()]
    for consumer in consumers:
        dispatcher.wake(consumer)
    assert [each.lost for each in consumers] == [1, 1]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["wake 0", "wake 1", "wake 2", "turn"]), max_size=30))
def test_nobody_is_forgotten_or_called_for_nothing(steps: list[str]) -> None:
    place, consumers = Place(), [Counted() for _ in range(3)]
    woken = [0, 0, 0]
    for step in [*steps, "turn", "turn"]:
        if step == "turn":
            place.turn()
        else:
            number = int(step[-1])
            woken[number] += 1
            place.dispatcher.wake(consumers[number])
    assert [each.calls for each in consumers] == woken
    assert place.posted == []


def test_wake_ups_from_many_threads_are_never_lost() -> None:
    async def main() -> None:
        dispatcher = loop_dispatcher(asyncio.get_running_loop())
        consumers = [Counted() for _ in range(8)]

        def work(consumer: Counted) -> None:
            for _ in range(500):
                dispatcher.wake(consumer)

        await soon(asyncio.gather(*(asyncio.to_thread(work, each) for each in consumers)), 60)
        await until(lambda: sum(each.calls for each in consumers) == 500 * 8)
        assert [each.calls for each in consumers] == [500] * 8

    asyncio.run(main())


def test_a_wake_up_on_the_loops_own_thread_is_a_later_turn_of_it() -> None:
    async def main() -> None:
        dispatcher, consumer = loop_dispatcher(asyncio.get_running_loop()), Counted()
        dispatcher.wake(consumer)
        assert consumer.calls == 0
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert consumer.calls == 1

    asyncio.run(main())


def test_a_default_call_wakes_its_callers_loop_once() -> None:
    async def main() -> None:
        dispatcher = loop_dispatcher(asyncio.get_running_loop())
        wakes: list[Any] = []
        post = dispatcher.post
        dispatcher.post = lambda function: (wakes.append(function), post(function))
        thunk, answer = started(stream=False)
        waiting = asyncio.create_task(thunk.avalue())
        await asyncio.sleep(0)
        answer.say("a", "b").end()
        assert await soon(waiting) == "ab"
        await asyncio.to_thread(engine_has_told)
        await asyncio.sleep(0)
        assert len(wakes) == 1

    asyncio.run(main())


def test_a_wait_that_is_given_up_leaves_the_news_of_the_end_to_its_loop() -> None:
    async def main() -> None:
        thunk, answer = started(stream=False)
        for _ in range(2):
            waiting = asyncio.create_task(thunk.avalue())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait({waiting})
        answer.say("all").end()
        until_blocking(lambda: repr(thunk).startswith("<ModelOutputThunk computed"))
        await asyncio.to_thread(engine_has_told)
        assert thunk.value == "all"

    asyncio.run(main())


def test_a_wait_that_is_given_up_as_the_end_comes_leaves_the_news_too() -> None:
    async def main() -> None:
        thunk, answer = started(stream=False)
        waiting = asyncio.create_task(thunk.avalue())
        await asyncio.sleep(0)
        answer.say("all").end()
        until_blocking(lambda: repr(thunk).startswith("<ModelOutputThunk computed"))
        engine_has_told()
        waiting.cancel()
        await asyncio.wait({waiting})
        assert thunk.value == "all"

    asyncio.run(main())


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_loops_that_close_leave_no_file_open() -> None:
    m = MelleaSession(ScriptedBackend("a b"))

    async def ask() -> str:
        return await (await m.ainstruct("Go."))

    asyncio.run(ask())
    gc.collect()
    before = open_files()
    for _ in range(20):
        assert asyncio.run(ask()) == "a b"
    gc.collect()
    assert open_files() == before


def test_a_loop_that_is_stopped_and_run_again_gets_what_came_meanwhile() -> None:
    loop = asyncio.new_event_loop()
    try:
        thunk, answer = loop.run_until_complete(_in_a_loop())
        reading = loop.create_task(_next(thunk))
        loop.run_until_complete(asyncio.sleep(0))
        answer.say("a")
        until_blocking(lambda: thunk.text)
        engine_has_told()
        assert loop.run_until_complete(asyncio.wait_for(reading, PATIENCE)) == "a"
        thunk.cancel()
    finally:
        loop.close()


async def _in_a_loop() -> Any:
    return started()


async def _next(thunk: Any) -> str:
    piece: str = await thunk.astream()
    return piece


def test_loops_come_and_go_while_chunks_come() -> None:
    m = MelleaSession(ScriptedBackend([f"{n} " for n in range(200)], delay=0.0002))

    async def leave() -> None:
        thunk = await m.ainstruct("Go.", model_options=STREAM)
        await thunk.astream()

    def work() -> None:
        for _ in range(20):
            asyncio.run(leave())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


def test_a_consumer_that_runs_its_loop_in_its_call_may_wait_for_another_consumer() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        other = Counted()
        others_calls: list[int] = []

        def run_the_loop() -> None:  # as nest_asyncio does
            loop.call_soon(lambda: None)
            loop._run_once()  # type: ignore[attr-defined]
            others_calls.append(other.calls)

        dispatcher = loop_dispatcher(loop)
        dispatcher.wake(Counted(run_the_loop))
        dispatcher.wake(other)
        for _ in range(3):
            await asyncio.sleep(0)
        assert (others_calls, other.calls) == ([1], 1)

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(main())


def test_a_reader_in_a_task_of_pythons_own_implementation_gets_all_pieces() -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(
            lambda loop, coroutine, **how: _PythonTask(coroutine, loop=loop, **how)
        )
        thunk, answer = started()

        async def read() -> list[str]:
            return [piece async for piece in thunk.astream()]

        reading = asyncio.create_task(read())
        for piece in "abc":
            await asyncio.sleep(0)
            answer.say(piece)
            engine_has_told()
        answer.end()
        return await soon(reading)

    assert "".join(asyncio.run(main())) == "abc"


_PythonTask: Any = asyncio.tasks._PyTask  # type: ignore[attr-defined]
