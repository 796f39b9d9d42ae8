"""Summaries of a conversation: written in the background, used when they are there."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest
from reactivex import Observable

from mellea_rx import (
    ChatContext,
    Chunk,
    GenerationFailedError,
    MelleaSession,
    ModelOption,
    ScriptedBackend,
)
from mellea_rx.backends import Request
from mellea_rx.stdlib.context import Exchange, Summarize, Summary
from tests.core.hand import Hand, soon, until, until_blocking

THREE = Summarize(turns=3, keep=1, max_tokens=50)
"""After the fourth turn the first three are summed up, then two more with each second turn."""


def said(request: Request) -> list[str]:
    """The conversation of a request: who, and what."""
    return [f"{message.role[0]}:{message.content}" for message in request.messages]


class Writer(ScriptedBackend):
    """Chats at once; summaries are in the test's hands."""

    def __init__(self, summaries: int = 4) -> None:
        super().__init__("a")
        self.hand = Hand(summaries)

    def stream(self, request: Request) -> Observable[Chunk]:
        is_summary = request.messages[-1].content.startswith("Sum up")
        return self.hand.stream(request) if is_summary else super().stream(request)

    def write(self, index: int, text: str) -> None:
        """Write a summary, whole."""
        self.hand.answers[index].say(text).end()


def session(backend: Any, compactor: Any = THREE) -> MelleaSession:
    return MelleaSession(backend, ChatContext(compactor=compactor))


def chat(m: MelleaSession, *contents: int) -> None:
    for content in contents:
        m.chat(f"{content}")


def written(m: MelleaSession) -> None:
    """Wait until no summary is being written."""
    memory = m._memory
    until_blocking(lambda: not any(each.is_running for each in memory._written))


def test_turns_are_sent_as_they_are_until_the_summary_is_there() -> None:
    backend = Writer()
    m = session(backend)
    chat(m, 0, 1, 2, 3, 4, 5)
    assert backend.hand.answers[0].asked.wait(30)
    assert said(backend.requests[5]) == [
        *(text for n in range(5) for text in (f"u:{n}", "a:a")),
        "u:5",
    ]
    backend.write(0, "They counted to two.")
    written(m)
    chat(m, 6)
    assert said(backend.requests[6]) == [
        "s:What was said before, in short: They counted to two.",
        *("u:3", "a:a", "u:4", "a:a", "u:5", "a:a", "u:6"),
    ]
    assert len(m.ctx.history()) == 7


def test_it_asks_for_the_older_turns_with_the_calls_options() -> None:
    backend = Writer()
    options = {ModelOption.SEED: 7, ModelOption.SYSTEM_PROMPT: "Be.", "top_k": 3}
    m = MelleaSession(backend, ChatContext(compactor=THREE), model_options=options)
    chat(m, 0, 1, 2, 3, 4)
    assert backend.hand.answers[0].asked.wait(30)
    (request,) = backend.hand.requests
    (message,) = request.messages
    assert message.content.endswith(
        "user: 0\nassistant: a\nuser: 1\nassistant: a\nuser: 2\nassistant: a\n"
    )
    assert request.options.get(ModelOption.MAX_NEW_TOKENS) == 50
    assert request.options.get(ModelOption.SEED) == 7
    assert request.options.get(ModelOption.SYSTEM_PROMPT) is None
    assert request.options.extra == {"top_k": 3}


def test_the_next_summary_goes_on_from_the_one_before() -> None:
    backend = Writer()
    m = session(backend)
    chat(m, 0, 1, 2, 3, 4)
    backend.write(0, "First.")
    written(m)
    chat(m, 5, 6)
    assert backend.hand.answers[1].asked.wait(30)
    assert "system: What was said before, in short: First.\nuser: 3\n" in (
        backend.hand.requests[1].messages[0].content
    )
    # Meanwhile the one before is still used.
    assert said(backend.requests[6])[:2] == [
        *("s:What was said before, in short: First.", "u:3"),
    ]
    backend.write(1, "Second.")
    written(m)
    chat(m, 7)
    assert said(backend.requests[7])[:2] == [
        *("s:What was said before, in short: Second.", "u:5"),
    ]


def test_a_system_prompt_and_a_summary_are_one_message() -> None:
    backend = Writer()
    options = {ModelOption.SYSTEM_PROMPT: "Be kind."}
    m = MelleaSession(backend, ChatContext(compactor=THREE), model_options=options)
    chat(m, 0, 1, 2, 3, 4)
    backend.write(0, "First.")
    written(m)
    chat(m, 5)
    assert said(backend.requests[5])[:2] == [
        *("s:Be kind.\n\nWhat was said before, in short: First.", "u:3"),
    ]


def test_a_window_does_not_cut_the_summary() -> None:
    backend = Writer()
    m = MelleaSession(backend, ChatContext(window_size=1, compactor=THREE))
    chat(m, 0, 1, 2, 3, 4)
    backend.write(0, "First.")
    written(m)
    chat(m, 5)
    assert said(backend.requests[5]) == [
        *("s:What was said before, in short: First.", "u:4", "a:a", "u:5"),
    ]


