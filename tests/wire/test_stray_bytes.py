"""Bytes without a request: no response is ever passed to another request."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable

import pytest

from mellea_rx import ConnectionFailedError, ProtocolError
from mellea_rx.backends import Limits
from mellea_rx.wire.http import HttpClient
from tests.support.raw_server import Peer, RawServer, answer
from tests.wire.loops import LOOPS, client_of, run_on

on_both_loops = pytest.mark.parametrize("loop", LOOPS)


def numbered(peer: Peer, before: Callable[[Peer], None], after: Callable[[Peer], None]) -> None:
    """Answer each request with its own target, and call functions before and after the first
    answer."""
    is_first = True
    while target := peer.request():
        if is_first and peer.number == 1:
            before(peer)
        peer.send(answer(json.dumps(target).encode()))
        if is_first and peer.number == 1:
            after(peer)
        is_first = False


def nothing(_: Peer) -> None:
    """Send nothing further."""


def in_turn(client: HttpClient, between: Callable[[], Awaitable[None]]) -> Awaitable[list[str]]:
    """Send three requests, one after another; returns the answers."""

    async def ask() -> list[str]:
        answers = []
        for each in ("/1", "/2", "/3"):
            answers.append(await client.get_json(each, timeout=30))
            await between()
        return answers

    return ask()


STRAYS = {
    "a second answer": answer(b'"/stray"'),
    "a timeout": answer(b"", "Connection: close", status="408 Request Timeout"),
    "half an answer": b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"/stray',
    "a head": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "one byte": b"H",
    "noise": b"\x00\xff" * 9,
}


@on_both_loops
@pytest.mark.parametrize("stray", STRAYS)
def test_what_stands_behind_an_answer_in_the_same_block_is_nobodys(loop: str, stray: str) -> None:
    def serve(peer: Peer) -> None:
        while target := peer.request():
            more = STRAYS[stray] if peer.number == 1 else b""
            peer.send(answer(json.dumps(target).encode()) + more)

    async def main(client: HttpClient) -> None:
        assert await in_turn(client, _at_once) == ["/1", "/2", "/3"]

    with RawServer(serve) as server:
        run_on(loop, server, main)
        assert server.accepted == 2


@on_both_loops
@pytest.mark.parametrize("stray", STRAYS)
def test_what_arrives_on_an_idle_connection_closes_it(loop: str, stray: str) -> None:
    closed = threading.Event()

    def after(peer: Peer) -> None:
        peer.send(STRAYS[stray])
        peer.wait_for_close()
        closed.set()

    async def main(client: HttpClient) -> None:
        async def until_closed() -> None:
            await asyncio.to_thread(closed.wait, 5)

        assert await in_turn(client, until_closed) == ["/1", "/2", "/3"]

    with RawServer(lambda peer: numbered(peer, nothing, after)) as server:
        run_on(loop, server, main)
        assert server.accepted == 2
    assert closed.is_set()


@on_both_loops
@pytest.mark.parametrize("stray", [*STRAYS, "a close"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_the_loop_has_not_read_yet_is_seen_before_a_request_is_sent(
    loop: str, stray: str, method: str
) -> None:
    go_on, sent = threading.Event(), threading.Event()

    def after(peer: Peer) -> None:
        go_on.wait(30)
        if stray == "a close":
            peer.socket.close()
        else:
            peer.send(STRAYS[stray])
        sent.set()

    async def main(client: HttpClient) -> None:
        assert await client.get_json("/1", timeout=30) == "/1"
        go_on.set()
        # The loop is blocked meanwhile: the bytes are in the kernel's buffer only.
        assert sent.wait(30)
        for target in ("/2", "/3"):
            blocks: list[bytes] = []
            body = b"{}" if method == "POST" else None
            await client.exchange(method, target, body, lambda b, to=blocks: to.append(b))
            assert json.loads(b"".join(blocks)) == target

    with RawServer(lambda peer: numbered(peer, nothing, after)) as server:
        run_on(loop, server, main)
        assert server.accepted == 2


@on_both_loops
def test_a_greeting_before_any_request_is_no_answer(loop: str) -> None:
    def greet(peer: Peer) -> None:
        peer.send(b"220 ready\r\n")
        peer.wait_for_close()

    async def main(client: HttpClient) -> None:
        for _ in range(5):
            with pytest.raises(ProtocolError, match="220 ready"):
                await client.get_json("/1", timeout=30)

    with RawServer(greet) as server:
        run_on(loop, server, main, Limits(connections=1))


@on_both_loops
def test_a_connection_that_closes_at_once_takes_no_slot(loop: str) -> None:
    async def main(client: HttpClient) -> None:
        for _ in range(20):
            with pytest.raises(ConnectionFailedError):
                await client.get_json("/1", timeout=30)

    with RawServer(lambda peer: peer.reset() if peer.number % 2 else None) as server:
        run_on(loop, server, main, Limits(connections=1))


@on_both_loops
def test_a_connection_whose_answer_settled_early_is_used_again_after_its_end(loop: str) -> None:
    """The answer is complete with the first chunk; the message ends a moment later."""

    def serve(peer: Peer) -> None:
        while peer.request():
            peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndone\r\n")
            peer.send(b"0\r\n\r\n")

    async def main(client: HttpClient) -> None:
        for _ in range(3):
            await client.exchange("POST", "/", b"{}", lambda block: block == b"done")
            await asyncio.sleep(0.05)

    with RawServer(serve) as server:
        run_on(loop, server, main, Limits(trailing=5))
        assert server.accepted == 1


@on_both_loops
def test_a_connection_whose_message_does_not_end_is_not_used_again(loop: str) -> None:
    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndone\r\n")
        peer.wait_for_close()

    async def main(client: HttpClient) -> None:
        for _ in range(3):
            await client.exchange("POST", "/", b"{}", lambda block: block == b"done")

    with RawServer(serve) as server:
        run_on(loop, server, main, Limits(trailing=0.01))
        assert server.accepted == 3


@on_both_loops
def test_a_connection_whose_message_does_not_end_is_closed_after_a_moment(loop: str) -> None:
    closed = threading.Event()

    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndone\r\n")
        peer.wait_for_close()
        closed.set()

    async def main(client: HttpClient) -> None:
        await client.exchange("POST", "/", b"{}", lambda block: block == b"done")
        assert await asyncio.to_thread(closed.wait, 20)

    with RawServer(serve) as server:
        run_on(loop, server, main, Limits(trailing=0.01))


@on_both_loops
def test_a_connection_that_the_server_says_it_closes_is_not_used_again(loop: str) -> None:
    """Though the server leaves it open, and would answer."""

    def serve(peer: Peer) -> None:
        while peer.request():
            peer.send(answer(b"[]", "Connection: close"))

    async def main(client: HttpClient) -> None:
        for _ in range(2):
            assert await client.get_json("/", timeout=30) == []

    with RawServer(serve) as server:
        run_on(loop, server, main)
        assert server.accepted == 2


@on_both_loops
@pytest.mark.parametrize(("method", "asked"), [("GET", 2), ("POST", 1)])
def test_only_a_get_is_sent_again_where_nothing_of_an_answer_came(
    loop: str, method: str, asked: int
) -> None:
    """The server closes the connection when it has read the second request."""

    def serve(peer: Peer) -> None:
        for _ in range(1 if peer.number == 1 else 5):
            peer.request()
            peer.send(answer(b"[]"))
        peer.request()

    async def main(client: HttpClient) -> None:
        assert await client.get_json("/1", timeout=30) == []
        again = client.exchange(method, "/2", b"{}" if method == "POST" else None, lambda _: False)
        if method == "GET":
            await again
        else:
            with pytest.raises(ConnectionFailedError, match="closed the connection before"):
                await again

    with RawServer(serve) as server:
        run_on(loop, server, main)
        assert server.accepted == asked


@on_both_loops
def test_a_get_of_whose_answer_something_came_is_not_sent_again(loop: str) -> None:
    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(answer(b"[]"))
        peer.request()
        peer.send(b"HTTP/1.1 2")

    async def main(client: HttpClient) -> None:
        assert await client.get_json("/1", timeout=30) == []
        with pytest.raises(ConnectionFailedError, match="closed the connection before"):
            await client.get_json("/2", timeout=30)

    with RawServer(serve) as server:
        run_on(loop, server, main)
        assert server.accepted == 1


async def _at_once() -> None:
    """Go on without a turn of the loop."""


def test_a_client_is_closed_by_its_helper() -> None:
    with RawServer(lambda peer: peer.wait_for_close()) as server:
        assert not client_of(server).transport.is_open
