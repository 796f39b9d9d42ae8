"""A client's connections: reused, closed, opened again, and left to the parent after a fork."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import gc
import os
import resource
import select
import socket
import ssl
import subprocess
import sys
import threading
import timeit
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import trustme
import uvloop
from yarl import URL

from mellea_rx import ConnectionFailedError, ConnectTimeoutError, ProtocolError, TLSError
from mellea_rx.backends import Limits
from mellea_rx.wire.connector import Slots
from mellea_rx.wire.http import HttpClient, open_client
from mellea_rx.wire.http1 import IDLE, Pool
from mellea_rx.wire.request_head import readability_test, written_head
from mellea_rx.wire.transport import RequestHead
from tests.core.hand import until
from tests.support.raw_server import Peer, RawServer, answer
from tests.support.server_process import ServerProcess
from tests.wire.loops import LOOPS

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"


class Listening:
    """A server on the test's own loop that answers every request with an empty list.

    Attributes:
        client: Speaks to it.
        accepted: How many connections it has accepted.
    """

    def __init__(self, port: int) -> None:
        self.client = open_client(f"http://127.0.0.1:{port}", {}, (), Limits())
        self.accepted = 0
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def open(self) -> int:
        """The number of open connections."""
        return len(self._open)

    async def ask(self) -> None:
        """Send one request."""
        assert await self.client.get_json("/list", timeout=30) == []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until the client closes it."""
        self.accepted += 1
        self._open.add(writer)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(ANSWER)
        except asyncio.IncompleteReadError:
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def leave(self) -> None:
        """Close the open connections."""
        for writer in self._open:
            writer.close()
        await until(lambda: not self._open)


