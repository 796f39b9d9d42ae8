"""Responses as servers send them, good and bad: heads, framings, half-closes, resets, floods."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time

import pytest

from mellea_rx import (
    BadRequestError,
    ConnectionFailedError,
    ProtocolError,
    ServerError,
    StreamInterruptedError,
)
from mellea_rx.backends import Limits
from mellea_rx.wire.http import HttpClient
from tests.support.raw_server import Peer, RawServer, answer
from tests.wire.loops import LOOPS, run_on

on_both_loops = pytest.mark.parametrize("loop", LOOPS)


async def fetch(client: HttpClient, method: str = "POST", body: bytes = b"{}") -> bytes:
    """The body of one answer."""
    blocks: list[bytes] = []

    def keep(block: bytes) -> bool:
        blocks.append(block)
        return False

    await client.exchange(method, "/", body if method == "POST" else None, keep)
    return b"".join(blocks)


def fetched(loop: str, *pieces: bytes, wait: float = 0, limits: Limits | None = None) -> bytes:
    """The result of a request to a server that writes these pieces and closes the connection."""

    def serve(peer: Peer) -> None:
        peer.request()
        for piece in pieces:
            peer.send(piece)
            time.sleep(wait)

    got: list[bytes] = []

    async def main(client: HttpClient) -> None:
        got.append(await fetch(client))

    with RawServer(serve) as server:
        run_on(loop, server, main, limits)
    return got[0]


GOOD = {
    "a length": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n",
    "the end of the connection": b"HTTP/1.1 200 OK\r\n\r\nhi",
    "a close that is announced": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhi",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nhi",
    "HTTP/1.0, kept": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
    "empty lines ahead": b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "no reason": b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi",
    "a folded line": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nhi",
    "Latin-1": b"HTTP/1.1 200 \xe9\r\nX: \xe9\r\nContent-Length: 2\r\n\r\nhi",
    "an empty encoding": b"HTTP/1.1 200 OK\r\nContent-Encoding:\r\nContent-Length: 2\r\n\r\nhi",
    "identity": b"HTTP/1.1 200 OK\r\nContent-Encoding: Identity\r\nContent-Length: 2\r\n\r\nhi",
    "extensions": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b\r\nhi\r\n0;c\r\n\r\n"
    ),
    "trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
        b"Content-Encoding: gzip\r\nX: y\r\n\r\n"
    ),
    "spaces after a size": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nhi\r\n0\r\n\r\n"
    ),
    "an upgrade that is offered": (
        b"HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi"
    ),
    "headers as long as those of framing": (
        b"HTTP/1.1 200 OK\r\nWWW-Authenticate: gzip\r\nX-Request-Id-Abc: 1\r\n\r\nhi"
    ),
}


@on_both_loops
@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("cut", ["in one go", "byte by byte"])
def test_every_framing_is_read(loop: str, kind: str, cut: str) -> None:
    whole = GOOD[kind]
    pieces = [whole] if cut == "in one go" else [bytes([byte]) for byte in whole]
    assert fetched(loop, *pieces, wait=0 if len(pieces) == 1 else 0.0002) == b"hi"


BROKEN = {
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nhi\r\n",
    "a length": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
    "a length in another case": b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 3\r\n\r\nhi",
}


@on_both_loops
@pytest.mark.parametrize("kind", BROKEN)
def test_an_answer_with_a_framing_is_not_complete_when_the_connection_ends(
    loop: str, kind: str
) -> None:
    with pytest.raises(
        StreamInterruptedError, match=r"broke off \(the connection closed before its end\)"
    ):
        fetched(loop, BROKEN[kind])


@on_both_loops
def test_json_may_be_posted(loop: str) -> None:
    def serve(peer: Peer) -> None:
        peer.request()
        asked = [peer.head.split()[0].decode(), peer.body.decode()]
        peer.send(answer(json.dumps(asked).encode()))

    async def main(client: HttpClient) -> None:
        assert await client.get_json("/", timeout=30, body=b'{"a": 1}') == ["POST", '{"a": 1}']

    with RawServer(serve) as server:
        run_on(loop, server, main)


CODED = [b"gzip", b"gzip, chunked", b"deflate"]


@on_both_loops
@pytest.mark.parametrize("coding", CODED)
def test_a_transfer_coding_that_packs_is_refused_by_name(loop: str, coding: bytes) -> None:
    with pytest.raises(ProtocolError, match=f"compressed \\({coding.decode()}\\)"):
        fetched(loop, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + coding + b"\r\n\r\n")


@on_both_loops
@pytest.mark.parametrize("count", [9, 10])
def test_a_few_informational_responses_are_skipped(loop: str, count: int) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * count
    assert fetched(loop, early + GOOD["a length"]) == b"hi"
    assert fetched(loop, early, GOOD["a length"], wait=0.01) == b"hi"


@on_both_loops
@pytest.mark.parametrize("more", [b"", b"Link: </x>\r\n"])
def test_informational_responses_without_end_are_refused(loop: str, more: bytes) -> None:
    """They delay no other request, and are not reused."""
    stopped = threading.Event()

    def flood(peer: Peer) -> None:
        peer.request()
        try:
            while True:
                peer.send((b"HTTP/1.1 100 Continue\r\n" + more + b"\r\n") * 2000)
        except OSError:
            stopped.set()

    async def main(client: HttpClient) -> None:
        with pytest.raises(ProtocolError, match="more than 10 informational responses"):
            await fetch(client)
        assert await asyncio.to_thread(stopped.wait, 5)

    with RawServer(flood) as server:
        run_on(loop, server, main)


HEADS = {
    "a long line": [b"HTTP/1.1 200 OK\r\nX: ", b"x" * 70_000],
    "many lines": [b"HTTP/1.1 200 OK\r\n", b"X: x\r\n" * 20_000],
    "a line without end": [b"HTTP/1.1 200 OK\r\nX: ", *[b"x" * 5000] * 20],
    "a long reason": [b"HTTP/1.1 200 ", *[b"x" * 5000] * 20],
    "trailers without end": [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
        *[b"x" * 5000] * 20,
    ],
    "an extension without end": [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
        *[b"x" * 5000] * 20,
    ],
}


@on_both_loops
@pytest.mark.parametrize("kind", HEADS)
def test_a_head_has_a_cap(loop: str, kind: str) -> None:
    ended = threading.Event()

    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(HEADS[kind][0])
        time.sleep(0.02)
        for piece in HEADS[kind][1:]:
            peer.send(piece)
        peer.wait_for_close()
        ended.set()

    async def main(client: HttpClient) -> None:
        with pytest.raises((ProtocolError, StreamInterruptedError), match=r"more than 65,536 b"):
            await fetch(client)

    with RawServer(serve) as server:
        run_on(loop, server, main)


@on_both_loops
def test_a_head_within_the_cap_is_taken(loop: str) -> None:
    lines = b"".join(b"X-%d: %s\r\n" % (n, b"x" * 1000) for n in range(50))
    assert fetched(loop, b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: 2\r\n\r\nhi") == b"hi"


def test_all_that_was_read_before_a_reset_is_fed() -> None:
    sent = b"".join(b"%06d" % n for n in range(20_000))
    for loop in LOOPS:
        read, blocks = threading.Event(), bytearray()

        def serve(peer: Peer, read: threading.Event = read) -> None:
            peer.request()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + sent)
            read.wait(30)
            peer.reset()

        def keep(block: bytes, blocks: bytearray = blocks, read: threading.Event = read) -> bool:
            blocks += block
            if len(blocks) == len(sent):
                read.set()
            return False

        async def main(client: HttpClient, keep: object = keep) -> None:
            with pytest.raises(StreamInterruptedError, match="reset"):
                await client.exchange("POST", "/", b"{}", keep)  # type: ignore[arg-type]

        with RawServer(serve) as server:
            run_on(loop, server, main)
        assert bytes(blocks) == sent


@on_both_loops
@pytest.mark.parametrize("status", [200, 413, 503])
def test_an_answer_that_comes_before_the_request_is_sent_is_taken(loop: str, status: int) -> None:
    """The server reads the head, answers, and never reads the body, of which 8 MB are unsent."""
    done = threading.Event()

    def serve(peer: Peer) -> None:
        ahead = b""
        while b"\r\n\r\n" not in ahead:
            ahead += peer.socket.recv(100)
        peer.send(answer(b"hi", status=f"{status} Early"))
        done.wait(30)

    async def main(client: HttpClient) -> None:
        for _ in range(2):
            if status == 200:
                assert await fetch(client, body=b"x" * 8_000_000) == b"hi"
            else:
                with pytest.raises((BadRequestError, ServerError), match=f"status {status}: hi"):
                    await fetch(client, body=b"x" * 8_000_000)
        done.set()

    with RawServer(serve) as server:
        run_on(loop, server, main)
        assert server.accepted == 2  # the unsent rest would be read as another request


@on_both_loops
def test_a_server_that_closes_its_half_and_reads_no_more_is_not_waited_for(loop: str) -> None:
    done = threading.Event()

    def serve(peer: Peer) -> None:
        peer.socket.recv(100)
        peer.socket.shutdown(socket.SHUT_WR)
        done.wait(30)

    async def main(client: HttpClient) -> None:
        async with asyncio.timeout(20):
            with pytest.raises(ConnectionFailedError, match="closed the connection before"):
                await fetch(client, body=b"x" * 8_000_000)
        done.set()

    with RawServer(serve) as server:
        run_on(loop, server, main)


@on_both_loops
def test_a_server_that_does_not_read_is_left_when_the_call_is_cancelled(loop: str) -> None:
    seen: list[str] = []

    def serve(peer: Peer) -> None:
        peer.socket.recv(100)
        time.sleep(0.3)
        peer.wait_for_close()
        seen.append("closed")

    async def main(client: HttpClient) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await fetch(client, body=b"x" * 32_000_000)

    with RawServer(serve) as server:
        run_on(loop, server, main)
    assert seen == ["closed"]


@on_both_loops
@pytest.mark.parametrize("status", [304, 204, 201])
def test_a_status_that_is_no_answer_is_not_waited_for(loop: str, status: int) -> None:
    def serve(peer: Peer) -> None:
        while peer.request():
            peer.send(b"HTTP/1.1 %d X\r\nContent-Length: 99\r\n\r\n" % status)

    async def main(client: HttpClient) -> None:
        async with asyncio.timeout(2):
            with pytest.raises(ProtocolError, match=f"sent status {status}, which is no") as told:
                await fetch(client)
        assert not told.value.is_transient

    with RawServer(serve) as server:
        run_on(loop, server, main)


@on_both_loops
def test_a_connection_that_brought_an_error_is_used_again(loop: str) -> None:
    def serve(peer: Peer) -> None:
        for n in range(4):
            peer.request()
            peer.send(answer(b"busy", status="503 Busy") if n % 2 == 0 else answer(b"hi"))

    async def main(client: HttpClient) -> None:
        for _ in range(2):
            with pytest.raises(ServerError, match="busy"):
                await fetch(client)
            assert await fetch(client) == b"hi"

    with RawServer(serve) as server:
        run_on(loop, server, main)
        assert server.accepted == 1


@on_both_loops
def test_what_is_not_http_is_shown_from_its_beginning(loop: str) -> None:
    with pytest.raises(ProtocolError, match=r"did not answer in HTTP.*220 mail"):
        fetched(loop, b"220 mail.example ", b"ESMTP ", b"ready\r\n", wait=0.05)
