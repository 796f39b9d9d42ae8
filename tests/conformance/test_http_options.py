"""Model options in requests: each is mapped or rejected by name; unknown ones are passed on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mellea_rx import MelleaSession, ModelOption, OllamaBackend, OpenAIBackend, OptionError
from mellea_rx.backends import Options, Request, RequestMessage
from tests.core.hand import Recorder
from tests.support.server_process import ServerProcess

BACKENDS: dict[str, Any] = {"ollama": OllamaBackend, "openai": OpenAIBackend}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
REFUSED = object()
NOT_SENT = object()

# For each option: a value, and its place in the body for Ollama and in the one for OpenAI.
PLACES: dict[ModelOption, tuple[Any, Any, Any]] = {
    ModelOption.TEMPERATURE: (0.5, {"options": {"temperature": 0.5}}, {"temperature": 0.5}),
    ModelOption.SEED: (7, {"options": {"seed": 7}}, {"seed": 7}),
    ModelOption.MAX_NEW_TOKENS: (9, {"options": {"num_predict": 9}}, {"max_tokens": 9}),
    ModelOption.SYSTEM_PROMPT: (
        "Be brief.",
        {"messages": [{"role": "system", "content": "Be brief."}]},
        {"messages": [{"role": "system", "content": "Be brief."}]},
    ),
    ModelOption.STOP_SEQUENCES: ("END", {"options": {"stop": ["END"]}}, {"stop": ["END"]}),
    ModelOption.CONTEXT_WINDOW: (4096, {"options": {"num_ctx": 4096}}, REFUSED),
    ModelOption.THINKING: ("low", {"think": "low"}, {"reasoning_effort": "low"}),
    ModelOption.STREAM: (False, {"stream": True}, {"stream": True}),
    ModelOption.STREAM_TIMEOUT: (5, NOT_SENT, NOT_SENT),
    ModelOption.FIRST_TOKEN_TIMEOUT: (5, NOT_SENT, NOT_SENT),
    ModelOption.TOTAL_TIMEOUT: (5, NOT_SENT, NOT_SENT),
    ModelOption.RETRIES: (1, NOT_SENT, NOT_SENT),
    ModelOption.ON_INTERRUPT: ("continue", NOT_SENT, NOT_SENT),
    ModelOption.TOOLS: ([TOOL], {"tools": [TOOL]}, {"tools": [TOOL]}),
    ModelOption.TOOL_CHOICE: ("required", REFUSED, {"tool_choice": "required"}),
}


def sent(name: str, server: ServerProcess, options: Mapping[Any, Any]) -> dict[str, Any]:
    """The body of the request for a call with these options."""
    server.script("m", chunks=["a"])
    with MelleaSession(BACKENDS[name]("m", base_url=server.url)) as m:
        m.instruct("Go.", model_options=options)
    body: dict[str, Any] = server.log("m")[-1]["body"]
    return body


def holds(body: Any, expected: Any) -> bool:
    """Whether `body` contains all of `expected`; a list is compared up to the expected length."""
    if isinstance(expected, dict):
        return isinstance(body, dict) and all(holds(body.get(k), v) for k, v in expected.items())
    if isinstance(expected, list):
        return isinstance(body, list) and body[: len(expected)] == expected
    return bool(body == expected)


def test_every_option_has_its_place_here() -> None:
    assert set(PLACES) == set(ModelOption)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("option", ModelOption, ids=lambda option: option.name)
def test_each_option_is_mapped_or_refused_by_name(
    name: str, option: ModelOption, server: ServerProcess
) -> None:
    value, *places = PLACES[option]
    expected = places[list(BACKENDS).index(name)]
    if expected is REFUSED:
        with pytest.raises(OptionError, match=option.name):
            sent(name, server, {option: value})
        with pytest.raises(OptionError, match=option.name):
            BACKENDS[name]("m", base_url=server.url, model_options={option: value})
        assert server.log() == []
        return
    body = sent(name, server, {option: value})
    assert option.value not in str(body)
    assert expected is NOT_SENT or holds(body, expected)


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        ("ollama", True, {"think": True}),
        ("ollama", False, {"think": False}),
        ("openai", "high", {"reasoning_effort": "high"}),
    ],
)
def test_thinking(name: str, value: Any, place: dict[str, Any], server: ServerProcess) -> None:
    assert holds(sent(name, server, {ModelOption.THINKING: value}), place)


@pytest.mark.parametrize("value", [True, False])
def test_openai_has_efforts_only(value: bool, server: ServerProcess) -> None:
    with pytest.raises(OptionError, match="THINKING"):
        sent("openai", server, {ModelOption.THINKING: value})


def test_a_tools_name_as_choice(server: ServerProcess) -> None:
    options = {ModelOption.TOOLS: [TOOL], ModelOption.TOOL_CHOICE: "add"}
    choice = {"type": "function", "function": {"name": "add"}}
    assert sent("openai", server, options)["tool_choice"] == choice


def test_an_unknown_key_goes_to_ollamas_options(server: ServerProcess) -> None:
    body = sent("ollama", server, {"top_k": 40, "mirostat": 2, "nested": {"a": [1]}})
    assert body["options"] == {"top_k": 40, "mirostat": 2, "nested": {"a": [1]}}


def test_ollamas_own_top_level_names_stay_there(server: ServerProcess) -> None:
    body = sent("ollama", server, {"keep_alive": "5m", "format": "json", "options": {"top_p": 0.9}})
    assert (body["keep_alive"], body["format"]) == ("5m", "json")
    assert body["options"] == {"top_p": 0.9}


def test_an_unknown_key_goes_into_openais_body(server: ServerProcess) -> None:
    body = sent("openai", server, {"top_p": 0.9, "guided": {"a": [1]}})
    assert (body["top_p"], body["guided"]) == (0.9, {"a": [1]})


@pytest.mark.parametrize("name", BACKENDS)
def test_without_options_nothing_is_sent_that_was_not_asked_for(
    name: str, server: ServerProcess
) -> None:
    body = sent(name, server, {})
    more = {"stream_options"} if name == "openai" else set()
    assert set(body) == {"model", "messages", "stream"} | more


@pytest.mark.parametrize("name", BACKENDS)
def test_stream_off_still_streams_on_the_wire(name: str, server: ServerProcess) -> None:
    assert sent(name, server, {ModelOption.STREAM: False})["stream"] is True


@pytest.mark.parametrize("name", BACKENDS)
def test_no_key_is_sent_that_was_not_given(
    name: str, server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    sent(name, server, {})
    assert "authorization" not in server.log("m")[0]["headers"]
    assert server.log("m")[0]["headers"]["accept-encoding"] == "identity"


@pytest.mark.parametrize(("name", "place"), [("ollama", "format"), ("openai", "response_format")])
def test_a_schema_is_sent(name: str, place: str, server: ServerProcess) -> None:
    server.script("m", chunks=["{}"])
    backend = BACKENDS[name]("m", base_url=server.url)
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    recorder = Recorder()
    recorder.to(backend.stream(Request((RequestMessage("user", "Go."),), Options(), schema)))
    assert recorder.ended.wait(30)
    backend.close()
    found = server.log("m")[0]["body"][place]
    assert schema in (found, found.get("json_schema", {}).get("schema"))
