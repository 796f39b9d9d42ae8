"""`start_session`: a backend by name, from arguments and from the environment."""

from __future__ import annotations

from typing import Any

import pytest

from mellea_rx import (
    ChatContext,
    InvalidInputError,
    ModelOption,
    OllamaBackend,
    OpenAIBackend,
    OptionError,
    ScriptedBackend,
    SimpleContext,
    UnknownBackendError,
    start_session,
)
from mellea_rx.backends import backend_names, register_backend
from tests.support.server_process import ServerProcess

VARIABLES = [
    *("MELLEA_RX_BACKEND", "MELLEA_RX_MODEL", "OLLAMA_HOST"),
    *("OPENAI_API_KEY", "OPENAI_BASE_URL"),
]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_a_backend_by_name_and_model() -> None:
    backend: Any = start_session("ollama", "qwen3", base_url="http://here:1").backend
    assert isinstance(backend, OllamaBackend)
    assert (backend.model, backend.origin) == ("qwen3", "http://here:1")


def test_an_unknown_backend_lists_those_there_are() -> None:
    with pytest.raises(UnknownBackendError) as caught:
        start_session("olama")
    told = str(caught.value)
    assert all(repr(name) in told for name in backend_names())
    assert "did you mean 'ollama'" in told


@pytest.mark.parametrize("wrong", [None, 5, ""])
def test_a_backend_that_is_no_name_is_refused(wrong: Any) -> None:
    with pytest.raises((UnknownBackendError, InvalidInputError)):
        start_session(wrong)


def test_an_argument_that_the_backend_does_not_take_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"'ollama' does not take 'paralel'"):
        start_session("ollama", paralel=2)


def test_an_option_that_is_wrong_is_named() -> None:
    with pytest.raises(OptionError, match="TEMPERATURE"):
        start_session("scripted", model_options={ModelOption.TEMPERATURE: "hot"})


@pytest.mark.parametrize("url", ["localhost:1", "ftp://here", "nonsense", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError, match="base_url"):
        start_session("openai", "m", base_url=url)


def test_further_arguments_go_to_the_backend() -> None:
    m = start_session("scripted", "a model", delay=0.5)
    assert isinstance(m.backend, ScriptedBackend)
    assert m.backend.model == "a model"


def test_the_context_may_be_given_or_named() -> None:
    given = ChatContext()
    assert start_session("scripted").ctx == SimpleContext()
    assert start_session("scripted", ctx=given).ctx is given
    assert isinstance(start_session("scripted", context_type="chat").ctx, ChatContext)
    assert isinstance(start_session("scripted", context_type="simple").ctx, SimpleContext)
    assert isinstance(start_session("scripted", context_type=ChatContext).ctx, ChatContext)


def test_a_context_type_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match="'simple', 'chat'"):
        start_session("scripted", context_type="chatty")
    with pytest.raises(InvalidInputError, match="not both"):
        start_session("scripted", ctx=ChatContext(), context_type="chat")


def test_what_is_no_context_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="ctx"):
        start_session("scripted", ctx="chat")  # type: ignore[arg-type]


def test_the_environment_names_backend_and_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELLEA_RX_BACKEND", "scripted")
    monkeypatch.setenv("MELLEA_RX_MODEL", "a model")
    backend: Any = start_session().backend
    assert (backend.name, backend.model) == ("scripted", "a model")


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELLEA_RX_BACKEND", "ollama")
    monkeypatch.setenv("MELLEA_RX_MODEL", "a model")
    backend: Any = start_session("scripted", "another").backend
    assert (backend.name, backend.model) == ("scripted", "another")


def test_the_environments_model_is_not_for_another_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELLEA_RX_BACKEND", "openai")
    monkeypatch.setenv("MELLEA_RX_MODEL", "gpt-x")
    ollama: Any = start_session("ollama").backend
    assert ollama.model != "gpt-x"


def test_an_unknown_backend_in_the_environment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELLEA_RX_BACKEND", "olama")
    with pytest.raises(UnknownBackendError, match="olama"):
        start_session()


def test_the_environment_has_openais_address_and_key(
    monkeypatch: pytest.MonkeyPatch, server: ServerProcess
) -> None:
    server.script("m", chunks=["a"])
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    with start_session("openai", "m") as m:
        assert m.instruct("Go.").value == "a"
    (entry,) = server.log("m")
    assert entry["headers"]["authorization"] == "Bearer secret-key"


def test_the_environments_key_goes_to_no_other_address(
    monkeypatch: pytest.MonkeyPatch, server: ServerProcess
) -> None:
    server.script("m", chunks=["a"])
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    with start_session("openai", "m", base_url=server.url) as m:
        m.instruct("Go.")
    (entry,) = server.log("m")
    assert "secret-key" not in str(entry)


@pytest.mark.parametrize("name", ["openai", "ollama"])
def test_a_key_is_in_no_repr_and_no_error(name: str, server: ServerProcess) -> None:
    server.script("m", status=401, body={"error": "bad key: secret-key"})
    with start_session(name, "m", base_url=server.url, api_key="secret-key") as m:
        with pytest.raises(Exception) as caught:  # noqa: PT011
            m.instruct("Go.")
        told, error = [repr(m), repr(m.backend), str(vars(m.backend))], caught.value
        while error is not None:
            told += [str(error), repr(error), str(vars(error))]
            error = error.__cause__ or error.__context__
    assert "secret-key" not in " ".join(told)


def test_a_backend_of_the_users_own_may_be_registered() -> None:
    register_backend("mine", lambda **how: ScriptedBackend("mine", **how))
    assert start_session("mine").instruct("Go.").value == "mine"
    assert "mine" in backend_names()


def test_openai_adds_its_version_where_the_address_has_no_path() -> None:
    def origin_of(url: str) -> str:
        backend = OpenAIBackend("m", base_url=url)
        return str(backend._client.base_url)

    assert origin_of("http://here:8000") == "http://here:8000/v1"
    assert origin_of("http://here:8000/") == "http://here:8000/v1"
    assert origin_of("http://here:8000/api/v3") == "http://here:8000/api/v3"
