"""Several loops, closed loops, and loops that stand still."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mellea_rx import (
    MelleaSession,
    ModelOption,
    ModelOutputThunk,
    OllamaBackend,
    ScriptedBackend,
)
from tests.core.hand import (
    PATIENCE,
    STREAM,
    Answer,
    Recorder,
    engine_has_told,
    soon,
    started,
    until,
    until_blocking,
)
from tests.support.server_process import ServerProcess


def test_several_loops_in_several_threads_read_one_thunk() -> None:
    thunk, answer = started()
    begun = threading.Barrier(9)

    def read_in_a_loop_of_its_own(_: int) -> str:
        async def main() -> str:
            waiting = asyncio.create_task(thunk.avalue())
            recorder = Recorder()
            recorder.to(thunk)
            await asyncio.sleep(0)
            begun.wait(PATIENCE)
            value: str = await soon(waiting)
            await until(lambda: recorder.terminals)
            assert recorder.text == value
            assert recorder.threads == {threading.current_thread().name}
            return value

        return asyncio.run(main())

    with ThreadPoolExecutor(8) as pool:
        values = pool.map(read_in_a_loop_of_its_own, range(8))
        begun.wait(PATIENCE)
        answer.say("Once ", "upon ", "a time")
        answer.end()
        assert list(values) == ["Once upon a time"] * 8


def test_a_reader_may_go_on_in_another_loop() -> None:
    thunk, answer = started()

    async def next_piece() -> str:
        piece: str = await soon(thunk.astream())
        return piece

    answer.say("Once ")
    first = asyncio.run(next_piece())
    answer.say("upon")
    assert (first, asyncio.run(next_piece())) == ("Once ", "upon")
    answer.end()
    assert str(thunk) == "Once upon"


@pytest.mark.parametrize("options", [{}, STREAM])
def test_a_thunk_outlives_the_loop_that_made_it(options: dict[ModelOption, bool]) -> None:
    async def start() -> object:
        m = MelleaSession(ScriptedBackend("a b c", delay=0.01))
        return await m.ainstruct("Go.", model_options=options)

    thunk = asyncio.run(start())
    assert not thunk.is_computed()  # type: ignore[attr-defined]
    assert str(thunk) == "a b c"
    assert asyncio.run(soon(thunk.avalue())) == "a b c"  # type: ignore[attr-defined]


@pytest.mark.parametrize("options", [{}, STREAM])
def test_polling_without_a_loop_sees_the_end_of_a_thunk_whose_loop_is_closed(
    options: dict[ModelOption, bool],
) -> None:
    async def start() -> object:
        m = MelleaSession(ScriptedBackend("a b c", delay=0.001))
        return await m.ainstruct("Go.", model_options=options)

    thunk = asyncio.run(start())
    text = ""
    while not thunk.is_computed():  # type: ignore[attr-defined]
        text += next(thunk.stream(), "")  # type: ignore[attr-defined]
    assert text == "a b c"


def test_the_first_look_at_a_thunk_whose_loop_is_closed_finds_its_value() -> None:
    async def start() -> tuple[ModelOutputThunk[str], Answer]:
        return started(stream=False)

    thunk, answer = asyncio.run(start())
    answer.say("all").end()
    until_blocking(lambda: repr(thunk).startswith("<ModelOutputThunk computed"))
    engine_has_told()
    assert thunk.value == "all"


def test_the_first_look_finds_the_value_where_the_loop_was_closed_under_a_wait() -> None:
    loop = asyncio.new_event_loop()

    async def start() -> tuple[ModelOutputThunk[str], Answer, asyncio.Task[str]]:
        thunk, answer = started(stream=False)
        waiting = asyncio.create_task(thunk.avalue())
        await asyncio.sleep(0)
        return thunk, answer, waiting

    thunk, answer, waiting = loop.run_until_complete(start())
    loop.close()
    answer.say("all").end()
    until_blocking(lambda: repr(thunk).startswith("<ModelOutputThunk computed"))
    engine_has_told()
    assert thunk.value == "all"
    assert not waiting.done()
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]


def test_a_reader_that_waits_on_a_loop_that_is_closed_under_it_leaves_the_reader_free() -> None:
    thunk, answer = started()
    went_on: list[object] = []

    async def wait_as_a_task_does() -> None:
        waits = next(thunk.astream().__await__())
        waits.get_loop()
        waits.add_done_callback(went_on.append, context=contextvars.copy_context())

    asyncio.run(wait_as_a_task_does())
    answer.say("all").end()
    until_blocking(lambda: repr(thunk).startswith("<ModelOutputThunk computed"))
    engine_has_told()
    assert list(thunk.stream()) == ["all"]
    assert went_on == []


def test_a_loop_that_closes_with_its_reader_and_subscriber_takes_nothing_from_others() -> None:
    thunk, answer = started()
    recorder = Recorder()

    async def leave_early() -> None:
        recorder.to(thunk)
        answer.say("Once ")
        assert await soon(thunk.astream()) == "Once "
        waiting = asyncio.create_task(thunk.avalue())
        await asyncio.sleep(0)
        assert not waiting.done()

    asyncio.run(leave_early())
    answer.say("upon ", "a time")
    answer.end()

    async def read_on() -> tuple[str, str]:
        rest = "".join([piece async for piece in thunk.astream()])
        return rest, await thunk.avalue()

    assert asyncio.run(soon(read_on())) == ("upon a time", "Once upon a time")
    assert recorder.terminals == []


def test_a_caller_that_blocks_its_own_loop_stalls_no_stream(server: ServerProcess) -> None:
    server.script("m", chunks=["x"] * 10, delay=0.02)

    async def main() -> None:
        with MelleaSession(OllamaBackend("m", base_url=server.url)) as m:
            options = {ModelOption.STREAM: True, ModelOption.STREAM_TIMEOUT: 1.2}
            thunk = await m.ainstruct("Go.", model_options=options)
            time.sleep(1.5)  # noqa: ASYNC251  the bad habit that is tested
            assert thunk.text == "x" * 10
            assert await soon(thunk.avalue()) == "x" * 10

    asyncio.run(main())


def test_one_session_serves_loops_one_after_another(server: ServerProcess) -> None:
    server.script("m", chunks=["a", "b"], framing="length")
    m = MelleaSession(OllamaBackend("m", base_url=server.url))
    for _ in range(5):
        assert asyncio.run(_ask(m)) == "ab"
    assert m.instruct("Go.").value == "ab"
    m.close()
    assert len({entry["connection"] for entry in server.log("m")}) == 1


async def _ask(m: MelleaSession) -> str:
    return await (await m.ainstruct("Go."))
