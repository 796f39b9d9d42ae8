"""Cancellation is real: it ends the work behind, and what had come stays."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from mellea_rx import (
    ChatContext,
    GenerationCancelledError,
    MelleaSession,
    ModelOption,
    ModelOutputThunk,
    OllamaBackend,
    ScriptedBackend,
    WaitTimeoutError,
)
from mellea_rx.core.runtime.engine import engine
from tests.core.hand import PATIENCE, STREAM, Hand, Recorder, soon, started, until, until_blocking
from tests.support.server_process import ServerProcess


def test_cancelling_ends_the_work_and_keeps_the_text() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("Once ")
        await until(lambda: thunk.text == "Once ")
        thunk.cancel()
        assert thunk.cancelled
        assert thunk.text == "Once "
        await until(answer.closed.is_set)

    asyncio.run(main())


def test_whoever_waits_gets_the_error_with_the_text() -> None:
    async def main() -> None:
        thunk, answer = started()
        reading = asyncio.create_task(_drain(thunk))
        waiting = asyncio.create_task(thunk.avalue())
        answer.say("Once ")
        await until(lambda: thunk.text == "Once ")
        thunk.cancel("enough")
        for task in (reading, waiting):
            with pytest.raises(GenerationCancelledError, match="enough") as caught:
                await soon(task)
            assert caught.value.text == "Once "
        with pytest.raises(GenerationCancelledError):
            assert thunk.value

    asyncio.run(main())


async def _drain(thunk: object) -> None:
    async for _ in thunk.astream():  # type: ignore[attr-defined]
        pass


def test_it_is_idempotent_and_the_first_reason_stays() -> None:
    async def main() -> None:
        thunk, _ = started()
        thunk.cancel("first")
        thunk.cancel("second")
        assert str(thunk.error) == "first"

    asyncio.run(main())


def test_cancelling_a_complete_thunk_changes_nothing() -> None:
    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend("a b")).ainstruct("Go.")
        await thunk
        thunk.cancel()
        assert not thunk.cancelled
        assert thunk.value == "a b"

    asyncio.run(main())


def test_a_blocked_thread_is_woken_by_a_cancellation_from_another() -> None:
    thunk, _ = started()
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            thunk.wait()
        except GenerationCancelledError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    thunk.cancel()
    thread.join(30)
    assert not thread.is_alive()
    assert len(caught) == 1


def test_leaving_async_with_ends_what_still_runs() -> None:
    async def main() -> None:
        thunk, answer = started()
        async with thunk as same:
            assert same is thunk
            answer.say("Once ")
            assert await soon(thunk.astream()) == "Once "
        assert thunk.cancelled
        assert str(thunk.error) == "the generation was cancelled"
        assert thunk.text == "Once "
        await until(answer.closed.is_set)

    asyncio.run(main())


def test_leaving_async_with_after_the_end_is_no_cancellation() -> None:
    async def main() -> None:
        thunk, answer = started()
        async with thunk:
            answer.say("all")
            answer.end()
            await soon(thunk.avalue())
        assert thunk.value == "all"

    asyncio.run(main())


def test_subscribers_get_the_cancellation_as_their_one_terminal() -> None:
    async def main() -> None:
        thunk, answer = started()
        recorder = Recorder()
        recorder.to(thunk)
        answer.say("Once ")
        await until(lambda: recorder.text == "Once ")
        thunk.cancel()
        answer.say("never")
        await until(lambda: recorder.terminals)
        assert recorder.terminals == ["error"]
        assert isinstance(recorder.error, GenerationCancelledError)
        assert recorder.text == "Once "

    asyncio.run(main())


def text_is(reference: weakref.ref[ModelOutputThunk[str]], text: str) -> bool:
    thunk = reference()
    return thunk is not None and thunk.text == text


@pytest.mark.parametrize("stream", [True, False])
def test_dropping_the_last_reference_ends_the_request_on_the_server(
    server: ServerProcess, stream: bool
) -> None:
    server.script("m", chunks=["a", "b"], stall_after=1)

    async def main() -> None:
        m = MelleaSession(OllamaBackend("m", base_url=server.url))
        thunk = await m.ainstruct("Go.", model_options={ModelOption.STREAM: stream})
        await until(partial(text_is, weakref.ref(thunk), "a"))
        del thunk
        await asyncio.to_thread(server.wait_for, lambda: server.log("m")[0]["client_closed"])
        m.close()

    asyncio.run(main())


def test_a_dropped_thunk_is_really_gone() -> None:
    async def main() -> None:
        thunk, answer = started()
        reference, view = weakref.ref(thunk), thunk._view()
        del thunk
        gc.collect()
        await until(answer.closed.is_set)
        assert reference() is None
        await soon(view.settled())
        assert isinstance(view.error, GenerationCancelledError)
        assert str(view.error) == "the generation was cancelled"

    asyncio.run(main())


def test_a_thunk_that_could_not_be_made_is_gone_without_a_word() -> None:
    with pytest.raises(TypeError, match="pipeline"):
        ModelOutputThunk()  # type: ignore[call-arg]
    gc.collect()


def test_a_subscription_keeps_its_thunk_running() -> None:
    async def main() -> None:
        thunk, answer = started()
        recorder = Recorder()
        recorder.to(thunk)
        del thunk
        gc.collect()
        answer.say("still ", "here")
        answer.end()
        await until(lambda: recorder.terminals)
        assert recorder.text == "still here"

    asyncio.run(main())


def test_a_waiting_avalue_keeps_its_thunk_running() -> None:
    async def main() -> None:
        thunk, answer = started()
        waiting = asyncio.create_task(thunk.avalue())
        await asyncio.sleep(0)
        del thunk
        gc.collect()
        answer.say("still here")
        answer.end()
        assert await soon(waiting) == "still here"

    asyncio.run(main())


def test_a_reader_keeps_its_thunk_running() -> None:
    async def main() -> None:
        thunk, answer = started()
        reader = thunk.astream()
        del thunk
        gc.collect()
        answer.say("still here")
        answer.end()
        assert await soon(anext(reader)) == "still here"

    asyncio.run(main())


def test_disposing_a_subscription_leaves_the_generation_to_its_holder() -> None:
    async def main() -> None:
        thunk, answer = started()
        Recorder().to(thunk).dispose()
        answer.say("all")
        answer.end()
        assert await soon(thunk.avalue()) == "all"

    asyncio.run(main())


async def disposed(thunk: ModelOutputThunk[str]) -> None:
    Recorder().to(thunk).dispose()


async def out_of_time(thunk: ModelOutputThunk[str]) -> None:
    with pytest.raises(WaitTimeoutError):
        thunk.wait(0.001)


async def given_up(thunk: ModelOutputThunk[str]) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(thunk.avalue(), 0.001)


@pytest.mark.parametrize("leave", [disposed, out_of_time, given_up])
def test_who_has_left_watches_no_more(
    leave: Callable[[ModelOutputThunk[str]], Awaitable[None]],
) -> None:
    async def main() -> None:
        thunk, _ = started()
        await leave(thunk)
        async with thunk.astream():
            pass
        assert thunk.cancelled

    asyncio.run(main())


def test_a_simple_context_does_not_keep_a_dropped_generation_running() -> None:
    async def main() -> None:
        hand = Hand()
        m = MelleaSession(hand)
        thunk = await m.ainstruct("Go.")
        await until(hand.answers[0].asked.is_set)
        del thunk
        await until(hand.answers[0].closed.is_set)
        assert m.ctx.last is not None

    asyncio.run(main())


def test_a_chat_context_holds_its_turns() -> None:
    async def main() -> None:
        hand = Hand()
        m = MelleaSession(hand, ChatContext())
        thunk = await m.achat("Go.", model_options=STREAM)
        await until(hand.answers[0].asked.is_set)
        del thunk
        gc.collect()
        hand.answers[0].say("all").end()
        last = m.ctx.last
        assert last is not None
        await until(lambda: last.output.is_complete)
        assert last.output.text == "all"

    asyncio.run(main())


def test_cancelling_while_the_request_has_not_begun_ends_it_too() -> None:
    backend = ScriptedBackend("a b c", delay=10)
    for _ in range(50):
        asyncio.run(MelleaSession(backend).ainstruct("Go.")).cancel()
    until_blocking(lambda: backend.running == 0)


def test_what_is_dropped_before_it_began_has_an_end_too() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a b", delay=0.1))
        go = threading.Event()
        engine().call(go.wait, PATIENCE)  # nothing begins until then
        views = [(await m.ainstruct("Go."))._view() for _ in range(20)]
        go.set()
        for view in views:
            await soon(view.settled())
            assert isinstance(view.error, GenerationCancelledError)
            assert str(view.error) == "the generation was cancelled before it began"
            assert not view.is_running

    asyncio.run(main())


def test_a_caller_that_cancels_and_then_blocks_its_loop_holds_up_nobody() -> None:
    async def main() -> None:
        hand = Hand(2)
        m = MelleaSession(hand, ChatContext())
        first = await m.achat("one", model_options=STREAM)
        await until(hand.answers[0].asked.is_set)
        await m.achat("two", model_options=STREAM)
        await until(lambda: first._generation.is_watched)  # the second waits for it
        first.cancel()
        assert hand.answers[1].asked.wait(30), "the next turn waits for this loop's next step"

    asyncio.run(main())


def test_a_cancellation_reaches_another_loop_while_this_one_stands_still() -> None:
    thunk, _ = started()
    begun, told = threading.Event(), threading.Event()

    async def elsewhere() -> None:
        waiting = asyncio.create_task(thunk.avalue())
        await asyncio.sleep(0)
        begun.set()
        with pytest.raises(GenerationCancelledError):
            await waiting
        told.set()

    async def here() -> None:
        thunk.cancel()
        assert told.wait(30), "the other loop waits for this loop's next step"

    thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
    thread.start()
    assert begun.wait(30)
    try:
        asyncio.run(here())
    finally:
        thread.join(30)


def test_who_lets_go_last_ends_it() -> None:
    async def main() -> None:
        thunk, answer = started()
        first, second = thunk.hold(), thunk.hold()
        async with thunk.astream():
            pass
        assert not thunk.cancelled, "it is held"
        first.dispose()
        first.dispose()
        assert not thunk.cancelled
        second.dispose()
        assert thunk.cancelled
        assert str(thunk.error) == "nobody takes it any more"
        assert await asyncio.to_thread(answer.closed.wait, PATIENCE)

    asyncio.run(main())


def test_a_reader_that_has_not_read_yet_keeps_it_running() -> None:
    async def main() -> None:
        thunk, answer = started()
        reader = thunk.astream()
        thunk.hold().dispose()
        assert not thunk.cancelled
        answer.say("a").end()
        assert [piece async for piece in reader] == ["a"]

    asyncio.run(main())


def test_a_hold_keeps_a_thunk_that_is_dropped() -> None:
    async def main() -> None:
        thunk, answer = started()
        hold, view = thunk.hold(), thunk._view()
        del thunk
        gc.collect()
        assert view.is_running
        hold.dispose()
        assert not view.is_running
        assert await asyncio.to_thread(answer.closed.wait, PATIENCE)

    asyncio.run(main())


def test_holding_what_has_ended_is_nothing() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("a")
        answer.end()
        assert await soon(thunk.avalue()) == "a"
        thunk.hold().dispose()
        assert not thunk.cancelled
        assert thunk.value == "a"

    asyncio.run(main())


def test_a_reader_that_is_closed_says_so_in_the_error() -> None:
    async def main() -> None:
        thunk, answer = started()
        answer.say("a")
        async with thunk.astream() as reader:
            assert await soon(reader) == "a"
        with pytest.raises(GenerationCancelledError) as caught:
            await soon(thunk.avalue())
        assert str(caught.value) == "its reader was closed before its end"
        assert caught.value.text == "a"

    asyncio.run(main())
