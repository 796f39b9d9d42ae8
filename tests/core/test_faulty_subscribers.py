"""A subscriber that misbehaves takes nothing from the others."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from mellea_rx import GenerationFailedError
from tests.core.hand import PATIENCE, Recorder, soon, started, until


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
    from reactivex.scheduler import NewThreadScheduler

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