def test_by_tokens_it_begins_when_the_history_has_more() -> None:
    backend = Writer()
    m = session(backend, Summarize(after_tokens=100, keep=1, max_tokens=20))
    chat(m, 0)
    m.chat("x" * 400)
    assert not backend.hand.answers[0].asked.is_set()
    chat(m, 1)
    assert backend.hand.answers[0].asked.wait(30)
    assert "user: 0\nassistant: a\n" in backend.hand.requests[0].messages[0].content
    assert "xxx" not in backend.hand.requests[0].messages[0].content


@pytest.mark.parametrize("how", ["fails", "says nothing"])
def test_a_summary_that_fails_is_logged_once_and_the_turns_are_sent(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Writer()
    m = session(backend)
    with caplog.at_level(logging.INFO, "mellea_rx"):
        chat(m, 0, 1, 2, 3, 4)
        if how == "fails":
            backend.hand.answers[0].fail(GenerationFailedError("out of memory"))
        else:
            backend.write(0, "\n")
        written(m)
        chat(m, 5)
    assert said(backend.requests[5])[0] == "u:0"
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert ("out of memory" if how == "fails" else "said nothing") in record.getMessage()
    assert "sent as they are" in record.getMessage()
    assert len(backend.hand.requests) == 1
    chat(m, 6)  # as much again as made the first one due
    assert backend.hand.answers[1].asked.wait(30)
    assert "user: 0\n" in backend.hand.requests[1].messages[0].content


@pytest.mark.parametrize("how", ["close", "reset", "drop"])
def test_it_ends_with_its_session(how: str) -> None:
    backend = Writer()
    m = session(backend)
    chat(m, 0, 1, 2, 3, 4)
    answer = backend.hand.answers[0]
    assert answer.asked.wait(30)
    assert not answer.closed.is_set()
    if how == "drop":
        del m
        gc.collect()
    else:
        getattr(m, how)()
    assert answer.closed.wait(30)


def test_cancelling_a_turn_does_not_end_it() -> None:
    async def main() -> None:
        backend = Writer()
        m = session(backend)
        for n in range(4):
            await m.achat(f"{n}")
        thunk = await m.ainstruct("4")
        await until(backend.hand.answers[0].asked.is_set)
        thunk.cancel()
        backend.write(0, "First.")
        await until(lambda: not any(each.is_running for each in m._memory._written))
        await soon(m.achat("5"))
        assert said(backend.requests[-1])[0] == "s:What was said before, in short: First."

    asyncio.run(main())


def test_a_clone_has_the_summaries_that_are_there_and_then_its_own() -> None:
    backend = Writer()
    m = session(backend)
    chat(m, 0, 1, 2, 3, 4)
    backend.write(0, "First.")
    written(m)
    twin = m.clone()
    chat(twin, 5)
    assert said(backend.requests[-1])[0] == "s:What was said before, in short: First."
    chat(twin, 6)
    assert backend.hand.answers[1].asked.wait(30)
    chat(m, 50, 60)
    assert backend.hand.answers[2].asked.wait(30)
    assert "user: 5\n" not in backend.hand.requests[2].messages[0].content
    twin.close()
    assert backend.hand.answers[1].closed.wait(30)
    assert not backend.hand.answers[2].closed.is_set()


def test_two_sessions_of_one_context_share_no_summary() -> None:
    backend = Writer()
    ctx = ChatContext(compactor=THREE)
    first, second = MelleaSession(backend, ctx), MelleaSession(backend, ctx)
    chat(first, 0, 1, 2, 3, 4)
    backend.write(0, "First.")
    written(first)
    chat(second, 0, 1, 2, 3, 4)
    assert said(backend.requests[-1])[0] == "u:0"
    assert backend.hand.answers[1].asked.wait(30)


def test_a_compactor_of_the_users_own_may_ask_for_a_summary() -> None:
    def all_but_the_last(history: tuple[Exchange, ...]) -> list[Exchange | Summary]:
        return [Summary(history[:-1], max_tokens=9), history[-1]] if history[1:] else [*history]

    backend = Writer()
    m = session(backend, all_but_the_last)
    chat(m, 0, 1, 2)
    backend.write(0, "Short.")
    written(m)
    chat(m, 3)
    # One turn more than the summary has: it is said, until the next summary is there.
    assert said(backend.requests[3]) == [
        "s:What was said before, in short: Short.",
        *("u:1", "a:a", "u:2", "a:a", "u:3"),
    ]


def test_going_back_to_an_earlier_context_brings_no_summary_of_later_turns() -> None:
    backend = Writer()
    m = session(backend)
    chat(m, 0)
    early = m.ctx
    chat(m, 1, 2, 3, 4)
    backend.write(0, "First.")
    written(m)
    m.ctx = early
    chat(m, 9)
    assert said(backend.requests[-1]) == ["u:0", "a:a", "u:9"]
