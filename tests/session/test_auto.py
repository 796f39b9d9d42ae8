"""`start_session("auto")`: decided at the first call, and told in one line of the log."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys

import pytest

from mellea_rx import MelleaSession, NoBackendError, OptionError, start_session
from tests.core.hand import soon
from tests.support.server_process import ServerProcess


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MELLEA_RX_BACKEND", "MELLEA_RX_MODEL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """OLLAMA_HOST is an address where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
    monkeypatch.setenv("OLLAMA_HOST", host)
    return host


@pytest.fixture
def no_xllamacpp(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra `local` is not installed."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)


def test_it_takes_ollama_where_one_answers_and_says_so_once(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server.script("llama3.2", chunks=["a"])
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{server.port}")
    with caplog.at_level(logging.INFO, "mellea_rx"), start_session() as m:
        for _ in range(3):
            assert m.instruct("Go.").value == "a"
        assert m.backend.name == "ollama"
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert f"127.0.0.1:{server.port}" in record.getMessage()
    assert "llama3.2" in record.getMessage()
    assert sum(entry["path"] == "/api/tags" for entry in server.log()) == 1


def test_nothing_is_asked_before_the_first_call(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{server.port}")
    with start_session() as m:
        assert m.backend.name == "auto"
    assert server.log() == []


def test_the_a_verb_returns_at_once_though_nothing_is_decided(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script("llama3.2", chunks=["a"])
    server.script("/api/tags", first_delay=1.0, body={"models": [{"name": "llama3.2"}]})
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{server.port}")

    async def main() -> None:
        with start_session() as m:
            thunks = [await asyncio.wait_for(m.ainstruct(f"{n}"), 0.8) for n in range(3)]
            assert [await soon(thunk.avalue()) for thunk in thunks] == ["a"] * 3

    asyncio.run(main())
    assert sum(entry["path"] == "/api/tags" for entry in server.log()) == 1


def test_it_takes_a_model_that_the_server_has(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script("qwen3:4b", chunks=["a"])
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{server.port}")
    with start_session() as m:
        assert m.instruct("Go.").value == "a"
    assert server.log("qwen3:4b")


def test_a_model_that_was_named_is_asked_for(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script("one", chunks=["1"])
    server.script("two", chunks=["2"])
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{server.port}")
    with start_session(model_id="two") as m:
        assert m.instruct("Go.").value == "2"


@pytest.mark.usefixtures("no_xllamacpp")
def test_with_neither_the_error_says_how_to_get_either(nobody: str) -> None:
    with start_session() as m:
        with pytest.raises(NoBackendError) as caught:
            m.instruct("Go.")
        told = str(caught.value)
    assert "ollama serve" in told
    assert "OLLAMA_HOST" in told
    assert "pip install 'mellea-rx[local]'" in told


@pytest.mark.usefixtures("no_xllamacpp")
def test_it_decides_again_when_a_server_has_come_up_since(
    nobody: str, server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script("llama3.2", chunks=["a"])
    with start_session() as m:
        with pytest.raises(NoBackendError):
            m.instruct("Go.")
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{server.port}")
        assert m.instruct("Go.").value == "a"


@pytest.mark.usefixtures("no_xllamacpp")
def test_the_failure_is_the_same_from_every_call(nobody: str) -> None:
    async def main() -> None:
        with start_session() as m:
            for thunk in [await m.ainstruct(f"{n}") for n in range(3)]:
                with pytest.raises(NoBackendError):
                    await soon(thunk.avalue())

    asyncio.run(main())


def test_an_option_that_the_taken_backend_does_not_have_is_refused_in_the_call(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script("llama3.2", chunks=["a"])
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{server.port}")
    with start_session() as m, pytest.raises(OptionError, match="TOOL_CHOICE"):
        m.instruct("Go.", model_options={"@tool_choice": "required"})


def test_it_may_be_asked_for_by_name(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script("llama3.2", chunks=["a"])
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    with start_session("auto", base_url=server.url) as m:
        assert isinstance(m, MelleaSession)
        assert m.instruct("Go.").value == "a"


CLOUD = [
    {"name": "glm-4.6:cloud"},
    {"name": "gpt-oss:120b-cloud"},
    {"name": "a-mirror:latest", "remote_host": "https://ollama.com:443", "remote_model": "x"},
]


def test_a_model_that_runs_on_the_server_goes_before_one_that_it_proxies(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script("/api/tags", body={"models": [*CLOUD, {"name": "qwen3:4b"}]})
    server.script("qwen3:4b", chunks=["here"])
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    with start_session() as m:
        assert m.instruct("Go.").value == "here"


@pytest.mark.parametrize("models", [CLOUD, []])
def test_the_embedded_model_goes_before_a_server_without_a_model_of_its_own(
    models: list[dict[str, str]],
    server: ServerProcess,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.script("/api/tags", body={"models": models})
    monkeypatch.setenv("OLLAMA_HOST", server.url)

    async def decide() -> str:
        with start_session() as m:
            await m.backend.prepare()  # type: ignore[attr-defined]
            return m.backend.name

    with caplog.at_level(logging.INFO, "mellea_rx"):
        assert asyncio.run(decide()) == "local"
    assert "the embedded model" in caplog.text
    assert "Ollama has" in caplog.text


@pytest.mark.parametrize("named", ["gpt-oss:120b-cloud", None])
def test_a_proxied_model_is_taken_where_it_is_named_or_there_is_no_other(
    named: str | None, server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    if named is None:
        monkeypatch.setattr("mellea_rx.backends.auto.find_spec", lambda _: None)
    server.script("/api/tags", body={"models": CLOUD[1:2]})
    server.script("gpt-oss:120b-cloud", chunks=["far away"])
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    with start_session(model_id=named) as m:
        assert m.instruct("Go.").value == "far away"


def test_the_default_model_goes_before_others_that_run_on_the_server(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script("/api/tags", body={"models": [{"name": "aya:8b"}, {"name": "llama3.2:latest"}]})
    server.script("llama3.2", chunks=["the default"])
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    with start_session() as m:
        assert m.instruct("Go.").value == "the default"
