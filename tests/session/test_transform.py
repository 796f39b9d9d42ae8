"""`transform` by one of the object's methods: offered, called, its result returned."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, replace
from typing import Any

import pytest
from reactivex import operators as ops

from mellea_rx import (
    BlockingWaitError,
    ChatContext,
    Chunk,
    InvalidInputError,
    MelleaSession,
    ModelOption,
    OllamaBackend,
    OpenAIBackend,
    ScriptedBackend,
    ToolCall,
    ToolCallError,
    ToolError,
    mify,
)
from mellea_rx.backends import Capabilities
from mellea_rx.events import AttemptStarted, Completed, ToolCalled, ToolReturned, UsageReported
from mellea_rx.stdlib.components import Query
from tests.core.hand import STREAM, soon
from tests.support.server_process import ServerProcess


@mify(fields_exclude={"margin"}, methods_include={"discounted", "renamed", "sold", "afresh"})
@dataclass(frozen=True)
class Offer:
    name: str
    price: float
    margin: float = 0.4

    def discounted(self, percent: int) -> Offer:
        """The same offer for less.

        Args:
            percent: By how much less.
        """
        return replace(self, price=self.price * (100 - percent) / 100)

    def renamed(self, name: str) -> str:
        """The offer under another name, in words."""
        return f"{name}, formerly {self.name}, in {threading.current_thread().name}"

    def sold(self) -> None:
        """Sell it."""
        raise LookupError("no tea left")

    async def afresh(self) -> int:
        """Brew it again."""
        return id(asyncio.get_running_loop())

    def secret(self) -> str:
        """Not for models."""
        return "secret"


def asks(method: str, /, **arguments: Any) -> list[Chunk]:
    """An answer that asks to call a method."""
    return [Chunk(tool_calls=(ToolCall(method, arguments, "c1"),), finish_reason="tool_calls")]


TEA = Offer("Tea", 4.0)


def test_the_result_is_what_the_method_returned() -> None:
    m = MelleaSession(ScriptedBackend(asks("discounted", percent=25)))
    thunk = m.transform(TEA, "A quarter less.")
    assert thunk.parsed == Offer("Tea", 3.0)
    # A later prompt may have it: what is not to be shown is not in it.
    assert thunk.value == "Offer\n- name: Tea\n- price: 3.0"
    assert [call.name for call in thunk.tool_calls] == ["discounted"]


def test_a_text_that_it_returned_is_the_value_as_it_is() -> None:
    m = MelleaSession(ScriptedBackend(asks("renamed", name="Chai")))
    thunk = m.transform(TEA, "Call it Chai.")
    assert thunk.value == thunk.parsed
    assert str(thunk.value).startswith("Chai, formerly Tea, in ")
    assert "mellea-rx-engine" not in str(thunk.value)  # it may block


@dataclass
class Plain:
    """Not described."""

    number: int


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Plain(5), '{"number":5}'),
        ([1, None], "[1,null]"),
        (None, "null"),
        ([TEA], "list\n- 1: Offer\n  - name: Tea\n  - price: 4.0"),
        (mify(TEA, fields_include=()), "Offer"),
        (mify(Plain(5), stringify=lambda plain: f"no. {plain.number}"), "no. 5"),
    ],
)
def test_what_it_returned_as_text(value: Any, text: str) -> None:
    @mify(methods_include={"give"})
    class Giver:
        def __init__(self) -> None:
            self.mood = "good"

        def give(self) -> Any:
            """Give it."""
            return value

    thunk = MelleaSession(ScriptedBackend(asks("give"))).transform(Giver(), "Give.")
    assert thunk.value == text
    assert thunk.parsed is value


def test_without_a_call_the_text_is_the_result() -> None:
    m = MelleaSession(ScriptedBackend("Tea, cheap."))
    thunk = m.transform(TEA, "Praise it.")
    assert thunk.value == thunk.parsed == "Tea, cheap."
    assert thunk.tool_calls == ()


def test_the_methods_are_offered_and_nothing_else() -> None:
    backend = ScriptedBackend("a")
    other = {"type": "function", "function": {"name": "other", "parameters": {}}}
    m = MelleaSession(backend, model_options={ModelOption.TOOLS: [other]})
    m.transform(TEA, "Change it.")
    normalize_tools = backend.requests[0].options.get(ModelOption.TOOLS)
    assert [each["function"]["name"] for each in normalize_tools] == [
        *("afresh", "discounted", "renamed", "sold"),
    ]
    schema = normalize_tools[1]["function"]["parameters"]
    assert schema["properties"]["percent"] == {
        "type": "integer",
        "description": "By how much less.",
    }
    assert "margin" not in backend.requests[0].messages[-1].content


def test_by_default_no_method_is_offered() -> None:
    @mify
    class Bomb:
        def __init__(self) -> None:
            self.colour = "red"

        def explode(self) -> None:
            """Boom."""

    backend = ScriptedBackend("a")
    MelleaSession(backend).transform(Bomb(), "Change it.")
    assert backend.requests[0].options.get(ModelOption.TOOLS) is None


def test_all_public_methods_with_a_docstring_but_these() -> None:
    class Base:
        def inherited(self) -> None:
            """Of the base."""

    @mify(methods_exclude={"other"})
    class Tool(Base):
        def __init__(self) -> None:
            self.a = 1

        def use(self) -> None:
            """Use it."""

        def other(self) -> None:
            """Something else."""

        def untold(self) -> None: ...

        def _private(self) -> None:
            """Not for models."""

        @staticmethod
        def plain() -> None:
            """Without an object."""

    backend = ScriptedBackend("a")
    MelleaSession(backend).transform(Tool(), "Change it.")
    normalize_tools = backend.requests[0].options.get(ModelOption.TOOLS)
    assert [each["function"]["name"] for each in normalize_tools] == ["plain", "use"]


def test_a_question_calls_no_method() -> None:
    backend = ScriptedBackend("a")
    m = MelleaSession(backend)
    m.query(TEA, "What is it?")
    m.act(Query(TEA, "What is it?"))
    assert all(each.options.get(ModelOption.TOOLS) is None for each in backend.requests)


def test_a_view_offers_its_own_methods() -> None:
    backend = ScriptedBackend(asks("secret"))
    thunk = MelleaSession(backend).transform(mify(TEA, methods_include={"secret"}), "Tell.")
    assert thunk.parsed == "secret"


def test_an_async_method_runs_on_the_callers_loop() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(asks("afresh")))
        thunk = await soon(m.atransform(TEA, "Again."))
        assert thunk.parsed == id(asyncio.get_running_loop())
        with pytest.raises(BlockingWaitError):
            m.transform(TEA, "Again.")

    asyncio.run(main())


def test_an_async_method_runs_in_sync_code_too() -> None:
    thunk = MelleaSession(ScriptedBackend(asks("afresh"))).transform(TEA, "Again.")
    assert isinstance(thunk.parsed, int)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (asks("discounted", percent="lots"), "'discounted' do not fit: .*percent"),
        (asks("discounted"), "'discounted' do not fit: .*percent"),
        (asks("secret"), "there is no tool 'secret'"),
        (asks("renamd", name="x"), "did you mean 'renamed'"),
        ([*asks("sold"), *asks("sold")], r"2 calls at once \(sold, sold\).*none of them was run"),
    ],
)
def test_a_call_that_cannot_be_is_an_error(answer: Any, told: str) -> None:
    with pytest.raises(ToolCallError, match=told):
        MelleaSession(ScriptedBackend(answer)).transform(TEA, "Change it.")


def test_a_method_that_raises_is_the_cause() -> None:
    with pytest.raises(ToolError, match="'sold' raised LookupError: no tea left") as caught:
        MelleaSession(ScriptedBackend(asks("sold"))).transform(TEA, "Sell it.")
    assert isinstance(caught.value.__cause__, LookupError)


def test_a_method_that_can_be_no_tool_is_refused_at_the_door() -> None:
    @mify(methods_include={"cut"})
    class Hair:
        length = 5

        def __init__(self) -> None:
            self.colour = "red"

        def cut(self, by) -> None:  # type: ignore[no-untyped-def]
            """Cut it."""

    backend = ScriptedBackend("a")
    with pytest.raises(InvalidInputError, match="'cut': parameter 'by' has no type"):
        MelleaSession(backend).transform(Hair(), "Shorter.")
    assert backend.requests == ()


def test_it_tells_of_the_call_and_its_result() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(asks("discounted", percent=50)))
        thunk = await soon(m.atransform(TEA, "Half.", model_options=STREAM))
        events = await soon(thunk.events.pipe(ops.to_list()))
        assert [type(event) for event in events] == [
            *(AttemptStarted, ToolCalled, UsageReported, ToolReturned, Completed),
        ]
        assert events[3].content == thunk.value
        assert events[3].call_id == "c1"

    asyncio.run(main())


def test_in_a_chat_the_result_is_what_was_said() -> None:
    backend = ScriptedBackend(asks("discounted", percent=50), "fine")
    m = MelleaSession(backend, ChatContext())
    m.transform(TEA, "Half.")
    m.chat("Thanks.")
    messages = backend.requests[1].messages
    assert [message.role for message in messages] == ["user", "assistant", "user"]
    assert messages[1].content == "Offer\n- name: Tea\n- price: 2.0"
    assert messages[1].tool_calls == ()


@pytest.mark.parametrize("backend", [OllamaBackend, OpenAIBackend])
def test_over_http(server: ServerProcess, backend: Any) -> None:
    call = {"name": "discounted", "arguments": {"percent": 75}}
    server.script("m", chunks=[], tool_calls=[call])
    with MelleaSession(backend("m", base_url=server.url)) as m:
        assert m.transform(TEA, "A quarter of it.").parsed == Offer("Tea", 1.0)
    (entry,) = server.log("m")
    names = {each["function"]["name"] for each in entry["body"]["tools"]}
    assert names == {"afresh", "discounted", "renamed", "sold"}


class InWords(ScriptedBackend):
    """A model whose template knows no tools."""

    capabilities = Capabilities(schema=True)


def test_of_a_model_that_knows_no_tools() -> None:
    backend = InWords('{"tool": "discounted", "arguments": {"percent": 10}}')
    thunk = MelleaSession(backend).transform(TEA, "A tenth less.")
    assert thunk.parsed == Offer("Tea", 3.6)
    told = InWords('{"answer": "Nice tea."}')
    assert MelleaSession(told).transform(TEA, "Praise it.").parsed == "Nice tea."
