"""Contexts: what a prompt begins with, and how turns that overlap wait for each other."""

from __future__ import annotations

import asyncio
import dataclasses
import logging

import pytest

from mellea_rx import (
    ChatContext,
    GenerationFailedError,
    MelleaSession,
    ModelOption,
    ScriptedBackend,
    SimpleContext,
)
from mellea_rx.backends import Request
from mellea_rx.stdlib.context import contexts as context_module
from tests.core.hand import STREAM, Hand, soon, until

WARNING = (
    "Not using a SimpleContext with asynchronous requests could cause unexpected results due to "
    "stale contexts. Ensure you await between requests."
)


def said(request: Request) -> list[tuple[str, str]]:
    """The conversation of a request."""
    return [(message.role, message.content) for message in request.messages]


def test_they_are_found_where_mellea_has_them() -> None:
    assert context_module.ChatContext is ChatContext
    assert context_module.SimpleContext is SimpleContext


def test_a_simple_context_begins_every_prompt_anew() -> None:
    backend = ScriptedBackend("a")
    m = MelleaSession(backend)
    m.chat("one")
    m.chat("two")
    assert said(backend.requests[1]) == [("user", "two")]


def test_a_chat_context_begins_with_all_turns() -> None:
    backend = ScriptedBackend("first", "second", "third")
    m = MelleaSession(backend, ChatContext(), model_options={ModelOption.SYSTEM_PROMPT: "Be."})
    m.chat("one")
    m.instruct("two {{n}}", user_variables={"n": 2})
    m.chat("three")
    assert said(backend.requests[2]) == [
        ("system", "Be."),
        ("user", "one"),
        ("assistant", "first"),
        ("user", "two 2"),
        ("assistant", "second"),
        ("user", "three"),
    ]


def test_the_pages_sequential_chat_logs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    async def sequential_chat() -> None:
        m = MelleaSession(ScriptedBackend("a b", delay=0.002), ctx=ChatContext())
        await m.achat("Hello.")
        r2 = await m.achat("Tell me more.")
        assert str(r2) == "a b"

    with caplog.at_level(logging.INFO, "mellea_rx"):
        asyncio.run(sequential_chat())
    assert caplog.records == []


def test_the_warning_is_logged_in_the_pages_words_once_per_detection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        hand = Hand(3)
        m = MelleaSession(hand, ChatContext())
        thunks = [await m.ainstruct(f"{n}") for n in range(3)]
        for answer in hand.answers:
            answer.say("a").end()
        for thunk in thunks:
            await soon(thunk.avalue())

    with caplog.at_level(logging.INFO, "mellea_rx"):
        asyncio.run(main())
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [("WARNING", WARNING)] * 2


def test_a_simple_context_logs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a", delay=0.005))
        for thunk in [await m.ainstruct(f"{n}") for n in range(5)]:
            await soon(thunk.avalue())

    with caplog.at_level(logging.INFO, "mellea_rx"):
        asyncio.run(main())
    assert caplog.records == []


def test_turns_that_overlap_wait_for_each_other_and_see_no_stale_history() -> None:
    async def main() -> None:
        hand = Hand(3)
        m = MelleaSession(hand, ChatContext())
        thunks = [await m.achat(f"question {n}", model_options=STREAM) for n in range(3)]
        for n, answer in enumerate(hand.answers):
            await until(answer.asked.is_set)
            assert not any(later.asked.is_set() for later in hand.answers[n + 1 :])
            answer.say(f"answer {n}").end()
        assert [await soon(thunk.avalue()) for thunk in thunks] == [f"answer {n}" for n in range(3)]
        assert said(hand.requests[2]) == [
            ("user", "question 0"),
            ("assistant", "answer 0"),
            ("user", "question 1"),
            ("assistant", "answer 1"),
            ("user", "question 2"),
        ]

    asyncio.run(main())


