"""Model options: whose win, and what is refused by name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mellea_rx import MelleaSession, ModelOption, OllamaBackend, OptionError, ScriptedBackend
from mellea_rx import backends as backends_module
from tests.core.hand import STREAM


def asked(backend: Any, session: Any, call: Any) -> Any:
    """The options of the request that such a call makes."""
    m = MelleaSession(ScriptedBackend("a", model_options=backend), model_options=session)
    m.instruct("Go.", model_options=call)
    return m.backend.requests[-1].options  # type: ignore[attr-defined]


def test_the_call_wins_over_the_session_which_wins_over_the_backend() -> None:
    seed, heat, limit = ModelOption.SEED, ModelOption.TEMPERATURE, ModelOption.MAX_NEW_TOKENS
    options = asked({seed: 1, heat: 1, limit: 1}, {seed: 2, heat: 2}, {seed: 3})
    assert (options.get(seed), options.get(heat), options.get(limit)) == (3, 2, 1)


def test_so_it_is_for_names_of_the_servers_own() -> None:
    options = asked({"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 2}, {"a": 3})
    assert dict(options.extra) == {"a": 3, "b": 2, "c": 1}


def test_none_for_a_timeout_in_the_call_wins_over_seconds_in_the_session() -> None:
    timeout = ModelOption.STREAM_TIMEOUT
    assert asked({}, {timeout: 5}, {timeout: None}).stream_timeout is None
    assert asked({}, {timeout: 5}, None).stream_timeout == 5
    assert asked({}, {}, None).stream_timeout == 120


def test_the_dicts_that_were_given_are_left_alone() -> None:
    session, call = {ModelOption.SEED: 1}, {ModelOption.SEED: 2, "x": [1]}
    asked({}, session, call)
    assert (session, call) == ({ModelOption.SEED: 1}, {ModelOption.SEED: 2, "x": [1]})


def test_it_is_found_where_mellea_has_it() -> None:
    assert backends_module.ModelOption is ModelOption


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({ModelOption.TEMPERATURE: "hot"}, r"ModelOption\.TEMPERATURE must be a number.*'hot'"),
        ({ModelOption.TEMPERATURE: -1}, r"TEMPERATURE"),
        ({ModelOption.TEMPERATURE: True}, r"TEMPERATURE"),
        ({ModelOption.TEMPERATURE: float("nan")}, r"TEMPERATURE"),
        ({ModelOption.TEMPERATURE: float("inf")}, r"TEMPERATURE"),
        ({ModelOption.SEED: 1.5}, r"SEED must be an int"),
        ({ModelOption.SEED: True}, r"SEED"),
        ({ModelOption.MAX_NEW_TOKENS: 0}, r"MAX_NEW_TOKENS must be an int, 1 or more"),
        ({ModelOption.MAX_NEW_TOKENS: "5"}, r"MAX_NEW_TOKENS"),
        ({ModelOption.SYSTEM_PROMPT: 5}, r"SYSTEM_PROMPT must be a str"),
        ({ModelOption.STOP_SEQUENCES: [1]}, r"STOP_SEQUENCES"),
        ({ModelOption.STOP_SEQUENCES: ""}, r"STOP_SEQUENCES"),
        ({ModelOption.CONTEXT_WINDOW: -5}, r"CONTEXT_WINDOW"),
        ({ModelOption.THINKING: 5}, r"THINKING"),
        ({ModelOption.STREAM: "yes"}, r"STREAM must be a bool"),
        ({ModelOption.STREAM_TIMEOUT: 0}, r"STREAM_TIMEOUT"),
        ({ModelOption.STREAM_TIMEOUT: float("nan")}, r"STREAM_TIMEOUT"),
        ({ModelOption.TOOLS: "add"}, r"TOOLS"),
        ({ModelOption.TOOL_CHOICE: 5}, r"TOOL_CHOICE"),
        ({"@temprature": 1}, r"no model option '@temprature'; did you mean ModelOption\.TEMP"),
        ({"@nothing like it": 1}, r"no model option '@nothing like it'"),
        ({5: 1}, r"name must be a str or a ModelOption, not 5"),
        ({"messages": []}, r"'messages' cannot be set"),
        ({"stream": True}, r"use ModelOption\.STREAM"),
        ("temperature=1", r"model_options must be a dict, not str"),
        ([("a", 1)], r"model_options must be a dict, not list"),
    ],
)
def test_what_is_wrong_is_refused_by_name_wherever_it_is_given(options: Any, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        MelleaSession(ScriptedBackend(), model_options=options)
    with pytest.raises(OptionError, match=told):
        ScriptedBackend(model_options=options)
    backend = ScriptedBackend()
    with pytest.raises(OptionError, match=told):
        MelleaSession(backend).instruct("Go.", model_options=options)
    with pytest.raises(OptionError, match=told):
        asyncio.run(MelleaSession(backend).avalidate("fine", output="x", model_options=options))
    assert backend.requests == ()


def test_the_key_of_an_option_may_be_its_string() -> None:
    assert asked({}, {}, {"@seed": 7}).get(ModelOption.SEED) == 7


def test_what_a_backend_does_not_have_is_refused_when_the_call_is_made() -> None:
    m = MelleaSession(OllamaBackend("m", base_url="http://127.0.0.1:1"))

    async def main() -> None:
        with pytest.raises(OptionError, match="TOOL_CHOICE"):
            await m.ainstruct("Go.", model_options={ModelOption.TOOL_CHOICE: "required"})

    asyncio.run(main())


def test_a_system_prompt_is_the_first_message() -> None:
    m = MelleaSession(ScriptedBackend("a"), model_options={ModelOption.SYSTEM_PROMPT: "Be brief."})
    m.instruct("Go.")
    first, second = m.backend.requests[-1].messages  # type: ignore[attr-defined]
    assert (first.role, first.content) == ("system", "Be brief.")
    assert (second.role, second.content) == ("user", "Go.")


def test_a_sessions_stream_holds_for_its_calls_and_a_call_can_undo_it() -> None:
    async def pieces(call: dict[Any, Any] | None) -> int:
        m = MelleaSession(ScriptedBackend(["a", "b", "c"], delay=0.01), model_options=STREAM)
        thunk = await m.ainstruct("Go.", model_options=call)
        return len([piece async for piece in thunk.astream()])

    assert asyncio.run(pieces(None)) > 1
    assert asyncio.run(pieces({ModelOption.STREAM: False})) == 1
