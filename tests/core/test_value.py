"""One value: `avalue`, `await`, `wait`, `str`; and what a failure looks like from each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from mellea_rx import (
    Chunk,
    GenerationFailedError,
    MelleaRxError,
    MelleaSession,
    ModelOutputThunk,
    ScriptedBackend,
    ToolCall,
    UnexpectedError,
    WaitTimeoutError,
)
from mellea_rx.core.streams.generation import Generation
from tests.core.hand import (
    PATIENCE,
    STREAM,
    Recorder,
    engine_has_told,
    soon,
    started,
    until,
    until_blocking,
)

FAILURE = GenerationFailedError("the model crashed")


def test_awaiting_the_thunk_is_awaiting_its_value() -> None:
    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend("One two.")).ainstruct("Go.")
        assert await thunk == "One two."
        assert await thunk.avalue() == "One two."

    asyncio.run(main())


def test_any_number_may_wait_for_the_value() -> None:
    async def main() -> None:
        thunk, answer = started()
        waiting = [asyncio.create_task(thunk.avalue()) for _ in range(20)]
        answer.say("all")
        answer.end()
        assert await soon(asyncio.gather(*waiting)) == ["all"] * 20

    asyncio.run(main())


def test_cancelling_one_wait_ends_only_that_wait() -> None:
    async def main() -> None:
        thunk, answer = started()
        cancelled, other = (asyncio.create_task(thunk.avalue()) for _ in range(2))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert not thunk.cancelled
        answer.say("all")
        answer.end()
        assert await soon(other) == "all"

    asyncio.run(main())


def test_a_wait_that_is_cancelled_in_the_moment_of_the_end_disturbs_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        thunk, answer = started()
        cancelled, other = (asyncio.create_task(thunk.avalue()) for _ in range(2))
        await asyncio.sleep(0)
        answer.say("all").end()
        until_blocking(lambda: repr(thunk).startswith("<ModelOutputThunk computed"))
        cancelled.cancel()
        assert await soon(other) == "all"
        with pytest.raises(asyncio.CancelledError):
            await cancelled

    asyncio.run(main())
    assert caplog.text == ""


def test_a_timeout_around_avalue_leaves_the_generation_alone() -> None:
    async def main() -> None:
        thunk, answer = started()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await thunk.avalue()
        answer.say("all")
        answer.end()
        assert await soon(thunk.avalue()) == "all"

    asyncio.run(main())


def test_wait_blocks_until_the_end_and_gives_the_thunk() -> None:
    thunk = asyncio.run(MelleaSession(ScriptedBackend("One two.", delay=0.005)).ainstruct("Go."))
    assert thunk.wait() is thunk
    assert thunk.value == "One two."


def test_wait_may_run_out_of_time_and_the_generation_goes_on() -> None:
    thunk, answer = started()
    answer.say("half")
    with pytest.raises(WaitTimeoutError) as caught:
        thunk.wait(0.05)
    assert str(caught.value) == "not computed after 0.05 s; the generation goes on"
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.text == "half"
    assert not thunk.cancelled
    answer.say(" and whole")
    answer.end()
    assert str(thunk.wait(30)) == "half and whole"


def test_str_waits_for_the_text_without_a_loop() -> None:
    thunk = asyncio.run(MelleaSession(ScriptedBackend("a b", delay=0.005)).ainstruct("Go."))
    assert str(thunk) == "a b"
    assert f"{thunk}" == "a b"


def test_str_waits_for_the_text_inside_a_running_loop() -> None:
    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend("a b", delay=0.005)).ainstruct("Go.")
        assert str(thunk) == "a b"
        assert thunk.is_computed()

    asyncio.run(main())


WAYS: dict[str, Callable[[ModelOutputThunk[str]], Any]] = {
    "avalue": lambda thunk: thunk.avalue(),
    "await": lambda thunk: thunk,
    "astream": lambda thunk: thunk.astream(),
    "iterator": lambda thunk: _all(thunk),
    "wait": lambda thunk: asyncio.to_thread(thunk.wait),
    "str": lambda thunk: asyncio.to_thread(str, thunk),
    "stream": lambda thunk: asyncio.to_thread(list, thunk.stream()),
    "value": lambda thunk: _now(lambda: thunk.value),
    "parsed": lambda thunk: _now(lambda: thunk.parsed),
}


async def _all(thunk: ModelOutputThunk[str]) -> list[str]:
    return [piece async for piece in thunk.astream()]


async def _now(look: Callable[[], object]) -> object:
    return look()


async def failed() -> ModelOutputThunk[str]:
    answer = ["Once ", "upon", GenerationFailedError("the model crashed")]
    thunk = await MelleaSession(ScriptedBackend(answer)).ainstruct("Go.", model_options=STREAM)
    with pytest.raises(GenerationFailedError):
        await thunk.avalue()
    return thunk


@pytest.mark.parametrize("way", WAYS)
def test_a_failed_thunk_raises_from_every_way_of_reading_each_time(way: str) -> None:
    async def main() -> None:
        thunk = await failed()
        for _ in range(2):
            with pytest.raises(GenerationFailedError, match="the model crashed") as caught:
                await WAYS[way](thunk)
            assert caught.value.text == "Once upon"

    asyncio.run(main())


def test_a_failed_thunk_keeps_its_text_and_its_error() -> None:
    async def main() -> None:
        thunk = await failed()
        assert thunk.text == "Once upon"
        assert isinstance(thunk.error, GenerationFailedError)
        assert thunk.is_computed()
        assert not thunk.cancelled
        assert "GenerationFailedError" in repr(thunk)

    asyncio.run(main())


async def page_loop(thunk: ModelOutputThunk[str], got: list[str]) -> None:
    while not thunk.is_computed():
        got.append(await soon(thunk.astream()))


def test_a_reader_gets_the_text_before_the_failure_and_then_the_failure() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("Once ", "upon")
        answer.fail(FAILURE)
        got: list[str] = []
        with pytest.raises(GenerationFailedError):
            await page_loop(thunk, got)
        assert "".join(got) == "Once upon"
        assert thunk.is_computed()

    asyncio.run(main())


def test_the_pages_loop_never_ends_as_if_a_failed_answer_were_whole() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("half")
        assert await soon(thunk.astream()) == "half"
        answer.fail(FAILURE)
        await until(lambda: thunk.error)
        with pytest.raises(GenerationFailedError):
            await page_loop(thunk, [])

    asyncio.run(main())


def test_a_bug_in_a_backend_is_an_error_of_the_tree_with_its_cause() -> None:
    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend(["a", ZeroDivisionError("oops")])).ainstruct(
            "G"
        )
        with pytest.raises(UnexpectedError, match="ZeroDivisionError: oops") as caught:
            await thunk.avalue()
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert isinstance(caught.value, MelleaRxError)
        assert caught.value.text == "a"

    asyncio.run(main())


def test_raising_again_and_again_does_not_grow_the_traceback() -> None:
    async def main() -> None:
        thunk = await failed()
        lengths = set()
        for _ in range(5):
            with pytest.raises(GenerationFailedError) as caught:
                await thunk.avalue()
            lengths.add(len(caught.traceback))
        assert len(lengths) == 1

    asyncio.run(main())


def test_what_else_came_is_there_to_be_read() -> None:
    async def main() -> None:
        call = ToolCall("add", {"x": 1}, "c1")
        pieces = [Chunk(thinking="hm"), Chunk("a"), Chunk(tool_calls=(call,))]
        thunk = await MelleaSession(ScriptedBackend(pieces, model_id="m")).ainstruct("Say a word.")
        assert thunk.finish_reason is None
        await thunk.avalue()
        assert (thunk.thinking, thunk.tool_calls) == ("hm", (call,))
        assert (thunk.finish_reason, thunk.model) == ("stop", "m")
        assert thunk.usage is not None
        assert thunk.usage.total_tokens == thunk.usage.prompt_tokens + 3
        assert thunk.sampling is None

    asyncio.run(main())


def test_times_are_in_seconds_and_the_duration_stops_at_the_end() -> None:
    async def main() -> None:
        thunk, answer = started()
        assert thunk.ttft is None
        answer.say(Chunk(model="m"))
        await until(lambda: thunk.model)
        assert thunk.ttft is None
        answer.say("a")
        await until(lambda: thunk.text)
        first = thunk.ttft
        answer.say("b").end()
        await soon(thunk.avalue())
        assert thunk.ttft is not None
        assert thunk.ttft == first
        assert 0 < thunk.ttft <= thunk.duration < 5
        assert thunk.duration == thunk.duration

    asyncio.run(main())


def test_a_thunk_of_a_pipeline_alone_gives_the_whole_once_and_needs_nothing() -> None:
    go_on = threading.Event()

    async def pipeline(generation: Generation) -> None:
        generation.push(Chunk("a"))
        assert await asyncio.to_thread(go_on.wait, PATIENCE)
        generation.push(Chunk("b"))

    async def main() -> None:
        thunk: ModelOutputThunk[str] = ModelOutputThunk(pipeline)
        recorder = Recorder()
        recorder.to(thunk)
        await until(lambda: thunk.text == "a")
        await asyncio.to_thread(engine_has_told)
        assert recorder.texts == []
        go_on.set()
        assert await soon(thunk.avalue()) == "ab"
        await until(lambda: recorder.terminals)
        assert recorder.texts == ["ab"]
        assert (thunk.parsed, thunk._needs, thunk.tools) == ("ab", (), ())
        counted = ModelOutputThunk(pipeline, parse=len)
        await soon(counted.avalue())
        assert counted.parsed == 2

    asyncio.run(main())


def test_a_thunk_takes_the_format_of_a_text() -> None:
    thunk, answer = started()
    answer.say("all").end()
    assert f"{thunk:>5}|{thunk:.2}|{thunk}" == "  all|al|all"


def test_the_error_of_a_subscriber_is_its_own() -> None:
    thunk, answer = started()
    first, second = Recorder(), Recorder()
    first.to(thunk)
    second.to(thunk)
    answer.fail(FAILURE)
    for recorder in (first, second):
        assert recorder.ended.wait(PATIENCE)
        assert recorder.error is not None
        with pytest.raises(GenerationFailedError, match="the model crashed"):
            raise recorder.error
    assert first.error is not second.error
    assert thunk.error is not None
    assert thunk.error.__traceback__ is None
