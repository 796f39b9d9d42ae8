"""Data dependencies order calls: a thunk in a prompt is waited for, in the pipeline."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from typing import Any

import pytest

from mellea_rx import (
    DependencyError,
    GenerationCancelledError,
    GenerationFailedError,
    MelleaSession,
    OllamaBackend,
    ScriptedBackend,
    TemplateError,
)
from mellea_rx.backends import Request
from tests.core.hand import STREAM, Hand, soon, until
from tests.support.server_process import ServerProcess
from tests.support.timing import assert_in_time


def echo(request: Request) -> list[str]:
    """The prompt, in angle brackets."""
    return [f"<{request.messages[-1].content}>"]


def test_the_verb_returns_at_once_and_the_calls_run_in_order() -> None:
    async def main() -> None:
        hand = Hand(2)
        m = MelleaSession(hand)
        first = await m.ainstruct("First.")
        second = await asyncio.wait_for(
            m.ainstruct("Then: {{it}}", user_variables={"it": first}), 1
        )
        await until(hand.answers[0].asked.is_set)
        assert not hand.answers[1].asked.is_set()
        hand.answers[0].say("one").end()
        await until(hand.answers[1].asked.is_set)
        assert hand.requests[1].messages[-1].content == "Then: one"
        hand.answers[1].say("two").end()
        assert await soon(second.avalue()) == "two"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("template", "wrap"),
    [
        ("{{x}}", lambda t: t),
        ("{{x[0]}}", lambda t: [t]),
        ("{{x.k}}", lambda t: {"k": t}),
        ("{{x.k[0]}}", lambda t: {"k": (t,)}),
        ("{% for each in x %}{{each}}{% endfor %}", lambda t: [t]),
    ],
)
def test_it_is_found_in_containers(template: str, wrap: Any) -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(echo, delay=0.005))
        first = await m.ainstruct("a")
        second = await m.ainstruct(template, user_variables={"x": wrap(first)})
        assert await soon(second.avalue()) == "<<a>>"

    asyncio.run(main())


def test_a_stream_thunk_may_be_a_dependency_and_still_be_read() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(["on", "e"], echo, delay=0.005))
        first = await m.ainstruct("a", model_options=STREAM)
        second = await m.ainstruct("{{x}}", user_variables={"x": first})
        assert "".join([piece async for piece in first.astream()]) == "one"
        assert await soon(second.avalue()) == "<one>"

    asyncio.run(main())


def test_a_chain_of_ten_is_ten_calls_in_order() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(echo))
        thunk = await m.ainstruct("x")
        for _ in range(9):
            thunk = await m.ainstruct("{{it}}", user_variables={"it": thunk})
        assert await soon(thunk.avalue()) == "<" * 10 + "x" + ">" * 10

    asyncio.run(main())


def test_a_dependency_is_kept_running_though_nobody_else_holds_it() -> None:
    async def main() -> None:
        hand = Hand(2)
        m = MelleaSession(hand)
        first = await m.ainstruct("First.")
        second = await m.ainstruct("{{it}}", user_variables={"it": first})
        del first
        hand.answers[0].say("one").end()
        hand.answers[1].say("two").end()
        assert await soon(second.avalue()) == "two"

    asyncio.run(main())


def test_a_failed_dependency_is_the_cause() -> None:
    async def main() -> None:
        backend = ScriptedBackend(["half", GenerationFailedError("crashed")], "never asked")
        m = MelleaSession(backend)
        first = await m.ainstruct("a")
        second = await m.ainstruct("{{it}}", user_variables={"it": first})
        third = await m.ainstruct("{{it}}", user_variables={"it": second})
        with pytest.raises(DependencyError, match="crashed") as caught:
            await soon(second.avalue())
        assert caught.value.__cause__ is first.error
        with pytest.raises(DependencyError) as deeper:
            await soon(third.avalue())
        assert deeper.value.__cause__ is second.error
        assert len(backend.requests) == 1

    asyncio.run(main())


def test_a_cancelled_dependency_is_the_cause() -> None:
    async def main() -> None:
        m = MelleaSession(Hand(2))
        first = await m.ainstruct("a")
        second = await m.ainstruct("{{it}}", user_variables={"it": first})
        first.cancel()
        with pytest.raises(DependencyError) as caught:
            await soon(second.avalue())
        assert isinstance(caught.value.__cause__, GenerationCancelledError)

    asyncio.run(main())


def test_cancelling_the_later_call_leaves_the_dependency_alone() -> None:
    async def main() -> None:
        hand = Hand(2)
        m = MelleaSession(hand)
        first = await m.ainstruct("a")
        second = await m.ainstruct("{{it}}", user_variables={"it": first})
        second.cancel()
        hand.answers[0].say("one").end()
        assert await soon(first.avalue()) == "one"
        assert second.cancelled
        assert not hand.answers[1].asked.is_set()

    asyncio.run(main())


def test_a_missing_variable_beside_a_thunk_is_told_at_once() -> None:
    async def main() -> None:
        m = MelleaSession(Hand(2))
        first = await m.ainstruct("a")
        with pytest.raises(TemplateError, match="'other'"):
            await m.ainstruct("{{it}} {{other}}", user_variables={"it": first})

    asyncio.run(main())


def test_a_queried_thunk_is_waited_for() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a story", echo, delay=0.002))
        thunk = await m.aquery(await m.ainstruct("Tell."), "What is it?")
        assert "a story" in await soon(thunk.avalue())

    asyncio.run(main())


def test_a_thunk_in_a_queried_object_is_waited_for() -> None:
    @dataclass
    class Page:
        title: str
        body: Any

    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a story", echo, delay=0.002))
        page = Page("T", await m.ainstruct("Tell."))
        prompt = await soon((await m.aquery(page, "What is it?")).avalue())
        assert "- body: a story" in prompt

    asyncio.run(main())


def test_it_may_come_from_another_session() -> None:
    async def main() -> None:
        poet = MelleaSession(ScriptedBackend("a poem", delay=0.005))
        critic = MelleaSession(ScriptedBackend(echo))
        thunk = await critic.ainstruct("{{p}}", user_variables={"p": await poet.ainstruct("Go.")})
        assert await soon(thunk.avalue()) == "<a poem>"

    asyncio.run(main())


# A diamond: two calls need the first, the last needs both.

TAKES = {"last": 0.2, "left": 0.1, "right": 0.4, "root": 0.2}
"""The server's delay for each, in seconds; the first one that a prompt contains counts."""


