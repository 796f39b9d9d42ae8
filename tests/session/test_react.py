"""react: calls tools until there is an answer, natively and in words; every step is told."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from mellea_rx import (
    BlockingWaitError,
    ChatContext,
    Chunk,
    GenerationFailedError,
    InvalidInputError,
    LoopBudgetError,
    MelleaSession,
    ModelOption,
    OllamaBackend,
    OpenAIBackend,
    ScriptedBackend,
    TemplateError,
    ToolCall,
    ToolCallError,
    ToolError,
    areact,
    react,
    tool,
)
from mellea_rx.backends import RequestMessage
from mellea_rx.events import AttemptStarted, Completed, Event, Failed, ToolCalled, ToolReturned
from mellea_rx.stdlib.react import ReactStep
from tests.core.hand import STREAM, Hand, soon, until
from tests.session.test_tools_in_words import Wordy
from tests.support.server_process import ServerProcess


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


@tool
def price(item: str) -> int:
    """What it costs."""
    if item == "gold":
        raise ValueError("not for sale")
    return len(item)


TOOLS = [weather, price]


def calls(*asked: ToolCall, text: str = "") -> list[Any]:
    return [Chunk(text, tool_calls=asked)]


DELFT = ToolCall("weather", {"city": "Delft"}, "c1")
TEA = ToolCall("price", {"item": "tea"}, "c2")


async def events_of(thunk: Any) -> list[Event]:
    """All events of a call that has ended."""
    seen: list[Event] = []
    ended = asyncio.Event()
    thunk.events.subscribe(seen.append, on_completed=ended.set)
    await soon(ended.wait())
    return seen


def test_it_goes_on_until_the_model_answers() -> None:
    backend = ScriptedBackend(calls(DELFT, text="Let me see."), calls(TEA, DELFT), "Take tea.")
    thunk = react(MelleaSession(backend), "What should I do in Delft?", TOOLS)
    assert (thunk.value, thunk.tool_calls, thunk.finish_reason) == ("Take tea.", (), "stop")
    last = backend.requests[-1]
    assert last.messages == (
        RequestMessage("user", "What should I do in Delft?"),
        RequestMessage("assistant", "Let me see.", tool_calls=(DELFT,)),
        RequestMessage("tool", "rain in Delft", tool_name="weather", tool_call_id="c1"),
        RequestMessage("assistant", "", tool_calls=(TEA, DELFT)),
        RequestMessage("tool", "3", tool_name="price", tool_call_id="c2"),
        RequestMessage("tool", "rain in Delft", tool_name="weather", tool_call_id="c1"),
    )
    assert last.options.get(ModelOption.TOOLS) == [weather.json, price.json]
    assert [each.answer.tool_calls for each in thunk.sampling.attempts] == [
        (DELFT,),
        (TEA, DELFT),
        (),
    ]


def test_it_returns_at_once_and_tells_every_step() -> None:
    async def main() -> None:
        hand = Hand(2)
        m = MelleaSession(Native(hand))
        thunk = await asyncio.wait_for(areact(m, "How is Delft?", TOOLS), 30)
        assert not thunk.is_computed()
        hand.answers[0].say(Chunk(tool_calls=(DELFT, TEA))).end()
        hand.answers[1].say("Wet.").end()
        assert await soon(thunk.avalue()) == "Wet."
        kinds = (AttemptStarted, ToolCalled, ToolReturned, Completed)
        told = [each for each in await events_of(thunk) if isinstance(each, kinds)]
        assert [type(each) for each in told] == [
            AttemptStarted,
            ToolCalled,
            ToolCalled,
            ToolReturned,
            ToolReturned,
            AttemptStarted,
            Completed,
        ]
        returned = [each for each in told if isinstance(each, ToolReturned)]
        assert [(each.attempt, each.name, each.content, each.call_id) for each in returned] == [
            (0, "weather", "rain in Delft", "c1"),
            (0, "price", "3", "c2"),
        ]

    asyncio.run(main())


class Native:
    """The hand's backend, as one that knows tools."""

    capabilities = ScriptedBackend.capabilities

    def __init__(self, hand: Hand) -> None:
        self._hand = hand

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hand, name)


