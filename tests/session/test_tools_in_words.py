"""Tools for models whose template knows none: a call, or an answer, chosen in JSON."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx import (
    ChatContext,
    Chunk,
    LocalBackend,
    MelleaSession,
    ModelOption,
    OptionError,
    ProtocolError,
    ScriptedBackend,
    ToolCall,
    call_tools,
    tool,
)
from mellea_rx.backends import Capabilities, Options, Request, RequestMessage
from mellea_rx.stdlib.components import ToolMessages
from mellea_rx.stdlib.pipeline.prompted_tools import PromptedToolDecoder, without_tools
from tests.core.hand import STREAM, Hand, soon
from tests.session.test_tools import Place, Unit


class Wordy(ScriptedBackend):
    """Knows no tools, but keeps to a schema."""

    capabilities = Capabilities(schema=True)

    def check(self, options: Options) -> None:
        """Refuses tools, as such a backend does."""
        if ModelOption.TOOLS in options.standard:
            raise OptionError("no tools here")


@tool
def weather(city: str) -> str:
    """The weather in a city now.

    Args:
        city: Its name.
    """
    return f"rain in {city}"


@tool
def move(place: Place, unit: Unit = Unit.KELVIN) -> str:
    """Go somewhere."""
    return place.city


OFFER = {ModelOption.TOOLS: [weather, move]}


def session(*answers: Any, **options: Any) -> tuple[MelleaSession, Wordy]:
    backend = Wordy(*answers)
    named = {ModelOption[key]: value for key, value in options.items()}
    return MelleaSession(backend, model_options={**OFFER, **named}), backend


def test_a_chosen_tool_comes_out_as_a_tool_call() -> None:
    m, backend = session(['{"tool": "wea', 'ther", "arguments": {"city": "Delft"}}'])
    thunk = m.instruct("How is it in Delft?")
    assert thunk.tool_calls == (ToolCall("weather", {"city": "Delft"}),)
    assert (thunk.value, thunk.finish_reason) == ("", "stop")
    assert thunk.usage is not None
    assert [message.content for message in call_tools(thunk)] == ["rain in Delft"]
    [request] = backend.requests
    assert ModelOption.TOOLS not in request.options.standard
    assert [message.role for message in request.messages] == ["system", "user"]
    told = request.messages[0].content
    assert "- weather: The weather in a city now." in told
    assert '"city": {"description": "Its name.", "type": "string"}' in told
    assert request.messages[1].content == "How is it in Delft?"


def test_the_description_of_the_tools_follows_the_system_prompt() -> None:
    m, backend = session('{"answer": "Hi."}', SYSTEM_PROMPT="Be brief.")
    assert m.instruct("Greet me.").value == "Hi."
    [system, _] = backend.requests[0].messages
    assert system.content.startswith("Be brief.\n\nYou can call a tool")


def test_the_schema_leaves_the_choice_of_each_tool_or_an_answer() -> None:
    m, backend = session('{"answer": "Hi."}')
    m.instruct("Greet me.")
    schema = backend.requests[0].schema
    assert schema is not None
    chosen = [each["properties"].get("tool", {}).get("const") for each in schema["anyOf"]]
    assert chosen == ["weather", "move", None]
    assert schema["anyOf"][2]["properties"] == {"answer": {"type": "string"}}
    place = schema["anyOf"][1]["properties"]["arguments"]["properties"]["place"]
    assert place["$ref"] == "#/$defs/move.Place"
    assert set(schema["$defs"]) == {"move.Place", "move.Unit"}


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        ("required", ["weather", "move"]),
        ("move", ["move"]),
        ({"type": "function", "function": {"name": "weather"}}, ["weather"]),
    ],
)
def test_tool_choice_narrows_it(choice: Any, chosen: list[str]) -> None:
    m, backend = session('{"tool": "move", "arguments": {}}', TOOL_CHOICE=choice)
    m.instruct("Go.")
    schema = backend.requests[0].schema
    assert schema is not None
    branches = schema.get("anyOf", [schema])
    assert [each["properties"]["tool"]["const"] for each in branches] == chosen
    assert "answer" not in backend.requests[0].messages[0].content


@pytest.mark.parametrize(
    "options", [{"TOOL_CHOICE": "none"}, {"TOOLS": []}, {"TOOLS": [], "TOOL_CHOICE": "x"}]
)
def test_without_a_choice_the_request_is_a_plain_one(options: dict[str, Any]) -> None:
    m, backend = session("Hi.", **options)
    assert m.instruct("Greet me.").value == "Hi."
    [request] = backend.requests
    assert request.schema is None
    assert request.messages == (RequestMessage("user", "Greet me."),)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({**OFFER, ModelOption.TOOL_CHOICE: "fly"}, r"a tool's name \('weather', 'move'\)"),
        ({ModelOption.TOOLS: [{"type": "web_search"}]}, "without a function's name"),
    ],
)
def test_what_cannot_be_told_in_words_is_refused_at_the_door(options: Any, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        MelleaSession(Wordy(), model_options=options)
    with pytest.raises(OptionError, match=told):
        MelleaSession(Wordy()).instruct("Go.", model_options=options)


def test_an_answer_streams_as_it_comes() -> None:
    async def main() -> None:
        hand = Hand()
        m = MelleaSession(hand, model_options={**OFFER, **STREAM})
        thunk = await m.ainstruct("Greet me.")
        answer = hand.answers[0]
        pieces = thunk.astream()
        for said, read in [
            (' { "answer" :"Hel', "Hel"),
            ("lo\\", "lo"),
            ('n\\"Ada\\u00e9', '\n"Adaé'),
            ("\\ud83d\\ude00!", "😀!"),
        ]:
            answer.say(said)
            assert await soon(pieces) == read
        answer.say('"', "}")
        answer.end()
        assert await soon(thunk.avalue()) == 'Hello\n"Adaé😀!'

    asyncio.run(main())


def fed(pieces: list[str], finish_reason: str = "stop") -> Chunk:
    """The result, as one chunk, of a choice that arrives in these pieces."""
    pushed: list[Chunk] = []
    reader = PromptedToolDecoder(pushed.append, "the script")
    for piece in pieces:
        reader.take(Chunk(piece))
    reader.take(Chunk(finish_reason=finish_reason))
    reader.finish()
    calls = tuple(call for chunk in pushed for call in chunk.tool_calls)
    text = "".join(chunk.text for chunk in pushed)
    return Chunk(text, tool_calls=calls, finish_reason=pushed[-1].finish_reason)


@given(st.text(), st.booleans(), st.lists(st.integers(0, 200), max_size=20))
def test_an_answer_is_the_same_however_it_is_cut(text: str, ascii: bool, cuts: list[int]) -> None:
    source = json.dumps({"answer": text}, ensure_ascii=ascii)
    ends = sorted({min(cut, len(source)) for cut in cuts} | {0, len(source)})
    pieces = [source[a:b] for a, b in pairwise(ends)]
    assert fed(pieces).text == text


CALL = '{"tool": "weather", "arguments": {"city": "Delft"}}'


@pytest.mark.parametrize("source", [CALL, f"\n {CALL}"])
def test_a_call_is_the_same_however_it_is_cut(source: str) -> None:
    whole = Chunk("", tool_calls=(ToolCall("weather", {"city": "Delft"}),), finish_reason="stop")
    for at in range(len(source)):
        assert fed([source[:at], source[at:]]) == whole


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("Just words.", "Just words."),
        ('{"other": 1}', '{"other": 1}'),
        ('{"answer": {"a": [1]}}', '{"a": [1]}'),
        ('{"tool": "weather", "arguments": "Delft"}', '{"tool": "weather", "arguments": "Delft"}'),
        ("", ""),
    ],
)
def test_what_no_schema_held_is_taken_as_it_is(said: str, text: str) -> None:
    assert fed([said]) == Chunk(text, finish_reason="stop")


@pytest.mark.parametrize("choice", [CALL, '{"answer": "Hi."}'])
def test_a_fence_around_a_choice_is_taken_off(choice: str) -> None:
    m, _ = session(f"```json\n{choice}\n```")
    thunk = m.instruct("Go.")
    assert (thunk.value, len(thunk.tool_calls)) == (("", 1) if choice == CALL else ("Hi.", 0))


def test_an_answer_of_a_format_is_that_of_the_choice() -> None:
    m, backend = session('{"answer": [1, 2]}')
    thunk = m.instruct("Count.", format=list[int])
    assert (thunk.value, thunk.parsed) == ("[1, 2]", [1, 2])
    schema = backend.requests[0].schema
    assert schema is not None
    assert schema["anyOf"][2]["properties"]["answer"]["type"] == "array"


def test_an_answer_that_is_cut_off_keeps_its_text_and_a_call_is_an_error() -> None:
    assert fed(['{"answer": "half an ans'], "length").text == "half an ans"
    with pytest.raises(ProtocolError, match=r"the script sent a tool call that was cut off.*to"):
        fed(['{"tool": "weather", "argu'], "length")


def test_thinking_and_usage_pass() -> None:
    m, _ = session([Chunk(thinking="hm"), '{"answer": "Hi."}'])
    thunk = m.instruct("Greet me.")
    assert (thunk.thinking, thunk.value, thunk.model) == ("hm", "Hi.", "scripted")


def test_calls_and_results_of_a_conversation_are_told_in_words() -> None:
    backend = Wordy(CALL, '{"answer": "It rains."}', '{"answer": "Yes."}')
    m = MelleaSession(backend, ChatContext(), model_options=OFFER)
    results = call_tools(m.chat("How is it in Delft?"))
    assert m.act(ToolMessages(results * 2)).value == "It rains."
    m.chat("Really?", tool_calls=False)
    second, third = backend.requests[1:]
    assert [each.role for each in second.messages] == ["system", "user", "assistant", "user"]
    assert second.messages[2].content == CALL
    assert "- rain in Delft\n- rain in Delft" in second.messages[3].content
    roles = ["user", "assistant", "user", "assistant", "user"]
    assert [each.role for each in third.messages] == roles
    assert third.schema is None


def test_a_schema_of_the_call_is_that_of_its_answer() -> None:
    schema = {"$ref": "#/$defs/Age", "$defs": {"Age": {"type": "integer"}}}
    request = Request((RequestMessage("user", "Go."),), Options(OFFER), schema)
    rewritten, is_choice = without_tools(request)
    assert is_choice
    assert rewritten.schema is not None
    assert rewritten.schema["anyOf"][2]["properties"] == {"answer": {"$ref": "#/$defs/answer.Age"}}
    assert rewritten.schema["$defs"]["answer.Age"] == {"type": "integer"}


def test_an_answer_whose_beginning_is_given_can_be_no_call() -> None:
    messages = (RequestMessage("user", "Go."), RequestMessage("assistant", "It"))
    rewritten, is_choice = without_tools(Request(messages, Options(OFFER)))
    assert not is_choice
    assert rewritten.messages == messages


def test_the_embedded_backend_itself_refuses_tools_and_a_session_on_it_does_not() -> None:
    with pytest.raises(OptionError, match=r"ModelOption\.TOOLS cannot be set"):
        LocalBackend().check(Options(OFFER))
    with MelleaSession(LocalBackend(), model_options={**OFFER, ModelOption.TOOL_CHOICE: "move"}):
        pass
    with MelleaSession(LocalBackend(), model_options={"tools": [weather.json]}) as m:
        assert m._options(None).get(ModelOption.TOOLS) == [weather.json]
