"""The parts of a prompt: components, messages and roles, examples, context, dependencies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from mellea_rx import (
    CallbackError,
    ChatContext,
    InvalidInputError,
    MelleaRxError,
    MelleaSession,
    ModelOption,
    ScriptedBackend,
    TemplateError,
)
from mellea_rx.backends import RequestMessage
from mellea_rx.stdlib.components import (
    Document,
    Instruction,
    Message,
    Said,
    Template,
    ToolMessage,
)
from tests.core.hand import soon
from tests.session.test_dependencies import echo


def asked(call: Callable[[MelleaSession], Any]) -> tuple[RequestMessage, ...]:
    """The messages that a call sends."""
    backend = ScriptedBackend("a")
    call(MelleaSession(backend))
    return backend.requests[-1].messages


def prompt(description: str = "Go.", **how: Any) -> str:
    """The text of an instruction."""
    return asked(lambda m: m.instruct(description, **how))[-1].content


# Instructions.


def test_all_parts_of_an_instruction_in_their_order() -> None:
    instruction = Instruction(
        "Greet {{name}}.",
        ("be brief",),
        ("Hello, Bob.", "Hello, Eve."),
        {"mood": "happy", "place": Document("A bridge.", title="Where")},
        {"name": "Ada"},
    )
    (message,) = asked(lambda m: m.act(instruction))
    assert message.content == (
        "Greet Ada.\n\n"
        "Requirements:\n- be brief\n\n"
        "Example 1:\nHello, Bob.\n\nExample 2:\nHello, Eve.\n\n"
        "Context:\n\n[mood]\nhappy\n\n[place]\nWhere\nA bridge."
    )


def test_the_verb_takes_them_by_name() -> None:
    assert prompt(icl_examples="One.") == "Go.\n\nExample 1:\nOne."
    assert prompt(icl_examples=[Message("One.")]) == "Go.\n\nExample 1:\nOne."
    assert prompt(grounding_context={"a": "b"}) == "Go.\n\nContext:\n\n[a]\nb"
    assert prompt(icl_examples=[], grounding_context={}) == "Go."


def test_a_list_of_documents_shows_each_with_its_head() -> None:
    documents = [Document("x", title="X", doc_id="7"), Document("y", doc_id="8"), Document("z")]
    text = prompt(grounding_context=documents)
    assert text == "Go.\n\nContext:\n\n[7] X\nx\n\n[8]\ny\n\nz"


def test_requirements_are_one_or_a_list() -> None:
    for given in ("be brief", ["be brief"], (each for each in ["be brief"])):
        (message,) = asked(lambda m, given=given: m.act(Instruction("Go.", given)))  # type: ignore[misc]
        assert message.content == "Go.\n\nRequirements:\n- be brief"
    with pytest.raises(InvalidInputError, match="a requirement must be a str, not int"):
        Instruction("Go.", [5])  # type: ignore[list-item]


def test_a_generator_of_examples_is_read_once() -> None:
    assert prompt(icl_examples=(each for each in "ab")).count("Example") == 2
    assert "x" in prompt(grounding_context=(each for each in ["x"]))


def test_nothing_given_is_rendered() -> None:
    text = prompt(
        "{{x}}",
        user_variables={"x": 1},
        icl_examples=["{{7*7}}"],
        grounding_context={"{{8*8}}": "{{9*9}}"},
    )
    assert all(each in text for each in ("{{7*7}}", "[{{8*8}}]", "{{9*9}}"))


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"icl_examples": [5]}, r"icl_examples\[0\] must be a str.*not int"),
        ({"icl_examples": {"a": "b"}}, "icl_examples must be a list, not dict"),
        ({"icl_examples": 5}, "icl_examples must be a list, not int"),
        ({"grounding_context": {"a": 5}}, r"grounding_context\['a'\] must be .*not int"),
        ({"grounding_context": {5: "a"}}, "name in grounding_context must be a str, not int"),
        ({"grounding_context": 5}, "grounding_context must be a list, not int"),
        ({"requirements": [" "]}, "requirement"),
        ({"prefix": ""}, "the prefix is empty"),
        ({"prefix": 5}, "the prefix must be a str, not int"),
        ({"user_variables": ["x"]}, "user_variables must be a dict"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(how: dict[str, Any], told: str) -> None:
    backend = ScriptedBackend()
    with pytest.raises(InvalidInputError, match=told):
        MelleaSession(backend).instruct("Go.", **how)
    assert backend.requests == ()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Document(""), "the document is empty"),
        (lambda: Document("x", title=5), "document's title must be a str"),  # type: ignore[arg-type]
        (lambda: Document("x", doc_id=" "), "document's doc_id is empty"),
        (lambda: Message(""), "the message is empty"),
        (lambda: Message("x", "tool"), "ToolMessage"),  # type: ignore[arg-type]
        (lambda: ToolMessage("", "x"), "tool's name is empty"),
        (lambda: ToolMessage("f", 5), "content must be a str, not int"),  # type: ignore[arg-type]
    ],
)
def test_a_component_refuses_what_it_cannot_use(make: Any, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        make()


# Messages.


@pytest.mark.parametrize("role", ["user", "system"])
def test_a_message_has_a_role(role: Any) -> None:
    assert asked(lambda m: m.chat("Hi.", role)) == (RequestMessage(role, "Hi."),)


def test_a_tools_result_is_a_message_of_its_own_role() -> None:
    (message,) = asked(lambda m: m.act(ToolMessage("add", "", "call-1")))
    assert message == RequestMessage("tool", "", tool_name="add", tool_call_id="call-1")


@dataclass(frozen=True)
class Dialogue:
    """A conversation before the question: several messages of several roles."""

    question: str

    def template(self) -> Template:
        return Template("{{ question }}", {"question": self.question})

    def said(self) -> tuple[Said, ...]:
        return (
            Said(Template("You are terse."), "system"),
            Said(Template("2 + 2?")),
            Said(Template("4."), "assistant"),
            Said(self.template()),
        )

    def parse(self, text: str) -> str:
        return text.upper()


def test_a_component_may_be_several_messages() -> None:
    messages = asked(lambda m: m.act(Dialogue("3 + 3?")))
    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]


def test_all_its_messages_stay_in_the_history() -> None:
    backend = ScriptedBackend("6.", "b")
    m = MelleaSession(backend, ChatContext())
    m.act(Dialogue("3 + 3?"))
    m.chat("And?")
    roles = [message.role for message in backend.requests[-1].messages]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]


# Components of the user's own.


class Recipe:
    """A part that says how it reads."""

    def __init__(self, steps: Any) -> None:
        self.steps = steps

    def template(self) -> Template:
        return Template("{% for s in steps %}* {{ s }}\n{% endfor %}", {"steps": self.steps})

    def parse(self, text: str) -> list[str]:
        return text.splitlines()


def test_a_component_is_rendered_wherever_it_stands() -> None:
    text = prompt(
        "{{r}} {{many[0]}} {{by.name}}",
        user_variables={"r": Recipe("a"), "many": [Recipe("b")], "by": {"name": Recipe("c")}},
        icl_examples=[Recipe("d")],
        grounding_context={"e": Recipe("e")},
    )
    assert [text.count(f"* {letter}\n") for letter in "abcde"] == [1] * 5


def test_components_nest_and_each_parses_its_own_answer() -> None:
    recipe = Recipe([Recipe("x"), "y"])
    backend = ScriptedBackend("one\ntwo")
    thunk = MelleaSession(backend).act(recipe)
    assert backend.requests[0].messages[0].content == "* * x\n\n* y\n"
    assert thunk.parsed == ["one", "two"]
    assert MelleaSession(backend).act(Dialogue("x")).parsed == "ONE\nTWO"


class Broken:
    """A component whose own code raises, or returns what is of no use."""

    def __init__(self, gives: Any) -> None:
        self.gives = gives

    def template(self) -> Template:
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives  # type: ignore[no-any-return]

    def parse(self, text: str) -> str:
        return text


class BrokenSaying(Broken):
    def said(self) -> Any:
        return self.gives


@pytest.mark.parametrize(
    ("component", "kind", "told"),
    [
        (Broken(ZeroDivisionError("oops")), CallbackError, "Broken.*ZeroDivisionError: oops"),
        (Broken("text"), InvalidInputError, r"Broken.template\(\) has to return a Template"),
        (BrokenSaying(("text",)), InvalidInputError, r"BrokenSaying.said\(\) has to return"),
        (BrokenSaying(()), InvalidInputError, r"BrokenSaying.said\(\) has to return"),
        (Broken(Template("{{ x }}")), TemplateError, "'x'"),
    ],
)
def test_a_component_that_cannot_say_how_it_reads_is_told(
    component: Any, kind: type[MelleaRxError], told: str
) -> None:
    backend = ScriptedBackend()
    with pytest.raises(kind, match=told):
        MelleaSession(backend).act(component)
    with pytest.raises(MelleaRxError):
        MelleaSession(backend).instruct("{{c}}", user_variables={"c": Broken(ValueError("no"))})
    assert backend.requests == ()


def test_a_nested_template_that_misses_a_variable_is_told_at_once_beside_a_thunk() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a", delay=0.01))
        first = await m.ainstruct("Go.")
        values = {"it": first, "part": [Broken(Template("{{ gone }}"))]}
        with pytest.raises(TemplateError, match="'gone'"):
            await m.ainstruct("{{it}} {{part}}", user_variables=values)

    asyncio.run(main())


# Thunks, wherever they stand.


@dataclass
class Page:
    body: Any


PLACES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "user_variables": lambda t: {"description": "{{x}}", "user_variables": {"x": t}},
    "a set": lambda t: {"description": "{{x|first}}", "user_variables": {"x": {t}}},
    "a component": lambda t: {"description": "{{x}}", "user_variables": {"x": Recipe([t])}},
    "a dataclass": lambda t: {"description": "{{x.body}}", "user_variables": {"x": Page(t)}},
    "grounding_context": lambda t: {"grounding_context": {"x": t}},
    "a list of grounding": lambda t: {"grounding_context": [t]},
    "a document": lambda t: {"grounding_context": {"x": Document(t)}},
    "icl_examples": lambda t: {"icl_examples": [t]},
    "one example": lambda t: {"icl_examples": t},
    "prefix": lambda t: {"prefix": t},
}


@pytest.mark.parametrize("place", PLACES)
def test_a_running_call_may_stand_anywhere(place: str) -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("draft", echo, delay=0.005))
        first = await m.ainstruct("Draft.")
        second = await m.ainstruct(**{"description": "Improve.", **PLACES[place](first)})
        assert not first.is_computed()
        assert "draft" in await soon(second.avalue())
        assert "Thunk" not in second.text

    asyncio.run(main())


def test_a_running_call_may_be_what_is_said() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("draft", echo, delay=0.005))
        second = await m.achat(
            await m.ainstruct("Draft."), model_options={ModelOption.STREAM: True}
        )
        assert await soon(second.avalue()) == "<draft>"

    asyncio.run(main())


def test_a_prompt_is_what_it_was_at_the_time_of_the_call() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("draft", echo, delay=0.005))
        values = {"draft": await m.ainstruct("Draft."), "n": 1}
        context: dict[str, Any] = {"k": "before"}
        second = await m.ainstruct(
            "{{draft}} {{n}}", user_variables=values, grounding_context=context
        )
        values["n"], context["k"] = 2, "after"
        text = await soon(second.avalue())
        assert "draft 1" in text
        assert "before" in text

    asyncio.run(main())
