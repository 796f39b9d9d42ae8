"""One conversation, many calls at once: over HTTP, as users have it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest

from mellea_rx import (
    ChatContext,
    MelleaSession,
    OllamaBackend,
    OpenAIBackend,
    ScriptedBackend,
)
from mellea_rx.logs import StaleContext
from tests.core.hand import STREAM, soon
from tests.support.server_process import ServerProcess

Say = list[tuple[str, str]]
Bodies = Callable[[], list[Say]]


def conversation(count: int) -> Say:
    """So many questions, and all their answers but the last."""
    turns = ([("user", f"q{n}."), ("assistant", f"answer to q{n}.")] for n in range(count))
    return list(chain.from_iterable(turns))[:-1]


def over_http(kind: Any, server: ServerProcess) -> tuple[Any, Bodies]:
    answers = {f"q{n}.": {"chunks": ["answer ", f"to q{n}."], "delay": 0.001} for n in range(20)}
    server.script("m", by_prompt=answers)

    def bodies() -> list[Say]:
        messages = [entry["body"]["messages"] for entry in server.log("m")]
        return [[(each["role"], each["content"]) for each in said] for said in messages]

    return kind("m", base_url=server.url), bodies


def scripted(server: ServerProcess) -> tuple[Any, Bodies]:
    # With a delay, as a server has one: each chat begins while the one before it runs.
    backend = ScriptedBackend(
        lambda request: f"answer to {request.messages[-1].content}", delay=0.005
    )

    def bodies() -> list[Say]:
        return [[(each.role, each.content) for each in r.messages] for r in backend.requests]

    return backend, bodies


KINDS: dict[str, Callable[[ServerProcess], tuple[Any, Bodies]]] = {
    "ollama": lambda server: over_http(OllamaBackend, server),
    "openai": lambda server: over_http(OpenAIBackend, server),
    "scripted": scripted,
}


@pytest.mark.parametrize("kind", KINDS)
def test_20_chats_at_once_are_one_conversation(
    kind: str, server: ServerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    backend, bodies = KINDS[kind](server)

    async def main() -> None:
        async with MelleaSession(backend, ChatContext()) as m:
            chats = [m.achat(f"q{n}.") for n in range(20)]
            thunks = await soon(asyncio.gather(*chats), 20)
            assert [thunk.value for thunk in thunks] == [f"answer to q{n}." for n in range(20)]
            assert isinstance(m.ctx, ChatContext)
            said = [(message.role, message.content) for message in m.ctx]
            assert said == [*conversation(20), ("assistant", "answer to q19.")]

    with caplog.at_level(logging.WARNING, "mellea_rx"):
        asyncio.run(main())
    # In order, and each with all that was said before it: nothing lost, nothing stale.
    assert bodies() == [conversation(n + 1) for n in range(20)]
    assert [record.getMessage() for record in caplog.records] == [StaleContext.template] * 19
    assert {record.levelname for record in caplog.records} == {"WARNING"}


@pytest.mark.parametrize("kind", KINDS)
def test_two_sessions_of_one_context_never_hear_of_each_other(
    kind: str, server: ServerProcess
) -> None:
    backend, bodies = KINDS[kind](server)
    ctx = ChatContext()

    async def main() -> None:
        one, other = MelleaSession(backend, ctx), MelleaSession(backend, ctx)
        for n in range(3):
            await soon(asyncio.gather(one.achat(f"q{n}."), other.achat(f"q{n + 10}.")))
        one.close()

    asyncio.run(main())
    for said in bodies():
        numbers = {int(text[1:-1]) // 10 for role, text in said if role == "user"}
        assert len(numbers) == 1
    assert len(bodies()) == 6
    assert ctx == ChatContext()


@pytest.mark.parametrize("kind", KINDS)
def test_clones_made_while_a_turn_runs_have_it_and_go_their_own_ways(
    kind: str, server: ServerProcess
) -> None:
    backend, bodies = KINDS[kind](server)

    async def main() -> None:
        m = MelleaSession(backend, ChatContext())
        first = await m.achat("q0.", model_options=STREAM)
        branches = {1: m, 2: m.clone(), 3: m.clone()}
        thunks = [await each.achat(f"q{n}.", model_options=STREAM) for n, each in branches.items()]
        for n, thunk in enumerate(thunks, 1):
            assert await soon(thunk.avalue()) == f"answer to q{n}."
        assert first.text == "answer to q0."
        m.close()

    asyncio.run(main())
    begun = [("user", "q0."), ("assistant", "answer to q0.")]
    first, *rest = bodies()
    assert first == begun[:1]
    assert sorted(rest) == [[*begun, ("user", f"q{n}.")] for n in (1, 2, 3)]