@asynccontextmanager
async def listening() -> AsyncIterator[Listening]:
    """A server and its client; both are closed afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        here = Listening(bound.getsockname()[1])
        server = await asyncio.start_server(here.serve, sock=bound)
        async with server:
            yield here
            await here.client.transport.aclose()
            await here.leave()


def run(test: Callable[[Listening], Awaitable[None]]) -> None:
    """Run a test with a separate server."""

    async def main() -> None:
        async with listening() as here:
            await test(here)

    asyncio.run(main())


def test_a_connection_is_used_again_and_after_a_close_another_is_opened() -> None:
    async def test(here: Listening) -> None:
        transport = here.client.transport
        assert not transport.is_open
        for accepted in (1, 2, 3):
            await here.ask()
            await here.ask()
            assert transport.is_open
            assert (here.accepted, here.open) == (accepted, 1)
            await transport.aclose()
            await transport.aclose()
            assert not transport.is_open
            await until(lambda: not here.open)

    run(test)


def test_an_unused_connection_that_the_server_closes_is_not_kept() -> None:
    async def test(here: Listening) -> None:
        await here.ask()
        pool = here.client.transport._pool
        assert isinstance(pool, Pool)
        assert len(pool._free) == 1
        await here.leave()
        await until(lambda: not pool._open)
        assert pool._free == []

    run(test)


def test_nothing_is_kept_of_what_was_closed() -> None:
    async def test(here: Listening) -> None:
        await here.ask()
        kept = weakref.ref(here.client.transport._pool)
        await here.client.transport.aclose()
        gc.collect()
        assert kept() is None

    run(test)


def test_a_close_that_is_cancelled_closes_all_the_same() -> None:
    async def test(here: Listening) -> None:
        await here.ask()
        closing = asyncio.create_task(here.client.transport.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await until(lambda: not here.open)

    run(test)


def test_a_request_that_is_under_way_when_its_connections_close_fails() -> None:
    async def test(here: Listening) -> None:
        asking = asyncio.create_task(here.ask())
        await asyncio.sleep(0)
        await here.client.transport.aclose()
        with pytest.raises(ConnectionFailedError) as failed:
            await asking
        assert f"the connections to {here.client.origin} were closed" in str(failed.value)

    run(test)


def test_a_parents_connections_stay_open_and_are_not_used() -> None:
    async def test(here: Listening) -> None:
        transport = here.client.transport
        transport.after_fork_in_child()  # there are no connections
        await here.ask()
        left = weakref.ref(transport._pool)
        transport.after_fork_in_child()
        assert not transport.is_open
        gc.collect()
        await here.ask()
        assert (here.accepted, here.open) == (2, 2)
        await transport.aclose()
        await until(lambda: here.open == 1)
        pool = left()
        assert pool is not None
        await pool.aclose()  # this process is also the parent

    run(test)


def test_only_connections_that_were_unused_for_long_are_closed() -> None:
    async def test(here: Listening) -> None:
        await asyncio.gather(*(here.ask() for _ in range(3)))
        pool = here.client.transport._pool
        assert isinstance(pool, Pool)
        oldest, *newer = pool._free
        oldest.kept_since -= IDLE
        newer[1].kept_since += 5
        sweep_now(pool)
        await until(lambda: here.open == 2)
        assert pool._free == newer
        assert pool._sweeper is not None
        assert pool._sweeper.when() == pytest.approx(newer[0].kept_since + IDLE)
        for connection in newer:
            connection.kept_since -= IDLE + 5
        sweep_now(pool)
        await until(lambda: not here.open)
        assert pool._free == []
        assert pool._sweeper is None

    run(test)


def sweep_now(pool: Pool) -> None:
    """Close the connections that were unused for too long, without the wait for the timer."""
    assert pool._sweeper is not None
    pool._sweeper.cancel()
    pool._sweep()


def test_a_written_head_does_not_show_its_key() -> None:
    head = RequestHead("GET", URL("http://server/list"), {"Authorization": "Bearer key"})
    assert repr(written_head(head)) == "***"
    assert b"Bearer key" in written_head(head)


@pytest.mark.parametrize("has_poll", [True, False], ids=["poll", "select"])
def test_unread_bytes_of_a_socket_are_seen_without_a_wait(
    has_poll: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_poll:
        monkeypatch.delattr(select, "poll")  # as on Windows
    near, far = socket.socketpair()
    with near, far:
        is_readable = readability_test(near.fileno())
        assert is_readable() is False
        assert min(timeit.repeat(is_readable, number=20)) < 0.01
        far.send(b"x")
        assert is_readable() is True
        near.recv(1)
        far.close()
        assert is_readable() is True


@pytest.mark.skipif(not hasattr(select, "poll"), reason="select() has a limit of 1,024")
def test_a_connection_may_have_a_high_descriptor() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, limits[1]), limits[1]))
    near, far = socket.socketpair()
    with near, far:
        high = fcntl.fcntl(near.fileno(), fcntl.F_DUPFD, 2000)
        try:
            assert not readability_test(high)()
            far.send(b"x")
            assert readability_test(high)()
        finally:
            os.close(high)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_an_address_whose_hosts_fail_in_different_ways_tells_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        found = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("255.255.255.255", port)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        client: HttpClient = open_client(f"http://two.example:{port}", {}, (), Limits())

        async def main() -> None:
            try:
                await client.get_json("/list", timeout=30)
            finally:
                await client.transport.aclose()

        with pytest.raises(ConnectionFailedError) as failed:
            asyncio.run(main())
    assert f"no server answers at http://two.example:{port} (Multiple" in str(failed.value)
    assert "::1" in str(failed.value)


@asynccontextmanager
async def served(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[HttpClient]:
    """A client of a server with this connection handler; both are closed afterwards."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        finally:
            writer.close()

    async with await asyncio.start_server(one, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = open_client(f"http://127.0.0.1:{port}", {}, (), Limits())
        yield client
        await client.transport.aclose()


@pytest.mark.parametrize("asked", ["GET", "POST"])
def test_what_changes_nothing_is_asked_again_where_a_kept_connection_was_closed(asked: str) -> None:
    connections = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the first request, and close the connection when the second arrives."""
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await reader.readuntil(b"\r\n\r\n")

    async def main() -> None:
        async with served(once) as client:
            body = b"{}" if asked == "POST" else None
            await client.exchange("GET", "/list", None, lambda _: False)
            again = client.exchange(asked, "/list", body, lambda _: False)
            if asked == "GET":
                await again
            else:
                with pytest.raises(ConnectionFailedError, match="closed the connection before"):
                    await again

    asyncio.run(main())
    assert connections == (2 if asked == "GET" else 1)


@pytest.mark.parametrize("answers", [False, True], ids=["no head yet", "within the answer"])
def test_a_request_that_is_given_up_is_not_sent_to_its_end(answers: bool) -> None:
    body = b"x" * 64_000_000
    taken = 0

    async def main() -> None:
        begun, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            """Read the head, and the rest only after the client has closed the connection."""
            nonlocal taken
            await reader.readuntil(b"\r\n\r\n")
            if answers:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[")
            begun.set()
            await go_on.wait()
            try:
                while piece := await reader.read(1_000_000):
                    taken += len(piece)
            except ConnectionError:
                pass
            done.set()

        def first(_: bytes) -> bool:
            come.set()
            return False

        come = asyncio.Event()
        async with served(slow) as client:
            asking = asyncio.create_task(client.exchange("POST", "/", body, first))
            await (come if answers else begun).wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            go_on.set()
            async with asyncio.timeout(5):
                await done.wait()

    asyncio.run(main())
    assert taken < len(body)


@pytest.mark.parametrize("status", [100, 102, 103, 199])
def test_what_is_said_ahead_of_an_answer_is_no_answer(status: int) -> None:
    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d Ahead\r\n\r\n" % status * 2 + ANSWER)
        await reader.read()

    async def main() -> None:
        async with served(twice) as client:
            assert await client.get_json("/list", timeout=30) == []

    asyncio.run(main())


@pytest.mark.parametrize("head", [b"", b"Connection: upgrade\r\nUpgrade: websocket\r\n"])
def test_another_protocol_is_refused_at_once(head: bytes) -> None:
    async def switch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n" + head + b"\r\n")
        await reader.read()

    async def main() -> None:
        async with served(switch) as client:
            with pytest.raises(ProtocolError, match="status 101"):
                await client.get_json("/list", timeout=30)

    asyncio.run(main())


def test_a_list_that_is_waited_for_when_its_connections_close_fails() -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            asked.set()
            await reader.read()

        async with served(never) as client:
            asking = asyncio.create_task(client.get_json("/list", timeout=30))
            await asked.wait()
            await client.transport.aclose()
            with pytest.raises(ConnectionFailedError):
                await asking

    asyncio.run(main())


def test_a_cancel_closes_no_connection_that_another_request_has_got_meanwhile() -> None:
    async def test(here: Listening) -> None:
        transport = here.client.transport
        head = RequestHead("GET", URL(f"{here.client.origin}/list"), {})
        loop = asyncio.get_running_loop()
        answered = loop.create_future()

        async def second() -> None:
            await answered
            await transport.send(head, None, lambda _: True, lambda _: None)

        def feed(_: bytes) -> bool:
            # In one turn of the loop: the first request is cancelled, and the second one sent.
            loop.call_soon(first.cancel)
            answered.set_result(None)
            return True

        other = asyncio.ensure_future(second())
        first = asyncio.ensure_future(transport.send(head, None, feed, lambda _: None))
        await asyncio.wait_for(other, 30)
        assert first.cancelled()

    run(test)


def test_requests_that_are_cancelled_while_they_connect_leave_nothing() -> None:
    async def test(here: Listening) -> None:
        transport = here.client.transport
        head = RequestHead("GET", URL(f"{here.client.origin}/list"), {})
        for turns in range(150):
            request = asyncio.ensure_future(
                transport.send(head, None, lambda _: False, lambda _: None)
            )
            for _ in range(turns % 15):
                await asyncio.sleep(0)
            request.cancel()
            await asyncio.wait({request})
            if transport._pool is not None:  # a task that is cancelled at once never began
                transport._pool.discard_kept()
        await until(lambda: not transport._pool._open)
        await here.ask()

    async def main() -> None:
        async with listening() as here:
            await test(here)
            await here.client.transport.aclose()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    asyncio.run(main())


SLOW_NAME = """
import asyncio, socket, threading, time
real = socket.getaddrinfo
def lookup(host, *args, **more):
    if host == "slow.test":
        threading.Event().wait()  # for ever: a lookup cannot be interrupted
    return real(host, *args, **more)
socket.getaddrinfo = lookup
from mellea_rx import ConnectTimeoutError, MelleaSession, OllamaBackend
from mellea_rx.backends import Limits
def session(host):
    url = f"http://{host}:PORT"
    return MelleaSession(OllamaBackend("m", base_url=url, limits=Limits(connect=0.3)), retries=0)
async def main():
    slow = [await session("slow.test").ainstruct("Go.") for _ in range(8)]
    print(await (await session("localhost").ainstruct("Go.")).avalue())
    for thunk in slow:
        try:
            await thunk
        except ConnectTimeoutError:
            print("too long")
asyncio.run(main())
"""


def test_a_lookup_that_never_ends_delays_neither_other_names_nor_the_exit(
    server: ServerProcess,
) -> None:
    server.script("m", chunks=["ok"])
    program = SLOW_NAME.replace("PORT", str(server.port))
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.split("\n")[:-1] == ["ok", *["too long"] * 8]


def test_the_zone_of_an_address_stays_on_this_machine() -> None:
    head = written_head(RequestHead("GET", URL("http://[fe80::1%25eth0]:80/list"), {}))
    assert b"Host: [fe80::1]" in bytes(head)
    assert b"eth0" not in bytes(head)


async def asked_of(client: HttpClient) -> ConnectionFailedError:
    """The error of a request that finds no server."""
    with pytest.raises(ConnectionFailedError) as failed:
        await client.get_json("/list", timeout=30)
    await client.transport.aclose()
    return failed.value


def test_a_name_whose_addresses_all_refuse_is_no_server() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        origin = f"http://localhost:{taken.getsockname()[1]}"
        error = asyncio.run(asked_of(open_client(origin, {}, (), Limits())))
    assert str(error).startswith(f"no server answers at {origin} (")


def test_a_lookup_that_fails_for_another_reason_than_the_name_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lookup(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "no file left")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    error = asyncio.run(asked_of(open_client("http://host.example", {}, (), Limits())))
    assert str(error) == "no server answers at http://host.example (too many open files)"


def test_the_addresses_of_a_name_are_looked_up_once_for_many_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, looked_up = socket.getaddrinfo, []

    def lookup(host: str, *args: Any, **more: Any) -> Any:
        looked_up.append(host)
        return real("127.0.0.1", *args, **more)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER.replace(b"200 OK\r\n", b"200 OK\r\nConnection: close\r\n"))

    async def main() -> None:
        async with served(answer) as other:
            port = URL(other.origin).port
            client = open_client(f"http://host.example:{port}", {}, (), Limits())
            for _ in range(3):
                assert await client.get_json("/list", timeout=30) == []
            await client.transport.aclose()

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    asyncio.run(main())
    assert looked_up.count("host.example") == 1


@pytest.mark.parametrize("loop_is_gone", [False, True])
def test_a_lookup_that_nobody_waits_for_any_more_fails_in_silence(
    loop_is_gone: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fail, raised = threading.Event(), []

    def lookup(*_: object, **__: object) -> None:
        assert fail.wait(30)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    def lookups() -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each.name == "mellea-rx-lookup"]

    async def main() -> None:
        client = open_client("http://host.example", {}, (), Limits())
        asking = asyncio.create_task(client.get_json("/list", timeout=30))
        await until(lookups)
        asking.cancel()
        await asyncio.wait({asking})
        if not loop_is_gone:
            fail.set()
            await until(lambda: not lookups())
            await asyncio.sleep(0.01)
        await client.transport.aclose()

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(threading, "excepthook", raised.append)
    asyncio.run(main())
    fail.set()
    for thread in lookups():
        thread.join(30)
    gc.collect()
    assert (raised, caplog.text) == ([], "")


@contextmanager
def named(*addresses: str) -> Iterator[None]:
    """The host "models.test" has these addresses."""
    real = socket.getaddrinfo

    def lookup(host: str, *args: Any, **more: Any) -> Any:
        hosts = addresses if host == "models.test" else (host,)
        return [found for each in hosts for found in real(each, *args, **more)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lookup)
        yield


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("127.0.0.2", "127.0.0.1")])
@pytest.mark.parametrize("secure", [False, True])
def test_of_the_addresses_of_a_name_the_one_that_answers_is_used(
    loop: str, addresses: tuple[str, ...], secure: bool, authority: trustme.CA
) -> None:
    """Nobody listens at 127.0.0.2. The certificate is that of the name."""

    def serve(peer: Peer) -> None:
        while peer.request():
            peer.send(answer(b"[]"))

    async def main(url: str) -> None:
        client = open_client(url, {}, (), Limits())
        for _ in range(2):
            assert await client.get_json("/list", timeout=30) == []
        await client.transport.aclose()

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("models.test").configure_cert(tls)
    with named(*addresses), RawServer(serve, tls=tls if secure else None) as server:
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(main(server.url.replace("127.0.0.1", "models.test")))
        assert server.accepted == 1


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("127.0.0.2", "127.0.0.1")])
def test_a_certificate_of_another_name_is_refused(
    loop: str, addresses: tuple[str, ...], authority: trustme.CA
) -> None:
    async def main(url: str) -> None:
        client = open_client(url, {}, (), Limits())
        with pytest.raises(TLSError, match="is not trusted"):
            await client.get_json("/list", timeout=30)
        await client.transport.aclose()

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.test").configure_cert(tls)
    with (
        named(*addresses),
        RawServer(lambda peer: peer.request(), tls=tls) as server,
        asyncio.Runner(loop_factory=LOOPS[loop]) as runner,
    ):
        runner.run(main(server.url.replace("127.0.0.1", "models.test")))


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("127.0.0.2", "127.0.0.1")])
def test_a_server_that_says_nothing_in_the_handshake_ends_at_the_limit_of_connecting(
    addresses: tuple[str, ...],
) -> None:
    async def main(url: str) -> None:
        client = open_client(url, {}, (), Limits(connect=0.2))
        with pytest.raises(ConnectTimeoutError, match=r"within 0\.2 s"):
            await client.get_json("/list", timeout=30)
        await client.transport.aclose()

    with named(*addresses), RawServer(lambda peer: peer.wait_for_close()) as server:
        asyncio.run(main(server.url.replace("http://127.0.0.1", "https://models.test")))


def test_an_address_of_ipv6_needs_no_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []
    real = socket.getaddrinfo

    def lookup(host: str, *args: Any, **more: Any) -> Any:
        if threading.current_thread().name == "mellea-rx-lookup":
            looked_up.append(host)
        return real(host, *args, **more)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(serve, "::1", 0) as bound:
            port = bound.sockets[0].getsockname()[1]
            client = open_client(f"http://[::1]:{port}", {}, (), Limits())
            assert await client.get_json("/list", timeout=30) == []
            await client.transport.aclose()

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    asyncio.run(main())
    assert looked_up == []


def test_slots_are_as_many_after_they_were_given_back() -> None:
    slots = Slots(3)
    for _ in range(2):
        assert [slots.take() for _ in range(4)] == [True, True, True, False]
        for _ in range(3):
            slots.give_back()
