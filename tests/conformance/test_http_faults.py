"""Faults of servers and networks: each ends in one typed error, with the text received so far."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from mellea_rx import (
    AuthenticationError,
    BackendError,
    BadRequestError,
    ConnectionFailedError,
    ConnectTimeoutError,
    GenerationFailedError,
    MelleaSession,
    ModelNotFoundError,
    ModelOption,
    NameResolutionError,
    OllamaBackend,
    OpenAIBackend,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    RedirectRefusedError,
    ResponseTooLargeError,
    ServerError,
    StreamInterruptedError,
    TLSError,
)
from mellea_rx.backends import Limits
from tests.support.server_process import ServerProcess

BACKENDS: dict[str, Any] = {"ollama": OllamaBackend, "openai": OpenAIBackend}
WORDS = ["Once ", "upon ", "a ", "time"]

both = pytest.mark.parametrize("name", BACKENDS)


def failure(name: str, url: str, retries: int = 0, **how: Any) -> BackendError:
    """The error of a call to that server."""
    options = {ModelOption.RETRIES: retries}
    with MelleaSession(BACKENDS[name]("m", base_url=url, **how), model_options=options) as m:
        with pytest.raises(BackendError) as caught:
            m.instruct("Go.")
        return caught.value


@both
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (413, BadRequestError),
        (422, BadRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, ModelNotFoundError),
        (429, RateLimitError),
        (500, ServerError),
        (503, ServerError),
        (599, ServerError),
    ],
)
@pytest.mark.parametrize("body", [None, "", b"\xff\xfe", "<html>", {"error": "told so"}, [], 5])
def test_a_status_is_typed_whatever_its_body(
    name: str, status: int, kind: type[BackendError], body: Any, server: ServerProcess
) -> None:
    server.script("m", status=status, **({} if body is None else {"body": body}))
    error = failure(name, server.url)
    assert type(error) is kind
    assert error.status == status  # type: ignore[attr-defined]
    assert f"{server.url} answered with status {status}" in str(error)
    assert "told so" in str(error) or body != {"error": "told so"}


@both
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_cannot_change_is_asked_once(name: str, status: int, server: ServerProcess) -> None:
    server.script("m", status=status)
    failure(name, server.url, retries=2)
    assert len(server.log("m")) == 1


def test_an_unknown_model_says_how_to_bring_it(server: ServerProcess) -> None:
    assert "ollama pull m" in str(failure("ollama", server.url))
    assert "'m'" in str(failure("openai", server.url))


@both
def test_no_server_names_the_address_and_how_to_start_one(name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        error = failure(name, url)
    assert type(error) is ConnectionFailedError
    assert url in str(error)
    assert "start" in str(error)


@both
def test_a_host_without_address_is_told_apart(name: str) -> None:
    error = failure(name, "http://no-such-host.invalid:1")
    assert type(error) is NameResolutionError
    assert "no-such-host.invalid" in str(error)


@both
def test_https_on_a_plain_server_is_told_apart(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            client, _ = listening.accept()
            with client:
                client.recv(1000)
                client.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        error = failure(name, f"https://127.0.0.1:{listening.getsockname()[1]}")
        thread.join(30)
    assert type(error) is TLSError
    assert "plain http" in str(error)


@both
def test_a_handshake_that_never_ends_is_a_connect_timeout(name: str, server: ServerProcess) -> None:
    url = server.url.replace("http:", "https:")
    error = failure(name, url, limits=Limits(connect=0.2))
    assert type(error) is ConnectTimeoutError
    assert "0.2 s" in str(error)


@both
@pytest.mark.parametrize(
    "cut",
    [
        *({"break_after": 2, "framing": framing} for framing in ("chunked", "length", "close")),
        {"reset_after": 2},
        {"omit_done": True, "chunks": WORDS[:2]},
        {"omit_done": True, "chunks": WORDS[:2], "framing": "close"},
    ],
    ids=str,
)
def test_a_stream_that_breaks_keeps_every_byte(
    name: str, cut: dict[str, Any], server: ServerProcess
) -> None:
    server.script("m", **{"chunks": WORDS, **cut})
    error = failure(name, server.url)
    assert type(error) is StreamInterruptedError
    assert error.text == "Once upon "


@both
def test_a_server_that_hangs_up_without_an_answer(name: str, server: ServerProcess) -> None:
    server.script("m", hang_up=True)
    assert type(failure(name, server.url)) is ConnectionFailedError


@both
@pytest.mark.parametrize("after", [0, 2])
def test_an_error_told_in_the_stream(name: str, after: int, server: ServerProcess) -> None:
    server.script("m", chunks=WORDS, error_after=after, error="out of memory")
    error = failure(name, server.url)
    assert type(error) is GenerationFailedError
    assert "out of memory" in str(error)
    assert error.text == "".join(WORDS[:after])


@both
@pytest.mark.parametrize(
    "body", ["<!DOCTYPE html>\n<p>login</p>\n", "[]", "", "null", {"hello": "world"}, "NaN\n"]
)
def test_a_200_that_is_no_answer_is_no_success(name: str, body: Any, server: ServerProcess) -> None:
    server.script("m", body=body)
    error = failure(name, server.url)
    assert isinstance(error, (ProtocolError, StreamInterruptedError))


@both
def test_a_redirect_is_refused_and_no_key_sent(name: str, server: ServerProcess) -> None:
    server.script("m", status=307, headers={"Location": f"{server.url}/elsewhere"}, body="")
    error = failure(name, server.url, api_key="secret-key")
    assert type(error) is RedirectRefusedError
    assert "base_url" in str(error)
    assert [entry["path"] for entry in server.log()].count("/elsewhere") == 0
    assert "secret-key" not in str(error)


@both
def test_a_key_in_an_echoed_body_is_redacted(name: str, server: ServerProcess) -> None:
    server.script("m", status=401, body={"error": {"message": "bad key secret-key given"}})
    error = failure(name, server.url, api_key="secret-key")
    assert "bad key *** given" in str(error)


@both
@pytest.mark.parametrize("split", [1, 3, 7])
def test_any_cut_of_the_bytes_gives_the_same_text(
    name: str, split: int, server: ServerProcess
) -> None:
    text = ["Hé", "\u2028😀", "\x85 end"]
    server.script("m", chunks=text, split=split, split_delay=0)
    with MelleaSession(BACKENDS[name]("m", base_url=server.url)) as m:
        assert m.instruct("Go.").value == "".join(text)


@both
def test_bad_characters_do_not_lose_the_answer(name: str, server: ServerProcess) -> None:
    server.script("m", chunks=["nul \x00", " half \ud83d", " end"])
    with MelleaSession(BACKENDS[name]("m", base_url=server.url)) as m:
        value = m.instruct("Go.").value
    assert value == "nul \x00 half \ufffd end"


@both
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_every_framing_of_a_body(name: str, framing: str, server: ServerProcess) -> None:
    server.script("m", chunks=WORDS, framing=framing)
    with MelleaSession(BACKENDS[name]("m", base_url=server.url)) as m:
        assert [m.instruct("Go.").value for _ in range(6)] == ["Once upon a time"] * 6
    used = {each["connection"] for each in server.log("m")}
    # The end of a response may arrive after the end of its answer; the next call may be faster.
    assert (len(used) < 6) == (framing != "close")


@both
def test_a_long_line_is_taken(name: str, server: ServerProcess) -> None:
    server.script("m", chunks=["x" * 10_000_000])
    with MelleaSession(BACKENDS[name]("m", base_url=server.url)) as m:
        assert len(m.instruct("Go.").value or "") == 10_000_000


@both
@pytest.mark.parametrize("bursts", [False, True], ids=["paced", "in one go"])
def test_an_answer_over_the_cap_is_refused(name: str, bursts: bool, server: ServerProcess) -> None:
    server.script("m", chunks=["x" * 1000], repeat=100, bursts=bursts)
    error = failure(name, server.url, limits=Limits(total=20_000))
    assert type(error) is ResponseTooLargeError


@both
def test_a_compressed_answer_is_decoded_or_refused(name: str, server: ServerProcess) -> None:
    server.script("m", chunks=WORDS, headers={"Content-Encoding": "gzip"})
    assert isinstance(failure(name, server.url), BackendError)


@both
def test_no_proxy_is_taken_from_the_environment(
    name: str, server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    server.script("m", chunks=["a"])
    with MelleaSession(BACKENDS[name]("m", base_url=server.url)) as m:
        assert m.instruct("Go.").value == "a"


@both
def test_connections_are_used_again_and_200_streams_run_at_once(
    name: str, server: ServerProcess
) -> None:
    import asyncio

    server.script("m", chunks=["a"], delay=1.5)

    async def main() -> None:
        m = MelleaSession(BACKENDS[name]("m", base_url=server.url))
        with m:
            thunks = [await m.ainstruct(f"{n}") for n in range(200)]
            assert await asyncio.gather(*(thunk.avalue() for thunk in thunks)) == ["a"] * 200

    asyncio.run(main())
    log = server.log("m")
    assert max(entry["started"] for entry in log) < min(entry["ended"] for entry in log)
