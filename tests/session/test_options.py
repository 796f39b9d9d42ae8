"""Model options: whose win, and what is refused by name."""

from __future__ import annotations

import asyncio
import copy
import pickle
from typing import Any

import pytest

from mellea_rx import (
    MelleaSession,
    ModelOption,
    OllamaBackend,
    OpenAIBackend,
    OptionError,
    RetryPolicy,
    ScriptedBackend,
)
from mellea_rx import backends as backends_module
from mellea_rx.backends import Options
from tests.core.hand import STREAM
from tests.support.server_process import ServerProcess


def asked(backend: Any, session: Any, call: Any) -> Any:
    """The options of the request that such a call makes."""
    m = MelleaSession(ScriptedBackend("a", model_options=backend), model_options=session)
    m.instruct("Go.", model_options=call)
    return m.backend.requests[-1].options  # type: ignore[attr-defined]


def len_of(text: str) -> int:
    """The length of a text."""
    return len(text)


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
        ({"STREAM": True}, r"no model option 'STREAM'; did you mean ModelOption\.STREAM\?"),
        ({"max_new_tokens": 2}, r"'max_new_tokens'; did you mean ModelOption\.MAX_NEW_TOKENS"),
        ({"maxTokens": 2}, r"'maxTokens'; did you mean ModelOption\.MAX_NEW_TOKENS"),
        ({"max_output_tokens": 2}, r"did you mean ModelOption\.MAX_NEW_TOKENS"),
        ({"temprature": 2}, r"'temprature'; did you mean ModelOption\.TEMPERATURE"),
        ({"tempertaure": 2}, r"did you mean ModelOption\.TEMPERATURE"),
        ({"ModelOption.SEED": 2}, r"did you mean ModelOption\.SEED"),
        ({"system_prompt": "x"}, r"did you mean ModelOption\.SYSTEM_PROMPT"),
        ({"stop_sequence": "x"}, r"did you mean ModelOption\.STOP_SEQUENCES"),
        ({"context-window": 9}, r"did you mean ModelOption\.CONTEXT_WINDOW"),
        ({"max_tokens": 0}, r"'max_tokens' \(ModelOption\.MAX_NEW_TOKENS\) must be an int"),
        ({"max_tokens": 5, "num_predict": 6}, r"max_tokens and num_predict set one model option"),
        ({"seed": 5, ModelOption.SEED: 6}, r"seed and ModelOption\.SEED set one model option"),
        ({"options": {"num_ctx": 5}, "num_ctx": 6}, r"num_ctx, twice, set one model option"),
        ({"options": {"top_k": 5}, "top_k": 6}, r"top_k, twice, set one model option"),
        ({"options": {"temprature": 5}}, r"did you mean ModelOption\.TEMPERATURE"),
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


SERVER_NAMES = {
    "temperature": (0.5, ModelOption.TEMPERATURE),
    "seed": (5, ModelOption.SEED),
    "random_seed": (5, ModelOption.SEED),
    "max_tokens": (5, ModelOption.MAX_NEW_TOKENS),
    "max_completion_tokens": (5, ModelOption.MAX_NEW_TOKENS),
    "num_predict": (5, ModelOption.MAX_NEW_TOKENS),
    "n_predict": (5, ModelOption.MAX_NEW_TOKENS),
    "stop": (["END"], ModelOption.STOP_SEQUENCES),
    "num_ctx": (512, ModelOption.CONTEXT_WINDOW),
    "think": (True, ModelOption.THINKING),
    "reasoning_effort": ("low", ModelOption.THINKING),
    "tool_choice": ("auto", ModelOption.TOOL_CHOICE),
}


@pytest.mark.parametrize("name", SERVER_NAMES)
def test_a_servers_own_name_for_an_option_is_that_option(name: str) -> None:
    value, option = SERVER_NAMES[name]
    options = asked({}, {}, {name: value})
    assert options.get(option) == value
    assert not options.extra


@pytest.mark.parametrize(("session", "call"), [(0, 1), (1, 0), (1, 1), (1, 2), (2, 1)])
def test_a_calls_value_wins_whichever_name_each_has(session: int, call: int) -> None:
    names = [ModelOption.MAX_NEW_TOKENS, "max_tokens", "num_predict"]
    options = asked({}, {names[session]: 100}, {names[call]: 5})
    assert options.get(ModelOption.MAX_NEW_TOKENS) == 5
    assert not options.extra


def test_two_names_with_one_value_are_one_option() -> None:
    both = {"max_tokens": 5, ModelOption.MAX_NEW_TOKENS: 5}
    assert asked({}, {}, both).get(ModelOption.MAX_NEW_TOKENS) == 5


