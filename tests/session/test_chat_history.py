"""The part of a conversation that a prompt begins with: windows, compactors, messages never cut."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx import (
    CallbackError,
    ChatContext,
    Chunk,
    InvalidInputError,
    MelleaSession,
    ModelOption,
    ScriptedBackend,
    ToolCall,
    Usage,
)
from mellea_rx.backends import Request, RequestMessage
from mellea_rx.stdlib.components import Said, Template
from mellea_rx.stdlib.context import Exchange, Summarize, Summary, TokenThreshold

SYSTEM = {ModelOption.SYSTEM_PROMPT: "Be."}


def said(request: Request) -> list[str]:
    """The conversation of a request, a word a message: who, and what."""
    return [f"{message.role[0]}:{message.content}" for message in request.messages]


def chat(ctx: ChatContext, count: int, *answers: Any) -> ScriptedBackend:
    """A backend that was asked so many questions, "0" first, in a conversation."""
    backend = ScriptedBackend(*(answers or ("a",)))
    m = MelleaSession(backend, ctx, model_options=SYSTEM)
    for n in range(count):
        m.chat(f"{n}")
    return backend


@dataclass(frozen=True)
class Result:
    """A tool's result."""

    content: str
    call_id: str = ""

    def template(self) -> Template:
        return Template("{{ content }}", {"content": self.content})

    def said(self) -> tuple[Said, ...]:
        return (Said(self.template(), "tool", tool_name="look", tool_call_id=self.call_id),)

    def parse(self, text: str) -> str:
        return text


CALL = [Chunk(tool_calls=(ToolCall("look", {"at": "sky"}, "c1"),))]


# The window.


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_window_says_the_last_turns_again_and_the_system_prompt_always(size: int) -> None:
    backend = chat(ChatContext(window_size=size), 4)
    kept = [text for n in range(max(0, 3 - size), 3) for text in (f"u:{n}", "a:a")]
    assert said(backend.requests[3]) == ["s:Be.", *kept, "u:3"]


def test_the_context_keeps_the_turns_that_prompts_leave_out() -> None:
    m = MelleaSession(ScriptedBackend("a"), ChatContext(window_size=1))
    for n in range(3):
        m.chat(f"{n}")
    assert isinstance(m.ctx, ChatContext)
    assert len(m.ctx.turns) == 3
    assert m.ctx.window_size == 1


@pytest.mark.parametrize("size", [1, 2])
def test_a_window_never_cuts_a_tool_call_from_its_result(size: int) -> None:
    backend = ScriptedBackend("a", CALL, "blue", "end")
    m = MelleaSession(backend, ChatContext(window_size=size))
    m.chat("hi")
    m.chat("sky?")
    m.act(Result("it is blue", "c1"))
    m.chat("thanks")
    first = ["u:hi", "a:a"] if size == 2 else []
    # While the result is brought, its call is not a turn that could fall out of the window.
    assert said(backend.requests[2]) == ["u:hi", "a:a", "u:sky?", "a:", "t:it is blue"]
    assert said(backend.requests[3]) == [
        *first,
        *("u:sky?", "a:", "t:it is blue", "a:blue", "u:thanks"),
    ]
    assert backend.requests[3].messages[-4].tool_calls == CALL[0].tool_calls


def test_tool_calls_that_nobody_answered_are_not_said_again() -> None:
    backend = ScriptedBackend(CALL, "a")
    m = MelleaSession(backend, ChatContext())
    m.chat("sky?")
    m.chat("never mind")
    assert said(backend.requests[1]) == ["u:sky?", "a:", "u:never mind"]
    assert backend.requests[1].messages[1].tool_calls == ()


def test_of_two_calls_the_one_that_was_answered_is_said_again() -> None:
    calls = (ToolCall("look", {}, "c1"), ToolCall("look", {}, "c2"))
    backend = ScriptedBackend([Chunk(tool_calls=calls)], "b", "c")
    m = MelleaSession(backend, ChatContext())
    m.chat("sky?")
    m.act(Result("blue", "c2"))
    m.chat("so?")
    assert backend.requests[2].messages[1].tool_calls == (calls[1],)


@pytest.mark.parametrize("size", [0, -1, 1.5, "3", True])
def test_a_window_that_is_none_is_refused(size: Any) -> None:
    with pytest.raises(InvalidInputError, match="window_size"):
        ChatContext(window_size=size)


# Compactors.


