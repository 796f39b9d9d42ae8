"""A server's address: its path precedes every path, and its query follows each of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mellea_rx import (
    AuthenticationError,
    InvalidInputError,
    MelleaSession,
    OllamaBackend,
    OpenAIBackend,
)
from mellea_rx.backends import Limits
from mellea_rx.wire.http import HttpClient, open_client
from mellea_rx.wire.redaction import credentials, without_login
from tests.support.raw_server import Peer, RawServer, answer
from tests.wire.loops import run_on

KINDS: dict[str, Any] = {"ollama": OllamaBackend, "openai": OpenAIBackend}
GENERATE = {"ollama": "/api/chat", "openai": "/chat/completions"}
MODELS = {"ollama": "/api/tags", "openai": "/models"}


def asked_by(kind: str, base: str) -> list[str]:
    """The request targets of a call and of a list of models for a base address."""
    targets: list[str] = []

    def serve(peer: Peer) -> None:
        while target := peer.request():
            targets.append(target)
            peer.send(answer(b"no", status="400 No"))

    with RawServer(serve) as server:
        backend = KINDS[kind]("m", base_url=server.url + base)
        with MelleaSession(backend) as m:
            with pytest.raises(Exception, match="400"):
                m.instruct("Go.")
            with pytest.raises(Exception, match="400"):
                asyncio.run(backend.models())
    return targets


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "query",
    ["?api-version=2024-10-21", "?a=1&b=%26%20x&c", "?q=a+b%2Bc", "?x=%C3%A9", "?a=b#fragment"],
)
@pytest.mark.parametrize("path", ["/openai/deployments/d", "/openai/deployments/d/"])
def test_its_query_is_in_every_request_as_it_was_given(kind: str, query: str, path: str) -> None:
    sent = query.partition("#")[0]
    assert asked_by(kind, path + query) == [
        f"/openai/deployments/d{GENERATE[kind]}{sent}",
        f"/openai/deployments/d{MODELS[kind]}{sent}",
    ]


@pytest.mark.parametrize("base", ["?api-version=1", "/?api-version=1", "/v1?api-version=1"])
def test_the_version_of_openais_path_stands_before_the_query(base: str) -> None:
    asked = ["/v1/chat/completions?api-version=1", "/v1/models?api-version=1"]
    assert asked_by("openai", base) == asked


@pytest.mark.parametrize("kind", KINDS)
def test_an_address_without_a_query_has_none(kind: str) -> None:
    assert asked_by(kind, "/x") == [f"/x{GENERATE[kind]}", f"/x{MODELS[kind]}"]


@pytest.mark.parametrize("name", ["key", "api-key", "subscription-key", "access_token", "sig"])
def test_a_key_in_a_query_is_sent_and_not_shown(name: str) -> None:
    def serve(peer: Peer) -> None:
        target = peer.request()
        peer.send(answer(b"bad request: " + target.encode(), status="401 No"))

    with RawServer(serve) as server:
        backend = OpenAIBackend("m", base_url=f"{server.url}/v1?{name}=0123456789abc&x=shown")
        with MelleaSession(backend) as m, pytest.raises(AuthenticationError) as told:
            m.instruct("Go.")
        assert "0123456789abc" not in f"{told.value}{backend!r}{m!r}{backend._client!r}"
        assert "x=shown" in str(told.value)


def test_the_head_of_a_request_is_what_a_server_expects() -> None:
    heads: list[str] = []

    def serve(peer: Peer) -> None:
        while peer.request():
            heads.append(peer.head.decode())
            peer.send(answer(b"[]"))

    async def main(client: HttpClient) -> None:
        await client.get_json("/list", timeout=30)
        url, login = without_login(server.url.replace("//", "//me:p%40ss@"))
        with_key = open_client(url, credentials(None, login).headers, (), Limits())
        await with_key.exchange("POST", "/x", b"{}", lambda _: False)
        await with_key.transport.aclose()

    with RawServer(serve) as server:
        run_on("asyncio", server, main)
    got, posted = (head.split("\r\n") for head in heads)
    assert got[0] == "GET /list HTTP/1.1"
    assert got[1] == "Host: " + server.url.removeprefix("http://")
    assert {"Accept: */*", "Accept-Encoding: identity"} < set(got)
    assert [line for line in got if line.startswith("User-Agent: mellea-rx/")]
    assert {"Authorization: Basic bWU6cEBzcw==", "Content-Type: application/json"} < set(posted)
    assert "Content-Length: 2" in posted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("address", [7, b"http://localhost", ["http://localhost"]])
def test_what_is_no_text_is_no_address(kind: str, address: Any) -> None:
    with pytest.raises(InvalidInputError, match="base_url must be an http"):
        KINDS[kind]("m", base_url=address)