async def diamond(m: MelleaSession) -> list[Any]:
    root = await m.ainstruct("root")
    left = await m.ainstruct("left {{x}}", user_variables={"x": root})
    right = await m.ainstruct("right {{x}}", user_variables={"x": root})
    last = await m.ainstruct("last {{x}} {{y}}", user_variables={"x": left, "y": right})
    return [root, left, right, last]


@pytest.mark.alone
def test_a_diamond_takes_its_longest_path_and_asks_for_each_once(server: ServerProcess) -> None:
    script = {name: {"chunks": [name], "first_delay": takes} for name, takes in TAKES.items()}
    longest = TAKES["root"] + TAKES["right"] + TAKES["last"]

    async def main() -> float:
        server.clear()
        server.script("m", by_prompt=script)
        with MelleaSession(OllamaBackend("m", base_url=server.url)) as m:
            before = time.monotonic()
            thunks = await diamond(m)
            fired = time.monotonic() - before
            assert not any(thunk.is_computed() for thunk in thunks)
            assert await soon(thunks[-1].avalue()) == "last"
            took = time.monotonic() - before
        assert longest <= took
        return took if fired < 0.05 else math.inf

    assert_in_time(longest + TAKES["left"], lambda: asyncio.run(main()))
    asked = {entry["body"]["messages"][-1]["content"]: entry for entry in server.log("m")}
    assert sorted(asked) == ["last left right", "left root", "right root", "root"]
    assert len(server.log("m")) == 4
    left, right = asked["left root"], asked["right root"]
    assert asked["root"]["ended"] <= min(left["started"], right["started"])
    assert max(left["started"], right["started"]) < min(left["ended"], right["ended"])
    assert max(left["ended"], right["ended"]) <= asked["last left right"]["started"]


def test_a_diamonds_root_that_fails_fails_all_with_the_cause_chained() -> None:
    async def main() -> None:
        backend = ScriptedBackend(GenerationFailedError("crashed"))
        root, left, right, last = await diamond(MelleaSession(backend))
        for thunk in (left, right, last):
            with pytest.raises(DependencyError):
                await soon(thunk.avalue())
        assert left.error.__cause__ is right.error.__cause__ is root.error
        assert last.error.__cause__ is left.error
        assert len(backend.requests) == 1

    asyncio.run(main())