def test_a_function_of_the_history_is_a_compactor() -> None:
    seen: list[tuple[tuple[Exchange, ...], str]] = []

    def first_and_last(history: tuple[Exchange, ...]) -> Sequence[Exchange]:
        seen.append((history, threading.current_thread().name))
        return history if len(history) < 3 else [history[0], history[-1]]

    backend = chat(ChatContext(compactor=first_and_last), 5)
    assert said(backend.requests[4]) == ["s:Be.", "u:0", "a:a", "u:3", "a:a", "u:4"]
    assert [len(history) for history, _ in seen] == [1, 2, 3, 4]
    assert {name for _, name in seen} == {"mellea-rx-worker"}
    assert all(each.messages[0].role == "user" for each in seen[-1][0])


def test_the_window_is_of_what_the_compactor_left() -> None:
    ctx = ChatContext(window_size=2, compactor=lambda history: history[:-1])
    assert said(chat(ctx, 5).requests[4]) == ["s:Be.", "u:1", "a:a", "u:2", "a:a", "u:4"]


def test_a_compactor_may_say_something_else() -> None:
    note = Exchange((RequestMessage("system", "They met."),))
    backend = chat(ChatContext(compactor=lambda history: [note]), 3)
    assert said(backend.requests[2]) == ["s:Be.\n\nThey met.", "u:2"]


def test_a_compactor_that_raises_fails_the_call_and_names_itself() -> None:
    def forgetful(history: object) -> Any:
        raise KeyError("where was I")

    m = MelleaSession(ScriptedBackend("a"), ChatContext(compactor=forgetful))
    m.chat("one")
    with pytest.raises(CallbackError, match="'forgetful' raised KeyError: 'where was I'"):
        m.chat("two")


@pytest.mark.parametrize("wrong", [None, "text", [1], 5])
def test_a_compactor_that_returns_no_history_fails_the_call(wrong: Any) -> None:
    m = MelleaSession(ScriptedBackend("a"), ChatContext(compactor=lambda history: wrong))
    m.chat("one")
    with pytest.raises(CallbackError, match="has to return a list or tuple of Exchange"):
        m.chat("two")


@pytest.mark.parametrize("wrong", [5, "text", TokenThreshold])
def test_what_is_no_compactor_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="compactor"):
        ChatContext(compactor=wrong)


# Tokens.


def test_tokens_are_the_servers_where_it_told_them_else_a_quarter_of_the_characters() -> None:
    asked, answered = RequestMessage("user", "x" * 9), RequestMessage("assistant", "y" * 100)
    assert Exchange((asked, answered)).tokens == 28
    assert Exchange((asked, answered), 7).tokens == 3 + 7


@pytest.mark.parametrize(("thinking", "expected"), [("", 11), ("hm", 2)])
def test_the_tokens_of_an_answer_are_those_of_what_is_said_again(
    thinking: str, expected: int
) -> None:
    seen: list[int] = []

    def look(history: tuple[Exchange, ...]) -> Sequence[Exchange]:
        seen.append(history[0].tokens)
        return history

    answer = [Chunk("five!", thinking, usage=Usage(90, 10), finish_reason="stop")]
    m = MelleaSession(Once(answer), ChatContext(compactor=look))
    m.chat("one")
    m.chat("two")
    assert seen == [expected]


class Once(ScriptedBackend):
    """Plays chunks and nothing more, not even a usage of its own."""

    def stream(self, request: Request) -> Any:
        import reactivex

        self.requests = (*self.requests, request)
        answer: Any = self._answers[0]
        return reactivex.of(*answer)


def test_a_token_threshold_drops_the_oldest() -> None:
    words = "x" * 396  # with its question, 100 tokens
    answer = [Chunk(words)]
    backend = Once(answer)
    m = MelleaSession(backend, ChatContext(compactor=TokenThreshold(250)), model_options=SYSTEM)
    for n in range(5):
        m.chat(f"{n}")
    assert [text[:3] for text in said(backend.requests[4])] == [
        *("s:B", "u:2", "a:x", "u:3", "a:x", "u:4"),
    ]


def test_a_token_threshold_keeps_the_latest_in_any_case() -> None:
    history = tuple(Exchange((RequestMessage("user", "x" * 400),)) for _ in range(3))
    assert TokenThreshold(1)(history) == history[-1:]
    assert TokenThreshold(1, keep=2)(history) == history[-2:]
    assert TokenThreshold(1, keep=0)(history) == ()


lengths = st.lists(st.integers(0, 400), max_size=20)


@given(lengths, st.integers(1, 300), st.integers(0, 4))
def test_a_threshold_keeps_the_longest_end_that_fits(
    characters: list[int], tokens: int, keep: int
) -> None:
    history = tuple(Exchange((RequestMessage("user", "x" * n),)) for n in characters)
    kept = TokenThreshold(tokens, keep=keep)(history)
    assert history[len(history) - len(kept) :] == tuple(kept)
    total = sum(each.tokens for each in kept)
    assert total <= tokens or len(kept) == min(keep, len(history))
    if len(kept) < len(history):
        assert total + history[-len(kept) - 1].tokens > tokens


