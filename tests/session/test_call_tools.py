"""call_tools: every call has a result, whatever goes wrong, in order and side by side."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from mellea_rx import (
    BlockingWaitError,
    ChatContext,
    Chunk,
    DependencyError,
    GenerationFailedError,
    InvalidInputError,
    MelleaSession,
    ModelOption,
    ModelOutputThunk,
    OllamaBackend,
    OpenAIBackend,
    ScriptedBackend,
    ToolCall,
    acall_tools,
    call_tools,
    tool,
)
from mellea_rx.backends import Options
from mellea_rx.stdlib.components import ToolMessage, ToolMessages
from mellea_rx.stdlib.prompts.renderer import render
from mellea_rx.stdlib.requirements import check, simple_validate
from mellea_rx.stdlib.sampling import RejectionSampling
from mellea_rx.stdlib.tools.tool_calls import MAX_ARGUMENTS
from tests.core.hand import Hand, soon
from tests.support.server_process import ServerProcess


@dataclass
class Sum:
    total: int


@tool
def add(x: int, y: int = 1) -> Sum:
    """Add two numbers."""
    return Sum(x + y)


@tool
def greet(name: str) -> str:
    """Greet somebody."""
    return f"Hello, {name}."


TOOLS = {ModelOption.TOOLS: [add, greet]}


def asked(*calls: ToolCall, finish_reason: str = "tool_calls") -> ModelOutputThunk[str]:
    """The computed answer of a model that asks for these calls."""
    chunk = Chunk(tool_calls=calls, finish_reason=finish_reason)
    return MelleaSession(Plain([chunk])).instruct("Go.", model_options=TOOLS)


class Plain(ScriptedBackend):
    """Ends as the script says, and not with a "stop" of its own."""

    async def _play(self, request: Any, push: Any) -> None:
        await super()._play(request, lambda chunk: chunk.usage or push(chunk))


def contents(thunk: ModelOutputThunk[Any], *tools: Any) -> list[str]:
    return [message.content for message in call_tools(thunk, list(tools) or None)]


def test_results_come_in_the_order_of_the_calls() -> None:
    thunk = asked(ToolCall("greet", {"name": "Ada"}, "c1"), ToolCall("add", {"x": 2}, "c2"))
    assert call_tools(thunk) == [
        ToolMessage("greet", "Hello, Ada.", "c1"),
        ToolMessage("add", '{"total":3}', "c2"),
    ]


def test_all_calls_of_an_answer_run_at_once() -> None:
    together = threading.Barrier(3, timeout=30)

    def meet(number: int) -> int:
        together.wait()  # goes on when all three are in it
        return number

    thunk = asked(*(ToolCall("meet", {"number": each}) for each in (3, 1, 2)))
    assert contents(thunk, meet) == ["3", "1", "2"]


def test_an_answer_without_calls_has_no_results() -> None:
    thunk = MelleaSession(ScriptedBackend("Hello.")).instruct("Go.", model_options=TOOLS)
    assert call_tools(thunk) == []


class Odd:
    def __str__(self) -> str:
        return "an odd one"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("text", "text"),
        (3.5, "3.5"),
        (None, "null"),
        ([1, "a"], '[1,"a"]'),
        (Sum(3), '{"total":3}'),
        (Odd(), "an odd one"),
        ({"a": Odd}, "{'a': <class"),
    ],
)
def test_what_a_tool_returns_is_told_as_text(value: Any, told: str) -> None:
    def give() -> Any:
        return value

    [content] = contents(asked(ToolCall("give", {})), give)
    assert content.startswith(told)


def raises() -> None:
    raise KeyError("nothing there")


def stops() -> Any:
    return next(iter([]))


def leaves() -> None:
    raise SystemExit(3)


def interrupts() -> None:
    raise KeyboardInterrupt


async def leaves_later() -> None:
    raise asyncio.CancelledError


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (raises, "KeyError: 'nothing there'"),
        (stops, "RuntimeError: the function raised StopIteration"),
        (leaves, "RuntimeError: the function raised SystemExit"),
        (interrupts, "RuntimeError: the function raised KeyboardInterrupt"),
        (leaves_later, "RuntimeError: the function raised CancelledError"),
        (lambda: Unprintable(), "RuntimeError: no text"),
    ],
)
def test_an_exception_is_told_without_its_traceback(function: Any, told: str) -> None:
    thunk = asked(ToolCall("f", {}), ToolCall("greet", {"name": "Ada"}))
    assert contents(thunk, tool(name="f")(function), greet) == [
        f"tool 'f' raised {told}",
        "Hello, Ada.",
    ]


@dataclass
class Picky:
    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("below nothing")
        if self.size > 9:
            raise LookupError("no such size")


def pick(what: Picky) -> int:
    return what.size


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"what": {"size": 3}}, "3"),
        ({"what": {"size": -1}}, "do not fit: below nothing - at `$.what`"),
        ({"what": {"size": 10}}, "cannot be converted: LookupError: no such size"),
        ({"what": nested(100_000)}, "its arguments are nested too deeply"),
        ({"what": "\ud800"}, "do not fit: "),
    ],
)
def test_what_a_type_itself_refuses_is_told(arguments: dict[str, Any], told: str) -> None:
    [content] = contents(asked(ToolCall("pick", arguments)), pick)
    assert told in content


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (ToolCall("gret", {}), "there is no tool 'gret'; there are: add, greet; did you mean 'gre"),
        (ToolCall("", {}), "there is no tool ''; there are: add, greet"),
        (ToolCall("add", {"x": "three"}), "Expected `int`, got `str` - at `$.x`"),
        (ToolCall("add", {}), "missing required field `x`"),
        (ToolCall("add", {"x": 1, "why": 2}), "unknown field `why`"),
        (ToolCall("greet", {"name": "x" * MAX_ARGUMENTS}), "at most 262144 bytes"),
    ],
)
def test_a_call_that_cannot_be_run_is_told_what_is_wrong(call: ToolCall, told: str) -> None:
    [content, other] = contents(asked(call, ToolCall("add", {"x": 1})))
    assert told in content
    assert other == '{"total":2}'


def test_calls_of_an_answer_that_was_cut_off_never_run() -> None:
    ran = []

    def act(what: str) -> None:
        ran.append(what)

    thunk = asked(ToolCall("act", {"what": "delete"}), finish_reason="length")
    [content] = contents(thunk, act)
    assert "was not run: the answer was cut off by its length" in content
    assert ran == []


def test_async_tools_run_on_the_callers_loop_and_sync_ones_in_threads() -> None:
    where: dict[str, Any] = {}

    async def there() -> None:
        where["async"] = asyncio.get_running_loop()

    def here() -> None:
        where["sync"] = threading.current_thread()

    async def main() -> None:
        thunk = asked(ToolCall("there", {}), ToolCall("here", {}))
        assert len(await soon(acall_tools(thunk, [there, here]))) == 2
        assert where["async"] is asyncio.get_running_loop()
        with pytest.raises(BlockingWaitError):
            call_tools(thunk, [there])

    asyncio.run(main())
    assert where["sync"] not in (threading.main_thread(), None)


def test_async_tools_run_without_a_loop_too() -> None:
    async def there() -> str:
        await asyncio.sleep(0)
        return "been there"

    assert contents(asked(ToolCall("there", {})), there) == ["been there"]


def test_a_tool_that_blocks_stops_nobody_else() -> None:
    release = threading.Event()

    def block() -> str:
        assert release.wait(30)
        return "released"

    async def main() -> None:
        calling = asyncio.create_task(acall_tools(asked(ToolCall("block", {})), [block]))
        m = MelleaSession(ScriptedBackend("still here"))
        assert await soon((await m.ainstruct("Go.")).avalue()) == "still here"
        assert not calling.done()
        release.set()
        [message] = await soon(calling)
        assert message.content == "released"

    asyncio.run(main())


def test_a_running_thunk_is_waited_for() -> None:
    async def main() -> None:
        hand = Hand()
        thunk = await MelleaSession(hand).ainstruct("Go.")
        calling = asyncio.create_task(acall_tools(thunk, [greet]))
        hand.answers[0].say(Chunk(tool_calls=(ToolCall("greet", {"name": "Bob"}),))).end()
        [message] = await soon(calling)
        assert message.content == "Hello, Bob."

    asyncio.run(main())


def test_a_failed_thunk_is_the_cause() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(GenerationFailedError("crashed")))
        thunk = await m.ainstruct("Go.", model_options=TOOLS)
        with pytest.raises(DependencyError, match="crashed") as caught:
            await soon(acall_tools(thunk))
        assert caught.value.__cause__ is thunk.error

    asyncio.run(main())


def test_what_cannot_be_used_is_refused_by_name() -> None:
    thunk = MelleaSession(ScriptedBackend("Hi.")).instruct("Go.")
    with pytest.raises(InvalidInputError, match="no tool to call"):
        call_tools(thunk)
    with pytest.raises(InvalidInputError, match="takes a thunk, not str"):
        call_tools("Hi.", [add])  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="JSON description cannot be called"):
        call_tools(thunk, [add.json])  # type: ignore[list-item]
    with pytest.raises(InvalidInputError, match="two tools are called 'add'"):
        call_tools(thunk, [add, add])


# What a call offers.


def test_options_take_tools_functions_and_descriptions_and_show_descriptions() -> None:
    def double(x: int) -> int:
        return 2 * x

    described = {"type": "function", "function": {"name": "theirs", "parameters": {}}}
    options = Options({ModelOption.TOOLS: [add, double, described]})
    shown = options.get(ModelOption.TOOLS)
    assert [each["function"]["name"] for each in shown] == ["add", "double", "theirs"]
    assert shown[0] == add.json
    assert [each.name for each in options.tools] == ["add", "double"]
    assert Options({ModelOption.SEED: 1}).over(options).tools == options.tools
    assert Options({ModelOption.TOOLS: []}).over(options).tools == options.tools
    assert options.without(ModelOption.TOOLS).tools == ()


@pytest.mark.parametrize(
    ("tools", "told"),
    [
        ([add, add.json], "two tools are called 'add'"),
        ([lambda x: x], "parameter 'x' has no type"),
        ([3], "a Tool, a function or a JSON description, not int"),
        ("add", "must be a list of tools"),
        (add, "must be a list of tools"),
    ],
)
def test_tools_that_cannot_be_offered_are_refused_at_the_door(tools: Any, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        MelleaSession(ScriptedBackend(), model_options={ModelOption.TOOLS: tools})


@pytest.mark.parametrize("verb", ["instruct", "chat"])
def test_tool_calls_says_whether_tools_are_offered(verb: str) -> None:
    backend = ScriptedBackend("Hi.")
    m = MelleaSession(backend, model_options={**TOOLS, ModelOption.TOOL_CHOICE: "add"})
    for how in (None, True, False):
        getattr(m, verb)("Go.", tool_calls=how)
    normalize_tools = [bool(each.options.get(ModelOption.TOOLS)) for each in backend.requests]
    assert normalize_tools == [True, True, False]
    assert ModelOption.TOOL_CHOICE not in backend.requests[2].options.standard
    with pytest.raises(InvalidInputError, match="tool_calls=True needs tools"):
        getattr(MelleaSession(backend), verb)("Go.", tool_calls=True)


@pytest.mark.parametrize("strategy", [RejectionSampling(), None], ids=["strategy", "none"])
def test_an_answer_that_asks_for_tools_is_none_yet(strategy: Any) -> None:
    checks = [check("never", simple_validate(lambda _: False))] if strategy else None
    backend = ScriptedBackend([Chunk(tool_calls=(ToolCall("add", {"x": 1}),))])
    m = MelleaSession(backend, model_options=TOOLS)
    thunk = m.instruct("Go.", requirements=checks, strategy=strategy, format=list[int])
    assert contents(thunk) == ['{"total":2}']
    assert len(backend.requests) == 1


# On the wire, and in a conversation.


@pytest.fixture(params=[OllamaBackend, OpenAIBackend], ids=["ollama", "openai"])
def m(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[MelleaSession]:
    with MelleaSession(request.param("m", base_url=server.url), ChatContext()) as session:
        yield session


def test_a_model_that_calls_tools_is_told_their_results(
    m: MelleaSession, server: ServerProcess
) -> None:
    calls = [
        {"name": "greet", "arguments": {"name": "Ada"}},
        {"name": "add", "arguments": {"x": 2, "y": 3}},
    ]
    server.script("m", [{"chunks": [], "tool_calls": calls}, {"chunks": ["Hello, ", "five."]}])
    first = m.chat("Greet Ada, and add 2 and 3.", tool_calls=True, model_options=TOOLS)
    results = call_tools(first)
    assert [message.content for message in results] == ["Hello, Ada.", '{"total":5}']
    second = m.act(ToolMessages(results))
    assert second.value == "Hello, five."
    one, two = (entry["body"] for entry in server.log("m"))
    assert one["tools"] == [add.json, greet.json]
    assert [each["role"] for each in two["messages"]] == ["user", "assistant", "tool", "tool"]
    assert [each["content"] for each in two["messages"][2:]] == ["Hello, Ada.", '{"total":5}']


def test_results_of_nothing_cannot_be_told() -> None:
    with pytest.raises(InvalidInputError, match="the model called none"):
        ToolMessages([])
    with pytest.raises(InvalidInputError, match="what call_tools returned, not str"):
        ToolMessages(["a"])  # type: ignore[list-item]
    together = ToolMessages([ToolMessage("a", "1"), ToolMessage("b", "2")])
    assert render(together.template()) == "1\n2"