@pytest.mark.parametrize(
    ("call", "told", "kind"),
    [
        (ToolCall("wether", {}), "there is no tool 'wether'", ToolCallError),
        (ToolCall("price", {"item": 3}), "Expected `str`, got `int`", ToolCallError),
        (ToolCall("price", {"item": "gold"}), "raised ValueError: not for sale", ToolError),
    ],
)
def test_what_goes_wrong_with_a_call_is_a_step(call: ToolCall, told: str, kind: Any) -> None:
    backend = ScriptedBackend(calls(call), "Never mind.")
    assert react(MelleaSession(backend), "Go.", TOOLS).value == "Never mind."
    assert told in backend.requests[-1].messages[-1].content

    with pytest.raises(LoopBudgetError) as caught:
        react(MelleaSession(ScriptedBackend(calls(call))), "Go.", TOOLS, loop_budget=1)
    [step] = caught.value.steps
    assert isinstance(step, ReactStep)
    assert isinstance(step.results[0].error, kind)


def test_a_loop_that_never_ends_is_an_error_with_its_steps() -> None:
    async def main() -> None:
        backend = ScriptedBackend(calls(DELFT))
        thunk = await areact(MelleaSession(backend), "Go.", TOOLS, loop_budget=3)
        with pytest.raises(LoopBudgetError, match="in all 3 steps, and never answered") as caught:
            await soon(thunk.avalue())
        steps = [step for step in caught.value.steps if isinstance(step, ReactStep)]
        assert [step.results[0].value for step in steps] == ["rain in Delft"] * 3
        assert len(backend.requests) == 3
        assert isinstance((await events_of(thunk))[-1], Failed)

    asyncio.run(main())


def test_an_answer_that_was_cut_off_runs_nothing() -> None:
    ran = []

    def act() -> None:
        ran.append(1)

    hand = Hand(2)

    async def main() -> None:
        thunk = await areact(MelleaSession(Native(hand)), "Go.", [act])
        cut = Chunk(tool_calls=(ToolCall("act", {}),), finish_reason="length")
        hand.answers[0].say(cut).end()
        hand.answers[1].say("Sorry.").end()
        assert await soon(thunk.avalue()) == "Sorry."

    asyncio.run(main())
    assert ran == []
    assert "cut off by its length" in hand.requests[1].messages[-1].content


def test_text_beside_a_call_never_reaches_readers() -> None:
    async def main() -> None:
        hand = Hand(2)
        thunk = await areact(MelleaSession(Native(hand)), "Go.", TOOLS, model_options=STREAM)
        hand.answers[0].say("Let me ", "see.", Chunk(tool_calls=(DELFT,))).end()
        hand.answers[1].say("It ", "rains.").end()
        assert "".join([piece async for piece in thunk.astream()]) == "It rains."

    asyncio.run(main())


def test_told_in_words_the_answer_streams() -> None:
    async def main() -> None:
        hand = Hand(2)
        thunk = await areact(MelleaSession(hand), "Go.", TOOLS, model_options=STREAM)
        hand.answers[0].say('{"tool": "weather", "arguments": {"city": "Delft"}}').end()
        pieces = thunk.astream()
        hand.answers[1].say('{"answer": "It')
        assert await soon(pieces) == "It"
        hand.answers[1].say(' rains."}')
        assert await soon(pieces) == " rains."
        hand.answers[1].end()
        assert await soon(thunk.avalue()) == "It rains."
        assert "rain in Delft" in hand.requests[1].messages[-1].content

    asyncio.run(main())


@pytest.mark.parametrize("kind", [OllamaBackend, OpenAIBackend], ids=["ollama", "openai"])
def test_it_works_over_http(kind: Any, server: ServerProcess) -> None:
    asked = [{"name": "weather", "arguments": {"city": "Delft"}}]
    server.script("m", [{"chunks": [], "tool_calls": asked}, {"chunks": ["It ", "rains."]}])
    with MelleaSession(kind("m", base_url=server.url)) as m:
        assert react(m, "How is Delft?", TOOLS).value == "It rains."
    bodies = [entry["body"] for entry in server.log("m")]
    assert [each["role"] for each in bodies[1]["messages"]] == ["user", "assistant", "tool"]
    assert bodies[0]["tools"] == bodies[1]["tools"] == [weather.json, price.json]


