"""Keywords that people write: model options on every verb, and what to write for the others."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest

from mellea_rx import (
    ChatContext,
    ConfigurationError,
    InvalidInputError,
    LocalBackend,
    MelleaSession,
    ModelOption,
    OptionError,
    Requirement,
    ScriptedBackend,
    UnknownBackendError,
    call_tools,
    generative,
    react,
    start_session,
)
from mellea_rx.backends import register_backend
from mellea_rx.stdlib.components import Instruction
from mellea_rx.stdlib.sampling import RejectionSampling
from mellea_rx.stdlib.session.call_options import KEYWORDS, ModelKwargs, StreamKwargs
from tests.support.server_process import ServerProcess


def lookup(word: str) -> str:
    """Look a word up."""
    return word


@generative
def mood(text: str) -> str:
    """What is the mood of the text?"""
    raise NotImplementedError


CALLS: dict[str, Any] = {
    "instruct": lambda m, **how: m.instruct("Go.", **how),
    "chat": lambda m, **how: m.chat("Go.", **how),
    "query": lambda m, **how: m.query([1], "What?", **how),
    "transform": lambda m, **how: m.transform([1], "Shorten it.", **how),
    "cold.instruct": lambda m, **how: m.cold.instruct("Go.", **how).run(),
    "react": lambda m, **how: react(m, "Go.", [lookup], **how),
    "using": lambda m, **how: mood.using(**how)(m, "x"),
    "MelleaSession": lambda m, **how: MelleaSession(m.backend, **how).instruct("Go."),
}

VALUES: dict[str, Any] = {
    "temperature": 0.5,
    "seed": 7,
    "max_tokens": 9,
    "max_new_tokens": 9,
    "system_prompt": "Be brief.",
    "stop": "END",
    "stop_sequences": ["END"],
    "context_window": 512,
    "thinking": False,
    "stream": True,
    "stream_timeout": 5.0,
    "first_token_timeout": None,
    "total_timeout": 60,
    "retries": 1,
    "on_interrupt": "fail",
    "tool_choice": "auto",
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("call", CALLS)
def test_a_model_option_is_a_keyword_of_every_verb(call: str, name: str) -> None:
    backend = ScriptedBackend("a")
    CALLS[call](MelleaSession(backend), **{name: VALUES[name]})
    assert backend.requests[-1].options.get(KEYWORDS[name]) == VALUES[name]


@pytest.mark.parametrize("verb", ["instruct", "chat"])
def test_tools_are_a_keyword(verb: str) -> None:
    backend = ScriptedBackend("a")
    thunk = CALLS[verb](MelleaSession(backend), tools=[lookup])
    assert [each.name for each in thunk.tools] == ["lookup"]


def test_the_judge_takes_them_too() -> None:
    m = MelleaSession(ScriptedBackend("yes"))
    assert m.validate("fine", output="x", stream_timeout=5)[0]
    with pytest.raises(TypeError, match=r"validate\(\) has no keyword 'temprature'"):
        m.validate("fine", output="x", temprature=5)  # type: ignore[call-arg]  # pyright: ignore


def test_the_type_and_the_table_have_the_same_keywords() -> None:
    assert set(StreamKwargs.__annotations__) == set(KEYWORDS)
    assert {*ModelKwargs.__annotations__, "stream"} == set(KEYWORDS)
    assert {*VALUES, "tools"} == set(KEYWORDS)
    assert set(KEYWORDS.values()) == set(ModelOption)


def test_streaming_by_a_keyword_streams() -> None:
    async def main() -> int:
        m = MelleaSession(ScriptedBackend(["a", "b", "c"], delay=0.01))
        thunk = await m.ainstruct("Go.", stream=True)
        return len([piece async for piece in thunk.astream()])

    assert asyncio.run(main()) > 1


def test_a_keyword_wins_over_the_session_and_agrees_with_the_dict() -> None:
    backend = ScriptedBackend("a")
    m = MelleaSession(backend, model_options={"max_tokens": 100, "top_k": 4}, seed=1)
    m.instruct("Go.", max_tokens=5, model_options={ModelOption.MAX_NEW_TOKENS: 5, "top_k": 5})
    options = backend.requests[-1].options
    assert options.get(ModelOption.MAX_NEW_TOKENS) == 5
    assert options.get(ModelOption.SEED) == 1
    assert dict(options.extra) == {"top_k": 5}


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"temperature": 1, "model_options": {"temperature": 0}}, "temperature= and temperature"),
        ({"seed": 1, "model_options": {ModelOption.SEED: 0}}, r"seed= and ModelOption\.SEED set"),
        ({"max_tokens": 1, "max_new_tokens": 2}, "set one model option to different values"),
        ({"temperature": "hot"}, r"ModelOption\.TEMPERATURE must be a number"),
        ({"seed": 1, "model_options": "x"}, "model_options must be a dict"),
        ({"seed": 1, "model_options": {"temprature": 1}}, r"did you mean ModelOption\.TEMPERATURE"),
    ],
)
@pytest.mark.parametrize("call", CALLS)
def test_values_that_cannot_be_used_are_refused(call: str, how: dict[str, Any], told: str) -> None:
    backend = ScriptedBackend("a")
    with pytest.raises(OptionError, match=told):
        CALLS[call](MelleaSession(backend), **how)
    assert backend.requests == ()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("temprature", r"has no keyword 'temprature': did you mean temperature=\?"),
        ("maxTokens", r"did you mean max_tokens=\?"),
        ("max_completion_tokens", r"did you mean max_new_tokens=\?"),
        ("num_ctx", r"did you mean context_window=\?"),
        ("system", r"did you mean system_prompt=\?"),
        ("streaming", r"did you mean stream=\?"),
        ("options", r"did you mean model_options=\?"),
        ("timeout", r"stream_timeout= \(seconds of silence\).* or total_timeout="),
        ("model", r"start_session\(model=\.\.\.\)"),
        ("top_k", r"goes into model_options=\{'top_k': \.\.\.\}"),
        ("n", r"one call is one answer"),
    ],
)
def test_another_keyword_is_told_what_to_write(call: str, name: str, told: str) -> None:
    backend = ScriptedBackend("a")
    with pytest.raises(TypeError, match=told):
        CALLS[call](MelleaSession(backend), **{name: 1})
    assert backend.requests == ()


@pytest.mark.parametrize(
    ("verb", "name", "told"),
    [
        ("instruct", "requirement", r"instruct\(\) has no keyword .*did you mean requirements=\?"),
        ("instruct", "user_variable", r"did you mean user_variables=\?"),
        ("instruct", "context", r"did you mean grounding_context=\?"),
        ("instruct", "response_format", r"did you mean format=\?"),
        ("query", "requirements", r"query\(\) has no keyword 'requirements': instruct\(\) has it"),
        ("chat", "user_variables", r"instruct\(\) has user_variables="),
    ],
)
def test_a_parameter_that_is_misspelled_or_of_another_verb(verb: str, name: str, told: str) -> None:
    told = told.replace("has it", "has requirements=")
    with pytest.raises(TypeError, match=told):
        CALLS[verb](MelleaSession(ScriptedBackend()), **{name: 1})


_MODEL_HINT = "a session has one model: give it to start_session(model=...)"
_ADDRESS_HINT = "an address belongs to the backend: give it to start_session(base_url=...)"


@pytest.mark.parametrize(
    ("verb", "name", "told"),
    [
        ("instruct", "loop_budget", "give strategy=RejectionSampling(loop_budget=...)"),
        ("instruct", "attempts", "give strategy=RejectionSampling(loop_budget=...)"),
        ("instruct", "max_concurrent", "give strategy=RejectionSampling(max_concurrent=...)"),
        ("chat", "loop_budget", "instruct() has strategy=RejectionSampling(loop_budget=...)"),
        ("instruct", "validate", "did you mean requirements=?"),
        ("chat", "validate", "instruct() has requirements="),
        ("instruct", "ctx", "a context belongs to the session: give it to start_session(ctx=...)"),
        ("instruct", "backend", "a session has one backend: give it to MelleaSession(backend)"),
        ("MelleaSession", "context", "did you mean ctx=?"),
        ("MelleaSession", "contxt", "did you mean ctx=?"),
        (
            "MelleaSession",
            "modelid",
            "a session has one model: give it to start_session(model=...)",
        ),
        (
            "MelleaSession",
            "base_url",
            "an address belongs to the backend: give it to start_session(base_url=...)",
        ),
        ("MelleaSession", "schema", "instruct() has format="),
        ("MelleaSession", "examples", "instruct() has icl_examples="),
        ("query", "documents", "instruct() has grounding_context="),
    ],
)
def test_a_hint_names_what_the_function_has_or_the_function_that_has_it(
    verb: str, name: str, told: str
) -> None:
    with pytest.raises(TypeError) as caught:
        CALLS[verb](MelleaSession(ScriptedBackend()), **{name: 1})
    assert str(caught.value).endswith(f"() has no keyword {name!r}: {told}")


def test_two_names_of_one_option_are_told_as_they_were_given() -> None:
    with pytest.raises(OptionError, match="max_new_tokens= and max_tokens= set one model option"):
        MelleaSession(ScriptedBackend()).instruct("Go.", max_tokens=3, max_new_tokens=4)


NO_ARGUMENTS: dict[str, Any] = {
    "query": lambda m: m.query([1]),
    "validate": lambda m: m.validate(),
    "react": lambda m: react(m),
    "call_tools": lambda m: call_tools(),
    "ColdVerbs.query": lambda m: m.cold.query([1]),
}


@pytest.mark.parametrize("name", NO_ARGUMENTS)
def test_a_missing_argument_is_told_with_the_name_that_was_called(name: str) -> None:
    with pytest.raises(TypeError, match=rf"(^|\.){name}\(\):? missing (a|1) required"):
        NO_ARGUMENTS[name](MelleaSession(ScriptedBackend()))


def test_signatures_still_show_every_parameter() -> None:
    parameters = inspect.signature(MelleaSession.instruct).parameters
    assert {"description", "requirements", "model_options", "options"} <= set(parameters)


def test_an_option_given_to_a_stub_says_where_it_goes() -> None:
    with pytest.raises(InvalidInputError, match=r"temperature goes into mood\.using\(\.\.\.\)"):
        mood(MelleaSession(ScriptedBackend()), "x", temperature=0)  # type: ignore[call-overload]  # pyright: ignore


# start_session.


def test_a_session_takes_model_options_and_model_as_keywords() -> None:
    m = start_session("scripted", model="a model", temperature=0.5, tools=[lookup], delay=0)
    backend: Any = m.backend
    assert backend.model == "a model"
    options = m._options(None)
    assert options.get(ModelOption.TEMPERATURE) == 0.5
    assert [each.name for each in options.tools] == ["lookup"]
    assert backend.model_options.get(ModelOption.TOOLS) is None
    named = start_session("scripted", "a model", model="a model")
    assert isinstance(named.backend, ScriptedBackend)
    with pytest.raises(InvalidInputError, match="model= is another name of model_id="):
        start_session("scripted", "one", model="another")


def test_tools_by_a_servers_name_stay_with_the_session() -> None:
    with start_session("local", model_options={"tools": [lookup]}) as m:
        assert [each.name for each in m._options(None).tools] == ["lookup"]


def test_a_parameter_of_the_backend_stays_its_own() -> None:
    with start_session("local", context_window=512) as m:
        assert isinstance(m.backend, LocalBackend)
        assert m.backend.context_window == 512
        assert m.backend.model_options.get(ModelOption.CONTEXT_WINDOW) is None
    seeds: list[int] = []

    def make(*, seed: int, **more: Any) -> ScriptedBackend:
        seeds.append(seed)
        return ScriptedBackend(**more)

    register_backend("with a seed", make)
    start_session("with a seed", seed=5)
    assert seeds == [5]


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"temprature": 1}, r"does not take 'temprature': did you mean temperature=\?"),
        ({"timeout": 1}, r"does not take 'timeout': say which one: stream_timeout="),
        ({"delai": 1}, r"did you mean delay=\?"),
        ({"contxt": 1}, r"did you mean ctx=\?"),
        ({"modelid": "m"}, r"does not take 'modelid': did you mean model_id=\?"),
        ({"base_url": "http://127.0.0.1:1"}, r"backend 'scripted' does not take 'base_url'$"),
        ({"loop_budget": 3}, r"instruct\(\) has strategy=RejectionSampling\(loop_budget="),
        ({"temperature": 1, "model_options": {"temperature": 2}}, "temperature= and temperature"),
    ],
)
def test_what_a_session_does_not_take(how: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        start_session("scripted", **how)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"temprature": 1}, r"backend 'auto' does not take 'temprature': did you mean temperature"),
        ({"backend": "ollama"}, r"does not take 'backend': did you mean backend_name=\?"),
        ({"timeout": 1}, "stream_timeout="),
    ],
)
def test_auto_refuses_keywords_before_it_decides(how: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        start_session("auto", **how)
    start_session("auto", parallel=2, threads=1, context_window=512).close()


@pytest.mark.parametrize(
    "call",
    [
        lambda m: react(m, "Go.", lookup),
        lambda m: call_tools(m.instruct("Go."), lookup),
        lambda m: m.instruct("Go.", tools=lookup),
    ],
)
def test_a_tool_without_a_list_is_told(call: Any) -> None:
    with pytest.raises(InvalidInputError, match="a list of tools, not"):
        call(MelleaSession(ScriptedBackend("a")))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("llama3.2", "('ollama', 'llama3.2')"),
        ("mistral", "('ollama', 'mistral')"),
        ("gpt-4o-mini", "('openai', 'gpt-4o-mini')"),
        ("models/tiny.gguf", "('local', 'models/tiny.gguf')"),
        ("smollm2", "('local', 'smollm2')"),
    ],
)
def test_a_models_name_as_the_backend_is_told_where_it_goes(name: str, told: str) -> None:
    with pytest.raises(UnknownBackendError) as caught:
        start_session(name)
    assert f"a model's name comes second: start_session{told}" in str(caught.value)


def test_openai_without_a_key_says_so_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, server: ServerProcess
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="OpenAI needs a key: set OPENAI_API_KEY"):
        start_session("openai")
    start_session("openai", api_key="k").close()
    server.script("m", chunks=["a"])
    with start_session("openai", "m", base_url=server.url) as m:  # a local server needs none
        assert m.instruct("Go.").value == "a"


# Classes for objects, and objects for classes.


class Person:
    """Somebody."""


A_CLASS = {
    "strategy": (
        lambda m: m.instruct("Go.", requirements=["x"], strategy=RejectionSampling),
        "not the class RejectionSampling: make an object of it, with RejectionSampling(...)",
    ),
    "no strategy": (
        lambda m: m.instruct("Go.", strategy="best"),
        "strategy must be a sampling strategy, such as RejectionSampling(), not str",
    ),
    "backend": (lambda m: MelleaSession(ScriptedBackend), "with ScriptedBackend(...)"),
    "context": (lambda m: MelleaSession(m.backend, ChatContext), "with ChatContext(...)"),
    "no class of contexts": (
        lambda m: start_session("scripted", context_type=Person),
        "context_type must be 'simple', 'chat' or the class of a context",
    ),
    "a context as its type": (
        lambda m: start_session("scripted", context_type=ChatContext()),
        "a context, give it as ctx=",
    ),
    "component": (lambda m: m.act(Instruction), "with Instruction(...)"),
    "requirement": (
        lambda m: m.instruct("Go.", requirements=[Requirement]),
        "with Requirement(...)",
    ),
}


@pytest.mark.parametrize(("call", "told"), A_CLASS.values(), ids=A_CLASS)
def test_a_class_for_an_object_is_told(call: Any, told: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        call(MelleaSession(ScriptedBackend("a")))
    assert told in str(caught.value)


@dataclass
class Place:
    """A dataclass."""

    name: str = "Oslo"


class Colour(Enum):
    """An enum."""

    RED = "red"


AN_OBJECT = {
    "dataclass": (Place(), "Place"),
    "Struct": (msgspec.defstruct("Row", [("x", int)])(1), "Row"),
    "Pydantic model": (pydantic.create_model("Model", x=(int, ...))(x=1), "Model"),
    "named tuple": (NamedTuple("Point", [("x", int)])(1), "Point"),
    "enum": (Colour.RED, "Colour"),
    "a list of one type": ([Place], "list[Place]"),
}


@pytest.mark.parametrize(("form", "name"), AN_OBJECT.values(), ids=AN_OBJECT)
def test_an_object_as_a_format_is_told_its_type(form: Any, name: str) -> None:
    m = MelleaSession(ScriptedBackend("{}"))
    with pytest.raises(InvalidInputError) as caught:
        m.instruct("Go.", format=form)
    assert str(caught.value).endswith(f"not an object: give {name}")
