"""The prefix of an answer: readers see it first, and no model's repetition of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mellea_rx import (
    ChatContext,
    Chunk,
    MelleaSession,
    OllamaBackend,
    OpenAIBackend,
    ScriptedBackend,
    ServerError,
)
from mellea_rx.backends import Capabilities, RequestMessage
from mellea_rx.stdlib.components import Message, ToolMessage
from mellea_rx.stdlib.pipeline.prefill import RepeatedPrefillFilter
from mellea_rx.stdlib.requirements import req, simple_validate
from tests.core.hand import STREAM, Recorder, soon, until
from tests.support.server_process import ServerProcess


class Plain(ScriptedBackend):
    """A backend that cannot go on from an assistant's message."""

    capabilities = Capabilities()


def test_a_backend_that_continues_is_given_the_beginning_and_readers_see_it_first() -> None:
    async def main() -> None:
        backend = ScriptedBackend([" a", " time"])
        thunk = await MelleaSession(backend).ainstruct(
            "Tell.", prefix="Once upon", model_options=STREAM
        )
        recorder = Recorder()
        recorder.to(thunk)
        pieces = [piece async for piece in thunk.astream()]
        assert pieces[0].startswith("Once upon")
        assert "".join(pieces) == thunk.value == "Once upon a time"
        # A reader that finds the whole there does not wait for its loop; subscribers do.
        await until(lambda: recorder.text == "Once upon a time")
        assert backend.requests[0].messages == (
            RequestMessage("user", "Tell."),
            RequestMessage("assistant", "Once upon"),
        )

    asyncio.run(main())


@pytest.mark.parametrize("kind", [OllamaBackend, OpenAIBackend])
def test_it_is_the_last_message_on_the_wire(server: ServerProcess, kind: Any) -> None:
    server.script("m", chunks=[" a", " time"])
    with MelleaSession(kind("m", base_url=server.url)) as m:
        assert m.instruct("Tell.", prefix="Once upon").value == "Once upon a time"
    body = server.log("m")[0]["body"]
    assert body["messages"] == [
        {"role": "user", "content": "Tell."},
        {"role": "assistant", "content": "Once upon"},
    ]
    goes_on = (body.get("add_generation_prompt"), body.get("continue_final_message"))
    assert goes_on == ((False, True) if kind is OpenAIBackend else (None, None))


@pytest.mark.parametrize(
    ("prefix", "sent", "chunks", "value"),
    [
        ("Title: ", "Title:", [" The", " Sea"], "Title: The Sea"),
        ("Title: ", "Title:", [" ", "\nThe Sea"], "Title: The Sea"),
        ("def f():\n", "def f():\n", ["\n", "    return 1"], "def f():\n    return 1"),
        ("Sun", "Sun", ["flower "], "Sunflower "),
    ],
)
def test_white_space_where_the_two_meet_is_not_doubled(
    server: ServerProcess, prefix: str, sent: str, chunks: list[str], value: str
) -> None:
    server.script("m", chunks=chunks)
    with MelleaSession(OllamaBackend("m", base_url=server.url)) as m:
        assert m.instruct("Go.", prefix=prefix).value == value
    assert server.log("m")[0]["body"]["messages"][-1]["content"] == sent


def test_openais_own_server_is_asked_in_words() -> None:
    assert not OpenAIBackend("m", api_key="k").capabilities.prefill


def test_an_assistants_message_is_gone_on_from() -> None:
    backend = ScriptedBackend([" indeed"])
    assert MelleaSession(backend).chat("Yes,", "assistant").value == "Yes, indeed"
    assert MelleaSession(Plain("Yes, indeed")).chat("Yes,", "assistant").value == "Yes, indeed"