def test_a_chat_keeps_the_goal_and_the_answer() -> None:
    backend = ScriptedBackend(calls(DELFT), "It rains.", "Yes.")
    m = MelleaSession(backend, ChatContext())
    react(m, "How is Delft?", TOOLS)
    m.chat("Really?")
    assert [each.content for each in backend.requests[-1].messages] == [
        "How is Delft?",
        "It rains.",
        "Really?",
    ]
    assert ModelOption.TOOLS not in backend.requests[-1].options.standard


def test_a_goal_may_be_made_of_thunks() -> None:
    m = MelleaSession(ScriptedBackend("Delft", calls(DELFT), "It rains."))
    place = m.instruct("Name a place.")
    thunk = react(m, "How is {{place}}?", TOOLS, user_variables={"place": place})
    assert thunk.value == "It rains."
    assert m.backend.requests[1].messages[0].content == "How is Delft?"  # type: ignore[attr-defined]


def test_async_tools_run_on_the_callers_loop() -> None:
    async def main() -> None:
        here = asyncio.get_running_loop()

        async def look() -> bool:
            return asyncio.get_running_loop() is here

        backend = ScriptedBackend(calls(ToolCall("look", {})), "Seen.")
        thunk = await areact(MelleaSession(backend), "Look.", [look])
        with pytest.raises(BlockingWaitError):
            thunk.wait()
        assert await soon(thunk.avalue()) == "Seen."
        assert backend.requests[-1].messages[-1].content == "true"

    asyncio.run(main())


def test_cancelling_it_while_a_tool_runs_asks_the_model_no_more() -> None:
    begun, release = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        release.wait(30)

    async def main() -> None:
        backend = ScriptedBackend(calls(ToolCall("block", {})), "Late.")
        thunk = await areact(MelleaSession(backend), "Go.", [block])
        await until(begun.is_set)
        thunk.cancel()
        release.set()
        assert thunk.cancelled
        assert len(backend.requests) == 1

    asyncio.run(main())


def test_a_generation_that_fails_ends_it() -> None:
    backend = ScriptedBackend(calls(DELFT), ["It ", GenerationFailedError("crashed")])
    with pytest.raises(GenerationFailedError, match="crashed") as caught:
        react(MelleaSession(backend), "Go.", TOOLS)
    assert caught.value.text == "It "


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"tools": []}, "react needs tools"),
        ({"tools": [weather.json]}, "a JSON description cannot be called"),
        ({"tools": [weather, weather]}, "two tools are called 'weather'"),
        ({"loop_budget": 0}, "loop_budget must be an int, 1 or more, not 0"),
        ({"goal": " "}, "is empty"),
        ({"goal": "{{x}}", "user_variables": {}}, "'x'"),
        (
            {"model_options": {ModelOption.TOOL_CHOICE: "required"}},
            "TOOL_CHOICE can only be 'auto'",
        ),
        ({"session": "m"}, "takes a session first, not str"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(how: dict[str, Any], told: str) -> None:
    given = {"session": MelleaSession(Wordy("Hi.")), "goal": "Go.", "tools": TOOLS, **how}
    with pytest.raises((InvalidInputError, TemplateError), match=told):
        react(**given)


def test_the_sessions_tools_and_reacts_are_offered_together() -> None:
    backend = ScriptedBackend(calls(DELFT, ToolCall("price", {"item": "tea"})), "Hi.")
    described = {"type": "function", "function": {"name": "theirs", "parameters": {}}}
    m = MelleaSession(backend, model_options={ModelOption.TOOLS: [price, described]})
    thunk = react(m, "Go.", [weather])
    assert thunk.value == "Hi."
    # One that is only a description could not be called.
    offer = [price.json, weather.json]
    assert [each.options.get(ModelOption.TOOLS) for each in backend.requests] == [offer, offer]
    assert react(m, "Go.").value == "Hi."


def test_of_two_tools_with_one_name_reacts_wins() -> None:
    @tool(name="price")
    def other(item: str) -> str:
        """Another price."""
        return item

    backend = ScriptedBackend("Hi.")
    react(MelleaSession(backend, model_options={ModelOption.TOOLS: [price]}), "Go.", [other])
    assert backend.requests[0].options.get(ModelOption.TOOLS) == [other.json]