def test_ollamas_nested_options_are_options() -> None:
    options = asked({}, {ModelOption.SEED: 1}, {"options": {"seed": 2, "top_k": 4}})
    assert (options.get(ModelOption.SEED), dict(options.extra)) == (2, {"top_k": 4})


# Parameters of OpenAI's protocol, Ollama, llama.cpp, vLLM and OpenRouter.
THEIR_OWN = [
    "top_p",
    "top_k",
    "min_p",
    "top_a",
    "n",
    "best_of",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "repeat_penalty",
    "length_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "prompt_logprobs",
    "user",
    "store",
    "metadata",
    "service_tier",
    "parallel_tool_calls",
    "response_format",
    "stream_options",
    "prediction",
    "modalities",
    "verbosity",
    "prompt_cache_key",
    "safety_identifier",
    "web_search_options",
    "use_beam_search",
    "stop_token_ids",
    "ignore_eos",
    "include_stop_str_in_output",
    "min_tokens",
    "skip_special_tokens",
    "guided_json",
    "guided_choice",
    "structured_outputs",
    "priority",
    "repeat_last_n",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "tfs_z",
    "typical_p",
    "num_keep",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "num_thread",
    "use_mmap",
    "keep_alive",
    "format",
    "truncate",
    "shift",
    "cache_prompt",
    "id_slot",
    "samplers",
    "grammar",
    "json_schema",
    "dynatemp_range",
    "dynatemp_exponent",
    "xtc_probability",
    "dry_multiplier",
    "n_probs",
    "n_keep",
    "n_discard",
    "timings_per_token",
    "transforms",
    "route",
    "provider",
    "models",
    "plugins",
    "reasoning",
    "chat_template_kwargs",
    "add_generation_prompt",
    "continue_final_message",
    "reasoning_format",
    "thinking_budget_tokens",
    "reasoning_budget_tokens",
    "min_keep",
    "t_max_predict_ms",
    "model",
    "documents",
    "chat_template",
    "temperature_last",
    "allowed_token_ids",
    "bad_words",
    "max_prompt_tokens",
]


@pytest.mark.parametrize("name", THEIR_OWN)
def test_no_parameter_of_a_server_is_taken_for_a_misspelling(name: str) -> None:
    assert dict(asked({}, {}, {name: 1}).extra) == {name: 1}


def test_tools_of_a_call_add_to_those_of_the_session_and_win_by_name() -> None:
    def described(name: str, text: str = "") -> dict[str, Any]:
        return {"type": "function", "function": {"name": name, "description": text}}

    session = [described("a"), described("b", "the session's")]
    call = [described("b", "the call's"), described("c")]
    options = asked({}, {"tools": session}, {ModelOption.TOOLS: call})
    assert options.get(ModelOption.TOOLS) == [session[0], *call]
    assert asked({}, {"tools": session}, {ModelOption.TOOLS: []}).get(ModelOption.TOOLS) == session


WHOLE = {
    "temperature": 0,
    ModelOption.STOP_SEQUENCES: ["END", "STOP"],
    ModelOption.RETRIES: RetryPolicy(tries=2),
    "num_predict": 5,
    "logit_bias": {"5": [1, 2]},
    "tools": [len_of],
}


def test_options_of_equal_contents_are_equal_and_have_one_hash() -> None:
    assert Options(WHOLE) == Options(dict(WHOLE))
    assert len({Options(WHOLE), Options(dict(WHOLE)), Options(), Options({})}) == 2
    assert Options({"seed": 1}) != Options({"seed": 2}) != Options({"top_k": 2})
    assert Options({"seed": 1}) != {ModelOption.SEED: 1}


@pytest.mark.parametrize(
    "copied",
    [lambda o: pickle.loads(pickle.dumps(o)), copy.copy, copy.deepcopy],
    ids=["pickle", "copy", "deepcopy"],
)
def test_options_can_be_copied_and_pickled(copied: Any) -> None:
    options = Options(WHOLE)
    other = copied(options)
    assert other == options
    assert other.spelled == options.spelled
    assert [tool.name for tool in other.tools] == ["len_of"]
    with pytest.raises(TypeError):
        other.standard[ModelOption.SEED] = 1


def test_a_servers_name_is_sent_where_it_was_given(server: ServerProcess) -> None:
    """Newer models refuse max_tokens, and other servers know only that."""
    server.script("m", chunks=["a"])
    options = {"max_completion_tokens": 100}
    backend = OpenAIBackend("m", base_url=server.url, model_options=options)
    with MelleaSession(backend) as m:
        m.instruct("Go.", model_options={ModelOption.MAX_NEW_TOKENS: 5})
    body = server.log("m")[-1]["body"]
    assert body["max_completion_tokens"] == 5
    assert "max_tokens" not in body
