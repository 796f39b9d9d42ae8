"""TLS over the library's own connections: certificates, and a server that demands one of the
client."""

from __future__ import annotations

import asyncio
import ssl

import pytest
import trustme

from mellea_rx import (
    MelleaSession,
    ModelOption,
    OllamaBackend,
    OpenAIBackend,
    RetryPolicy,
    TLSError,
)
from mellea_rx.wire.http import HttpClient
from tests.support.raw_server import Peer, RawServer, answer
from tests.wire.loops import LOOPS, run_on

on_both_loops = pytest.mark.parametrize("loop", LOOPS)
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def context(authority: trustme.CA, version: str) -> ssl.SSLContext:
    """A server's TLS settings for one version only."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(made)
    made.minimum_version = made.maximum_version = VERSIONS[version]
    return made


@on_both_loops
@pytest.mark.parametrize("version", VERSIONS)
def test_a_connection_with_tls_is_used_again(
    loop: str, version: str, authority: trustme.CA
) -> None:
    def serve(peer: Peer) -> None:
        while peer.request():
            peer.send(answer(b"[]"))

    async def main(client: HttpClient) -> None:
        for _ in range(3):
            assert await client.get_json("/", timeout=30) == []
            await asyncio.sleep(0.02)

    with RawServer(serve, tls=context(authority, version)) as server:
        run_on(loop, server, main)
        assert server.accepted == 1


@on_both_loops
@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_demands_a_certificate_is_told_by_what_it_demands(
    loop: str, version: str, authority: trustme.CA
) -> None:
    async def main(client: HttpClient) -> None:
        for _ in range(5):
            with pytest.raises(TLSError, match="client certificate") as told:
                await client.exchange("POST", "/", b"{}", lambda _: False)
            assert not told.value.is_transient

    tls = context(authority, version)
    tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(tls)
    with RawServer(lambda peer: peer.request(), tls=tls) as server:
        run_on(loop, server, main)


@pytest.mark.parametrize("kind", [OllamaBackend, OpenAIBackend])
def test_such_a_server_is_running_and_asked_once(kind: type, authority: trustme.CA) -> None:
    tls = context(authority, "1.3")
    tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(tls)
    retries = {ModelOption.RETRIES: RetryPolicy(tries=3, initial=0.01)}
    with RawServer(lambda peer: peer.request(), tls=tls) as server:
        with (
            MelleaSession(kind("m", base_url=server.url), model_options=retries) as m,
            pytest.raises(TLSError, match="client certificate") as told,
        ):
            m.instruct("Go.")
        assert "start" not in str(told.value)
        assert server.accepted == 1