@given(lengths, st.integers(1, 300), st.integers(1, 6), st.integers(0, 3))
def test_summaries_of_a_longer_history_begin_with_those_of_a_shorter_one(
    characters: list[int], tokens: int, turns: int, keep: int
) -> None:
    history = tuple(Exchange((RequestMessage("user", "x" * n),)) for n in characters)
    compactor = Summarize(tokens, turns + keep, keep, max_tokens=20)
    before = 0
    for end in range(len(history) + 1):
        first, *rest = (*compactor(history[:end]), *history[end:], Exchange(()))
        covered = len(first.of) if isinstance(first, Summary) else 0
        assert covered >= before
        assert covered <= max(0, end - keep)
        assert covered == 0 or tuple(rest[:-1]) == history[covered:]
        before = covered


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({}, "after_tokens"),
        ({"turns": 2, "keep": 2}, "turns"),
        ({"turns": "8"}, "turns"),
        ({"after_tokens": 0}, "after_tokens"),
        ({"turns": 8, "keep": -1}, "keep"),
        ({"turns": 8, "max_tokens": 0}, "max_tokens"),
    ],
)
def test_numbers_that_cannot_be_are_refused(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        Summarize(**wrong)


@pytest.mark.parametrize("wrong", [0, None, "many"])
def test_a_threshold_that_cannot_be_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="tokens"):
        TokenThreshold(wrong)


# What was said, for the user.


def test_a_context_tells_what_was_said() -> None:
    m = MelleaSession(ScriptedBackend("a", "b"), ChatContext())
    assert m.ctx
    m.chat("one")
    m.chat("two")
    ctx = m.ctx
    assert isinstance(ctx, ChatContext)
    assert [message.content for message in ctx] == ["one", "a", "two", "b"]
    assert len(ctx) == 4
    assert ctx.last is ctx.turns[-1]
    assert ctx.last.output.text == "b"


def test_a_turn_that_runs_was_not_said_yet() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(["a", "b"], delay=0.01), ChatContext())
        thunk = await m.ainstruct("one")
        assert isinstance(m.ctx, ChatContext)
        assert m.ctx.messages == ()
        await thunk
        assert len(m.ctx.messages) == 2

    asyncio.run(main())


MESSAGES: list[Any] = [
    {"role": "system", "content": "You are kind."},
    {"role": "user", "content": "I am Ada."},
    {"role": "assistant", "content": "Hello Ada."},
    RequestMessage("user", "sky?"),
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
        ],
    },
    Result("blue", "c1"),
    {"role": "assistant", "content": "Blue."},
]


def test_a_conversation_that_was_had_elsewhere_goes_on() -> None:
    backend = ScriptedBackend("Ada.")
    ctx = ChatContext.from_messages(MESSAGES, window_size=1)
    m = MelleaSession(backend, ctx, model_options=SYSTEM)
    assert [message.role[0] for message in ctx] == [*"suauata"]
    m.chat("Who am I?")
    assert said(backend.requests[0]) == [
        *("s:Be.\n\nYou are kind.", "u:sky?", "a:", "t:blue", "a:Blue.", "u:Who am I?"),
    ]
    assert backend.requests[0].messages[2].tool_calls == (ToolCall("look", {"a": 1}, "c1"),)


def test_its_last_answer_can_be_validated() -> None:
    m = MelleaSession(ScriptedBackend("no"), ChatContext.from_messages(MESSAGES))
    assert [bool(each) for each in m.validate(["is long"])] == [False]


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ("text", "must be a list"),
        ({"role": "user"}, "must be a list"),
        (5, "must be a list"),
        ([5], r"messages\[0\] must be a dict"),
        ([{"role": "robot", "content": "x"}], r"messages\[0\] must have a role"),
        ([{"content": "x"}], "must have a role"),
        ([{"role": "user", "content": 5}], "must have a str"),
        ([{"role": "user", "content": None}], "must have a str"),
        ([{"role": "user", "content": "x"}], "the last message is the user's"),
        ([{"role": "assistant", "content": None, "tool_calls": [{}]}], "cannot be read"),
        (
            [
                {
                    "role": "assistant",
                    "tool_calls": [{"function": {"name": "f", "arguments": "{"}}],
                }
            ],
            "cannot be read",
        ),
    ],
)
def test_what_is_no_conversation_is_refused_by_its_place(messages: Any, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        ChatContext.from_messages(messages)


def test_an_empty_conversation_is_one() -> None:
    ctx = ChatContext.from_messages([])
    assert len(ctx) == 0
    assert ctx