@pytest.mark.parametrize(
    "answer",
    [
        ["Once upon a time"],
        ["On", "ce", " upon", " a", " time"],
        ["\n", " Once upon", " a time"],
        [Chunk("Once upon a", thinking="hm"), " time"],
        [" a", " time"],
    ],
)
def test_a_backend_that_does_not_is_asked_in_words_and_nothing_is_there_twice(answer: Any) -> None:
    backend = Plain(answer)
    thunk = MelleaSession(backend).instruct("Tell.", prefix="Once upon")
    assert thunk.value == "Once upon a time"
    (message,) = backend.requests[0].messages
    assert message.role == "user"
    assert message.content.startswith("Tell.\n\n")
    assert message.content.endswith("\nOnce upon")


@pytest.mark.parametrize(
    ("prefix", "answer", "value"),
    [
        ("Title: ", ["\nThe Sea"], "Title: The Sea"),
        ("Title: ", ["Title:", " The", " Sea"], "Title: The Sea"),
        ("Title:\n", ["Title:\nThe Sea"], "Title:\nThe Sea"),
        ('{"a": ', ['{"a": 1}'], '{"a": 1}'),
        ("Once", ["Only", " this"], "OnceOnly this"),
        ("Once upon", ["Once"], "Once upon"),
        ("Once", ["Once"], "Once"),
        ("Once", [], "Once"),
        ("Yes", ["Yesterday"], "Yesterday"),
    ],
)
def test_the_beginning_is_there_once(prefix: str, answer: list[str], value: str) -> None:
    assert MelleaSession(Plain(answer)).instruct("Go.", prefix=prefix).value == value


@settings(max_examples=100, deadline=None)
@given(
    st.text("ab \n", min_size=1).filter(str.strip),
    st.text("abc ", max_size=8),
    st.lists(st.integers(0, 20), max_size=4),
)
def test_a_repeated_beginning_is_dropped_however_it_is_cut(
    beginning: str, rest: str, cuts: list[int]
) -> None:
    pushed: list[Chunk] = []
    filtered = RepeatedPrefillFilter(beginning, pushed.append)
    whole, at = beginning + rest, 0
    for cut in [*sorted(cuts), len(whole)]:
        filtered.push(Chunk(whole[at:cut]))
        at = max(at, cut)
    text = "".join(chunk.text for chunk in pushed)
    assert text == beginning[len(beginning.rstrip()) :] + rest


def test_where_no_user_spoke_last_the_wish_is_a_message_of_its_own() -> None:
    class Tooled(Plain):
        capabilities = Capabilities(tools=True)

    backend = Tooled("The sum is 4")
    m = MelleaSession(backend, ChatContext())
    m.act(ToolMessage("add", "4"))

    class Begun:
        def template(self) -> Any:
            return Message("x").template()

        def said(self) -> Any:
            return (*ToolMessage("add", "5").said(), *Message("The sum", "assistant").said())

        def parse(self, text: str) -> str:
            return text

    assert m.act(Begun()).value == "The sum is 4"
    assert [message.role for message in backend.requests[1].messages] == [
        *("tool", "assistant", "tool", "user")
    ]


def test_later_turns_show_it_as_part_of_the_answer() -> None:
    backend = ScriptedBackend([" a time"], "b")
    m = MelleaSession(backend, ChatContext())
    m.instruct("Tell.", prefix="Once upon")
    m.chat("And?")
    said = [(message.role, message.content) for message in backend.requests[1].messages]
    assert said == [("user", "Tell."), ("assistant", "Once upon a time"), ("user", "And?")]


def test_requirements_see_the_whole_answer() -> None:
    seen: list[str] = []
    begins = req("begins", simple_validate(lambda text: not seen.append(text)))  # type: ignore[func-returns-value]
    m = MelleaSession(ScriptedBackend([" a time"]))
    assert m.instruct("Tell.", prefix="Once upon", requirements=begins).value == "Once upon a time"
    assert seen == ["Once upon a time"]


def test_the_first_token_is_the_models_own() -> None:
    async def main() -> None:
        backend = ScriptedBackend(ServerError("it broke", status=500))
        thunk = await MelleaSession(backend).ainstruct("Tell.", prefix="Once")
        with pytest.raises(ServerError):
            await soon(thunk.avalue())
        assert (thunk.ttft, thunk.text) == (None, "")

    asyncio.run(main())
