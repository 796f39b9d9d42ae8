"""The list of models: right, and every kind of a wrong one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mellea_rx import (
    AuthenticationError,
    ConnectionFailedError,
    ConnectTimeoutError,
    ProtocolError,
    ResponseTooLargeError,
    ServerError,
    StreamInterruptedError,
)
from mellea_rx.backends import Limits
from mellea_rx.backends import http as http_backend
from tests.chaos.frames import head
from tests.chaos.trial import KEY, Trial, engine_tasks
from tests.core.hand import until_blocking

PATHS = {"ollama": "/api/tags", "openai": "/v1/models"}


def models(trial: Trial, **script: Any) -> list[str]:
    """The models that a backend lists for this answer of a server."""
    trial.server.script(PATHS[trial.wire], **script)
    tasks = engine_tasks()
    backend = trial.backend()
    try:
        return asyncio.run(backend.models())
    finally:
        backend.close()
        until_blocking(lambda: engine_tasks() <= tasks)


LIST = '{"models": [{"name": "b"}, {"name": "a"}], "data": [{"id": "b"}, {"id": "a"}]}'


@pytest.mark.parametrize("split", [None, 7])
def test_the_names_come_sorted_however_the_list_is_cut(trial: Trial, split: int | None) -> None:
    how = {} if split is None else {"split": split}
    assert models(trial, status=200, body=LIST, **how) == ["a", "b"]
    (asked,) = trial.server.log()
    assert (asked["method"], asked["path"]) == ("GET", PATHS[trial.wire])
    assert "content-type" not in asked["headers"]


@pytest.mark.parametrize("kept", [0, 9])
def test_a_list_that_breaks_off_is_an_interruption(trial: Trial, kept: int) -> None:
    wire = [head(trial.wire, f"Content-Length: {len(LIST)}"), LIST[:kept]]
    with pytest.raises(StreamInterruptedError, match=r"broke off \(.* closed .*\)$") as caught:
        models(trial, wire=wire)
    assert trial.server.url in str(caught.value)


def test_a_list_over_the_cap_is_refused(trial: Trial) -> None:
    trial.server.script(PATHS[trial.wire], status=200, body=LIST)
    backend = trial.backend(limits=Limits(total=len(LIST) - 1))
    with pytest.raises(ResponseTooLargeError, match=r"than 77 bytes \(Limits\(total="):
        asyncio.run(backend.models())
    backend.close()


@pytest.mark.parametrize("body", ["<html>", "", '{"models": [', "[" * 5000])
def test_what_is_no_json_is_an_error_that_shows_it(trial: Trial, body: str) -> None:
    with pytest.raises(ProtocolError, match="sent no JSON") as caught:
        models(trial, status=200, body=body)
    assert PATHS[trial.wire] in str(caught.value)
    assert body[:6] in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("body", ["[]", "{}", "null", '{"models": [1], "data": [1]}'])
def test_json_that_is_no_list_of_models_is_an_error(trial: Trial, body: str) -> None:
    with pytest.raises(ProtocolError, match="did not list its models"):
        models(trial, status=200, body=body)


def test_a_status_is_typed_and_shows_no_key(trial: Trial) -> None:
    with pytest.raises(AuthenticationError) as caught:
        models(trial, status=401, body=f"bad key {KEY}")
    assert KEY not in str(caught.value)
    with pytest.raises(ServerError, match="busy"):
        models(trial, status=503, body='{"error": "busy"}')


def test_a_server_that_is_not_there_is_an_error(trial: Trial) -> None:
    backend = trial.backend("http://127.0.0.1:1")
    with pytest.raises(ConnectionFailedError, match=r"no server answers .*\(connection refused\)"):
        asyncio.run(backend.models())
    backend.close()


def test_a_server_that_is_silent_is_waited_for_so_long(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_backend, "MODELS_TIMEOUT", 0.05)
    with pytest.raises(ConnectTimeoutError, match=r"gave no answer in 0\.05 s"):
        models(trial, wire=[b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"], stall_after=1)
