"""Blocking waits: fine wherever the generation can go on, and refused at once where it cannot."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from functools import partial

import pytest

from mellea_rx import (
    BlockingWaitError,
    ChatContext,
    MelleaSession,
    ModelOutputThunk,
    ScriptedBackend,
)
from mellea_rx.core.runtime.engine import Engine, engine, use_engine
from mellea_rx.stdlib.requirements import Requirement, req, simple_validate
from tests.core.hand import PATIENCE, Answer, Hand, soon, started, until_blocking


async def accepts(text: str) -> bool:
    return True


NEEDS_LOOP = [req("fine", simple_validate(accepts))]


async def running(requirements: list[Requirement]) -> ModelOutputThunk[str]:
    m = MelleaSession(ScriptedBackend("a b", delay=0.02))
    return await m.ainstruct("Go.", requirements=requirements)


@pytest.mark.parametrize("way", [str, lambda t: t.wait(), lambda t: list(t.stream())])
def test_a_wait_on_the_loop_that_the_call_needs_is_refused_at_once(way: object) -> None:
    async def main() -> None:
        hand = Hand()  # says nothing yet: who is not refused at once waits for ever
        thunk = await MelleaSession(hand).ainstruct("Go.", requirements=NEEDS_LOOP)
        with pytest.raises(BlockingWaitError) as caught:
            way(thunk)  # type: ignore[operator]
        assert str(caught.value) == (
            "a blocking wait on the event loop that has to run this call's async functions "
            "(or its http_session) could never end: use `await thunk.avalue()` "
            "(or the verb with an a- prefix)"
        )
        assert not thunk.cancelled
        hand.answers[0].say("a b").end()
        assert await soon(thunk.avalue()) == "a b"

    asyncio.run(main())


def test_a_sync_verb_with_an_async_validator_in_a_running_loop_is_refused_at_once() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a b"))
        with pytest.raises(BlockingWaitError):
            m.instruct("Go.", requirements=NEEDS_LOOP)

    asyncio.run(main())


def test_a_sync_verb_that_is_refused_ends_its_call() -> None:
    hand = Hand()

    async def main() -> BlockingWaitError:
        with pytest.raises(BlockingWaitError) as caught:
            MelleaSession(hand).instruct("Go.", requirements=NEEDS_LOOP)
        return caught.value

    refused = asyncio.run(main())
    if hand.requests:
        assert hand.answers[0].closed.wait(PATIENCE)
    assert refused.__traceback__ is not None  # which has kept the thunk all the time


def test_a_sync_verb_with_an_async_validator_without_a_loop_works() -> None:
    assert MelleaSession(ScriptedBackend("a b")).instruct("Go.", requirements=NEEDS_LOOP).value


def test_a_wait_in_another_thread_while_the_loop_runs_works() -> None:
    async def main() -> None:
        thunk = await running(NEEDS_LOOP)
        assert await soon(asyncio.to_thread(str, thunk)) == "a b"

    asyncio.run(main())


def test_a_wait_on_a_thunk_whose_needed_loop_is_closed_never_hangs() -> None:
    thunk = asyncio.run(running(NEEDS_LOOP))
    with pytest.raises(BlockingWaitError) as caught:
        thunk.wait(PATIENCE)
    assert str(caught.value) == (
        "this call's async functions (or its http_session) run on an event loop that does not run "
        "now: wait inside it, with `await thunk.avalue()`"
    )


@pytest.mark.parametrize("way", [str, lambda t: list(t.stream())])
def test_a_wait_on_the_engines_own_thread_is_refused(way: Callable[[object], str]) -> None:
    thunk, _ = started()
    m = MelleaSession(ScriptedBackend(lambda _: way(thunk)))
    with pytest.raises(BlockingWaitError) as caught:
        m.instruct("Go.")
    assert str(caught.value) == (
        "a blocking wait on the engine's own thread would stop every call that runs on it: here "
        "(in a backend, a function that one calls, or virtual time), use `await thunk.avalue()`"
    )
    thunk.cancel()


def test_a_wait_is_fine_once_the_generation_has_ended() -> None:
    async def main() -> None:
        thunk = await running(NEEDS_LOOP)
        await thunk.avalue()
        assert str(thunk) == "a b"

    asyncio.run(main())


def test_a_wait_on_a_thunk_that_depends_on_one_that_needs_this_loop_is_refused() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a b", delay=0.02))
        first = await m.ainstruct("Go.", requirements=NEEDS_LOOP)
        second = await m.ainstruct("Go on: {{text}}", user_variables={"text": first})
        with pytest.raises(BlockingWaitError):
            str(second)
        assert await soon(second.avalue()) == "a b"

    asyncio.run(main())


def test_a_sync_validator_lets_its_caller_block() -> None:
    async def main() -> None:
        thunk = await running([req("fine", simple_validate(lambda text: True))])
        assert str(thunk) == "a b"

    asyncio.run(main())


class Between(Engine):
    """An engine with something that happens when a thread is about to block."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__(engine().loop)
        self._meanwhile = partial(Context().run, meanwhile)

    def event(self) -> threading.Event:
        self._meanwhile()
        return super().event()


def piece(thunk: ModelOutputThunk[str], answer: Answer) -> None:
    answer.say("a")
    until_blocking(lambda: thunk.text)


def end(thunk: ModelOutputThunk[str], answer: Answer) -> None:
    answer.end()
    until_blocking(lambda: "computed" in repr(thunk))


@pytest.mark.parametrize(
    ("comes", "way", "got"),
    [
        (piece, lambda thunk: next(thunk.stream()), "a"),
        (end, lambda thunk: "".join(thunk.stream()), ""),
        (end, str, ""),
    ],
)
def test_what_comes_just_before_a_thread_blocks_is_not_missed(
    comes: Callable[[ModelOutputThunk[str], Answer], None],
    way: Callable[[ModelOutputThunk[str]], str],
    got: str,
) -> None:
    thunk, answer = started()

    def read() -> str:
        use_engine(Between(partial(comes, thunk, answer)))
        return way(thunk)

    with ThreadPoolExecutor(1) as pool:
        try:
            assert pool.submit(read).result(PATIENCE) == got
        finally:
            thunk.cancel()


def test_a_loop_that_only_an_ended_dependency_needed_is_needed_no_more() -> None:
    hand = Hand(2)

    async def main() -> ModelOutputThunk[str]:
        m = MelleaSession(hand, ctx=ChatContext())
        first = await m.ainstruct("Go.", requirements=NEEDS_LOOP)
        second = await m.ainstruct("Go on.")
        assert second._needs == (asyncio.get_running_loop(),)
        hand.answers[0].say("a").end()
        await soon(first.avalue())
        return second

    second = asyncio.run(main())
    assert second._needs == ()
    hand.answers[1].say("b").end()
    assert second.wait(PATIENCE).value == "b"