def test_gathered_chats_keep_their_order() -> None:
    async def main() -> None:
        backend = ScriptedBackend(lambda r: [f"{len(r.messages)}"], delay=0.002)
        m = MelleaSession(backend, ChatContext())
        thunks = await soon(asyncio.gather(*(m.achat(f"{n}") for n in range(5))))
        assert [thunk.value for thunk in thunks] == ["1", "3", "5", "7", "9"]

    asyncio.run(main())


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_a_turn_that_failed_or_was_cancelled_is_left_out(how: str) -> None:
    async def main() -> None:
        hand = Hand(3)
        m = MelleaSession(hand, ChatContext())
        hand_over = [await m.achat(f"{n}", model_options=STREAM) for n in range(2)]
        hand.answers[0].say("half")
        await until(lambda: hand_over[0].text)
        if how == "failed":
            hand.answers[0].fail(GenerationFailedError("crashed"))
        else:
            hand_over[0].cancel()
        hand.answers[1].say("fine").end()
        assert await soon(hand_over[1].avalue()) == "fine"
        assert said(hand.requests[1]) == [("user", "1")]
        await m.achat("2", model_options=STREAM)
        await until(hand.answers[2].asked.is_set)
        assert said(hand.requests[2]) == [("user", "1"), ("assistant", "fine"), ("user", "2")]

    asyncio.run(main())


def test_a_call_that_was_refused_leaves_no_turn() -> None:
    m = MelleaSession(ScriptedBackend("a"), ChatContext())
    before = m.ctx
    for call in (lambda: m.chat(""), lambda: m.instruct("{{x}}", user_variables={})):
        with pytest.raises(ValueError):  # noqa: PT011
            call()
    assert m.ctx is before


def test_contexts_are_immutable() -> None:
    m = MelleaSession(ScriptedBackend("a"), ChatContext())
    before = m.ctx
    m.chat("one")
    assert before == ChatContext()
    assert m.ctx is not before
    with pytest.raises(dataclasses.FrozenInstanceError):
        m.ctx.turns = ()  # type: ignore[attr-defined,misc]


def test_two_sessions_may_begin_from_one_context() -> None:
    backend = ScriptedBackend("a")
    first = MelleaSession(backend, ChatContext())
    first.chat("shared")
    second = MelleaSession(backend, first.ctx)
    first.chat("only first")
    second.chat("only second")
    assert [text for _, text in said(backend.requests[-1])] == ["shared", "a", "only second"]


def test_a_clone_goes_on_from_here_on_its_own() -> None:
    backend = ScriptedBackend("a")
    m = MelleaSession(backend, ChatContext(), model_options={ModelOption.SEED: 7})
    m.chat("shared")
    twin = m.clone()
    m.chat("mine")
    twin.chat("its own")
    assert [text for _, text in said(backend.requests[-1])] == ["shared", "a", "its own"]
    assert backend.requests[-1].options.get(ModelOption.SEED) == 7
    m.chat("again mine")
    assert [text for _, text in said(backend.requests[-1])] == [
        *("shared", "a", "mine", "a", "again mine")
    ]


def test_a_clone_made_while_a_turn_runs_waits_for_that_turn() -> None:
    async def main() -> None:
        hand = Hand(2)
        m = MelleaSession(hand, ChatContext())
        first = await m.achat("one", model_options=STREAM)
        second = await m.clone().achat("two", model_options=STREAM)
        hand.answers[0].say("a").end()
        hand.answers[1].say("b").end()
        assert await soon(second.avalue()) == "b"
        assert said(hand.requests[1]) == [("user", "one"), ("assistant", "a"), ("user", "two")]
        assert first.text == "a"

    asyncio.run(main())


@pytest.mark.parametrize("kind", [ChatContext, SimpleContext])
def test_reset_forgets_every_turn(kind: type[ChatContext] | type[SimpleContext]) -> None:
    backend = ScriptedBackend("a")
    m = MelleaSession(backend, kind())
    m.chat("one")
    m.reset()
    assert m.ctx == kind()
    m.chat("two")
    assert said(backend.requests[-1]) == [("user", "two")]


def test_an_old_turn_is_said_again_as_it_was() -> None:
    backend = ScriptedBackend("a")
    m = MelleaSession(backend, ChatContext())
    items = ["milk"]
    m.instruct("Buy {{items}}.", user_variables={"items": items})
    items.append("bread")
    m.chat("And?")
    assert said(backend.requests[-1])[0] == ("user", "Buy ['milk'].")


def test_a_chat_from_many_threads_loses_no_turn() -> None:
    from concurrent.futures import ThreadPoolExecutor

    backend = ScriptedBackend("a")
    m = MelleaSession(backend, ChatContext())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: m.chat(f"{n}"), range(32)))
    m.chat("last")
    texts = [text for role, text in said(backend.requests[-1]) if role == "user"]
    assert sorted(texts) == sorted([*map(str, range(32)), "last"])
