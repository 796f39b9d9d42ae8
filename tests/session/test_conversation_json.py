"""Conversations as JSON: what is written and read again begins the same prompts."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx import (
    ChatContext,
    Chunk,
    Image,
    InvalidInputError,
    MelleaSession,
    ScriptedBackend,
    ToolCall,
)
from mellea_rx.backends import RequestMessage
from mellea_rx.stdlib.components import ToolMessage

PNG = b"\x89PNG\r\n\x1a\n..."
PICTURES = (Image.from_bytes(PNG), Image.from_url("https://example.org/a.png"))

texts = st.text(st.characters(exclude_categories=()), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
calls = st.builds(ToolCall, texts, st.dictionaries(texts, values, max_size=2), texts)
before = st.one_of(
    st.builds(
        RequestMessage, st.just("user"), texts, st.sets(st.sampled_from(PICTURES)).map(tuple)
    ),
    st.builds(
        lambda text, name, id_: RequestMessage("tool", text, tool_name=name, tool_call_id=id_),
        *(texts, texts, texts),
    ),
)
answers = st.builds(
    lambda text, made: RequestMessage("assistant", text, tool_calls=tuple(made)),
    texts,
    st.lists(calls, max_size=2),
)
conversations = st.tuples(
    st.lists(texts.map(lambda text: RequestMessage("system", text)), max_size=1),
    st.lists(st.tuples(st.lists(before, min_size=1, max_size=2), answers), max_size=3),
).map(lambda made: [*made[0], *(each for asked, said in made[1] for each in (*asked, said))])


@given(messages=conversations, window=st.none() | st.integers(1, 9))
def test_it_is_the_same_after_it_was_written_and_read(
    messages: list[RequestMessage], window: int | None
) -> None:
    if messages and messages[-1].role == "system":
        messages = []
    ctx = ChatContext.from_messages(messages, window_size=window)
    again = ChatContext.from_json(ctx.to_json())
    assert again.messages == ctx.messages
    assert again.window_size == window
    assert again.to_json() == ctx.to_json()
    assert ChatContext.from_messages(ctx.to_messages()).messages == ctx.messages


def test_another_process_goes_on_with_it() -> None:
    m = MelleaSession(ScriptedBackend("Hello Ada."), ChatContext())
    m.chat("I am Ada.", images=PNG)
    backend = ScriptedBackend("You are Ada.")
    later = MelleaSession(backend, ChatContext.from_json(m.ctx.to_json()))
    later.chat("Who am I?")
    contents = [message.content for message in backend.requests[0].messages]
    assert contents == ["I am Ada.", "Hello Ada.", "Who am I?"]
    assert backend.requests[0].messages[0].images == (Image.from_bytes(PNG),)


def test_the_messages_are_those_of_openais_api() -> None:
    ctx = ChatContext.from_messages(
        [
            RequestMessage("system", "Be brief."),
            RequestMessage("user", "What is it?", PICTURES[:1]),
            RequestMessage("assistant", "", tool_calls=(ToolCall("look", {"at": 1}, "c1"),)),
            RequestMessage("tool", "a dot", tool_name="look", tool_call_id="c1"),
            RequestMessage("assistant", "A dot."),
        ]
    )
    call = {"name": "look", "arguments": '{"at": 1}'}
    assert ctx.to_messages() == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": PICTURES[0].address}},
            ],
        },
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c1", "type": "function", "function": call}],
        },
        {"role": "tool", "content": "a dot", "name": "look", "tool_call_id": "c1"},
        {"role": "assistant", "content": "A dot."},
    ]


def test_a_tool_call_whose_result_follows_later_is_kept() -> None:
    call = ToolCall("look", {"at": 1}, "c1")
    m = MelleaSession(ScriptedBackend([Chunk(tool_calls=(call,))], "A dot."), ChatContext())
    m.chat("What is it?")
    requests = []
    for ctx in (m.ctx, ChatContext.from_json(m.ctx.to_json())):
        backend = ScriptedBackend("A dot.")
        MelleaSession(backend, ctx).act(ToolMessage("look", "a dot", "c1"))
        requests.append(backend.requests[0].messages)
    assert requests[0] == requests[1]
    assert requests[1][1].tool_calls == (call,)


def test_a_list_of_messages_of_another_program_is_read() -> None:
    text = json.dumps(
        [
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": "Hello."},
        ]
    )
    assert [each.role for each in ChatContext.from_json(text)] == ["system", "user", "assistant"]


def test_a_turn_that_failed_is_left_out() -> None:
    m = MelleaSession(ScriptedBackend("Hello.", ValueError("no")), ChatContext(), retries=0)
    m.chat("One.")
    with pytest.raises(Exception, match="no"):
        m.chat("Two.")
    assert len(ChatContext.from_json(m.ctx.to_json())) == 2


def test_a_call_that_still_runs_is_refused_by_name() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("Hello.", delay=60), ChatContext())
        thunk = await m.ainstruct("Go.")
        for write in (m.ctx.to_json, m.ctx.to_messages):
            with pytest.raises(InvalidInputError, match="still runs"):
                write()
        thunk.cancel()

    asyncio.run(main())


USER = {"role": "user", "content": "Hi"}
BOT = {"role": "assistant", "content": "Hello."}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("7", "a list of messages"),
        ('{"turns": []}', "a list of messages"),
        ('{"version": 2, "messages": []}', "version 2, and this library reads 1"),
        ('{"version": "1", "messages": []}', "version '1'"),
        ('{"version": true, "messages": []}', "version True"),
        ('{"version": 0, "messages": []}', "version 0"),
        (json.dumps([{"role": "tool", "content": "x", "name": 7}, BOT]), "a str as its name"),
        ('{"window_size": 0, "messages": []}', "window_size"),
        (json.dumps([7]), r"messages\[0\]"),
        (json.dumps([USER, {"content": "x"}]), r"messages\[1\] must have a role"),
        (json.dumps([{"role": "user", "content": 7}]), r"messages\[0\] must have a str"),
        (json.dumps([{"role": "user", "content": [7]}, BOT]), r"messages\[0\]\.content\[0\]"),
        (
            json.dumps([{"role": "user", "content": [{"type": "input_audio"}]}, BOT]),
            r"messages\[0\]\.content\[0\] is of type 'input_audio'",
        ),
        (
            json.dumps(
                [{"role": "user", "content": [{"type": "image_url", "image_url": "data:,x"}]}, BOT]
            ),
            r"messages\[0\]\.content\[0\]: the image",
        ),
        (json.dumps([USER, {**BOT, "tool_calls": 7}]), r"messages\[1\] must have a list"),
        (json.dumps([USER, {**BOT, "tool_calls": [7]}]), r"messages\[1\] has a tool call"),
        (json.dumps([USER]), "has no answer"),
    ],
)
def test_what_is_no_conversation_is_refused_with_its_place(text: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        ChatContext.from_json(text)


@pytest.mark.parametrize("given", [None, 7, {"messages": []}])
def test_what_is_no_text_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInputError, match="from_json takes a text"):
        ChatContext.from_json(given)
