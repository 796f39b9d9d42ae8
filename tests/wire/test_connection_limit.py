"""A limit on connections: further requests wait in order, and none is lost."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress

import pytest

from mellea_rx import (
    ConnectionFailedError,
    ConnectTimeoutError,
    FirstTokenTimeoutError,
    InvalidInputError,
    MelleaSession,
    ModelOption,
    OllamaBackend,
    OpenAIBackend,
    TotalTimeoutError,
)
from mellea_rx.backends import Limits
from mellea_rx.wire.connector import Slots, default_connections
from mellea_rx.wire.http import HttpClient
from tests.core.hand import PATIENCE, until
from tests.core.python import ROOT
from tests.support.raw_server import Peer, RawServer, answer
from tests.support.server_process import ServerProcess
from tests.wire.loops import LOOPS, run_on

on_both_loops = pytest.mark.parametrize("loop", LOOPS)


def test_the_default_is_half_of_the_files_that_may_be_open() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert default_connections() == soft // 2


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "9"])
def test_a_limit_that_is_no_whole_number_above_0_is_refused(count: object) -> None:
    with pytest.raises(InvalidInputError, match=r"Limits\(connections=...\) must be a whole numb"):
        Limits(connections=count)  # type: ignore[arg-type]


@on_both_loops
def test_further_requests_wait_and_are_sent_in_their_order(loop: str) -> None:
    asked: list[str] = []
    lock = threading.Lock()

    def serve(peer: Peer) -> None:
        while target := peer.request():
            with lock:
                asked.append(target)
            time.sleep(0.005)
            peer.send(answer(b"[]"))

    async def main(client: HttpClient) -> None:
        await asyncio.gather(*(client.get_json(f"/{n}", timeout=20) for n in range(40)))

    with RawServer(serve) as server:
        run_on(loop, server, main, Limits(connections=1))
        assert (server.accepted, server.most) == (1, 1)
        assert asked == [f"/{n}" for n in range(40)]

    with RawServer(serve) as server:
        run_on(loop, server, main, Limits(connections=3))
        assert server.most <= 3


@on_both_loops
@pytest.mark.parametrize("ends", ["with a length", "with the connection"])
def test_a_request_that_is_given_up_while_it_waits_takes_no_slot(loop: str, ends: str) -> None:
    go_on = threading.Event()

    def serve(peer: Peer) -> None:
        while target := peer.request():
            if target == "/first":
                go_on.wait(30)
            if ends == "with the connection":
                peer.send(b"HTTP/1.1 200 OK\r\n\r\n[]")
                return
            peer.send(answer(b"[]"))

    async def main(client: HttpClient) -> None:
        first = asyncio.create_task(client.get_json("/first", timeout=20))
        await asyncio.sleep(0.05)
        waiting = [asyncio.create_task(client.get_json(f"/{n}", timeout=20)) for n in range(9)]
        await asyncio.sleep(0)
        for task in waiting[:4]:
            task.cancel()
        go_on.set()
        assert await first == []
        # Another one is cancelled at the moment at which it may get the slot.
        waiting[4].cancel()
        for task in waiting:
            with suppress(asyncio.CancelledError):
                assert await task == []
        assert await client.get_json("/last", timeout=30) == []

    with RawServer(serve) as server:
        run_on(loop, server, main, Limits(connections=1))


def test_a_slot_that_is_given_to_a_wait_that_is_cancelled_at_once_is_given_on() -> None:
    async def main() -> None:
        slots = Slots(1)
        assert slots.take()
        first, second = (asyncio.create_task(slots.wait()) for _ in range(2))
        await asyncio.sleep(0)
        slots.give_back()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await second
        assert not slots.take()
        slots.give_back()
        assert slots.take()

    asyncio.run(main())


@on_both_loops
@pytest.mark.parametrize("fault", ["refused", "closed", "reset", "status", "not HTTP"])
def test_every_end_of_a_request_gives_its_slot_back(loop: str, fault: str) -> None:
    def serve(peer: Peer) -> None:
        peer.request()
        match fault:
            case "reset":
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[")
                peer.reset()
            case "status":
                peer.send(answer(b"no", status="503 Busy"))
            case "not HTTP":
                peer.send(b"SSH-2.0\r\n")

    async def main(client: HttpClient) -> None:
        for _ in range(5):
            with pytest.raises(Exception, match="http://"):
                await client.get_json("/", timeout=30)

    with RawServer(serve) as server:
        if fault == "refused":
            server.url = "http://127.0.0.1:1"
        run_on(loop, server, main, Limits(connections=1))


@on_both_loops
def test_waiting_is_not_connecting(loop: str) -> None:
    """The time limit for a connection is far shorter than the wait for a slot."""

    def serve(peer: Peer) -> None:
        while peer.request():
            time.sleep(0.4)
            peer.send(answer(b"[]"))

    async def main(client: HttpClient) -> None:
        await asyncio.gather(*(client.get_json("/", timeout=20) for _ in range(4)))

    with RawServer(serve) as server:
        run_on(loop, server, main, Limits(connections=1, connect=1.0))


@on_both_loops
def test_requests_that_wait_when_the_connections_close_fail(loop: str) -> None:
    def never(peer: Peer) -> None:
        peer.request()
        peer.wait_for_close()

    async def main(client: HttpClient) -> None:
        tasks = [asyncio.create_task(client.get_json("/", timeout=20)) for _ in range(4)]
        await asyncio.sleep(0.05)
        await client.transport.aclose()
        for task in tasks:
            with pytest.raises(ConnectionFailedError, match="were closed under a request"):
                await task

    with RawServer(never) as server:
        run_on(loop, server, main, Limits(connections=1))


@pytest.mark.parametrize("kind", [OllamaBackend, OpenAIBackend])
def test_a_wait_for_a_turn_is_no_silence_of_the_server(kind: type, server: ServerProcess) -> None:
    server.script("m", chunks=["a"], delay=0.3)
    options = {ModelOption.STREAM_TIMEOUT: 1.2, ModelOption.RETRIES: 0}
    backend = kind("m", base_url=server.url, limits=Limits(connections=2))

    async def main() -> list[str]:
        m = MelleaSession(backend, model_options=options)
        thunks = [await m.ainstruct(f"{n}") for n in range(12)]
        return await asyncio.gather(*(thunk.avalue() for thunk in thunks))

    assert asyncio.run(main()) == ["a"] * 12
    backend.close()


def test_a_wait_for_a_turn_counts_for_the_limit_on_the_whole_call(server: ServerProcess) -> None:
    server.script("m", chunks=["a", "b"], stall_after=1)
    backend = OllamaBackend("m", base_url=server.url, limits=Limits(connections=1))
    with MelleaSession(backend) as m:
        first = asyncio.run(m.ainstruct("Go.", model_options={ModelOption.STREAM: True}))
        server.wait_for(lambda: server.log("m"))
        with pytest.raises(TotalTimeoutError):
            m.instruct("Go.", model_options={ModelOption.TOTAL_TIMEOUT: 0.2})
        first.cancel()


def test_a_server_that_is_silent_after_the_wait_is_told(server: ServerProcess) -> None:
    server.script("m", [{"chunks": ["a"], "delay": 0.2}, {"stall_after": 0}])
    backend = OllamaBackend("m", base_url=server.url, limits=Limits(connections=1))
    options = {ModelOption.STREAM_TIMEOUT: 1.0, ModelOption.RETRIES: 0}
    with MelleaSession(backend, model_options=options) as m:
        first, second = (asyncio.run(m.ainstruct("Go.")) for _ in range(2))
        assert first.wait(30).value == "a"
        with pytest.raises(FirstTokenTimeoutError):
            second.wait(30)


PROGRAM = """
import asyncio, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
from mellea_rx import *
m = MelleaSession(OllamaBackend("m", base_url=sys.argv[1]), model_options={ModelOption.RETRIES: 0})
async def main():
    thunks = [await m.ainstruct(f"{n}") for n in range(600)]
    values = asyncio.gather(*(thunk.avalue() for thunk in thunks))
    while not values.done():
        open("/dev/null").close()
        await asyncio.sleep(0.01)
    print(len([value for value in await values if value == "ok"]))
asyncio.run(main())
"""


def test_hundreds_of_calls_at_a_low_limit_of_files_all_succeed(server: ServerProcess) -> None:
    server.script("m", chunks=["ok"], delay=0.01)
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, server.url],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert (ran.stdout, ran.stderr) == ("600\n", "")


@on_both_loops
def test_a_connection_that_nothing_uses_is_closed_after_a_while(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mellea_rx.wire.http1.IDLE", 0.1)

    together = threading.Barrier(5)  # so that each of the first five has its own connection

    def serve(peer: Peer) -> None:
        while target := peer.request():
            if target == "/first":
                together.wait(PATIENCE)
            peer.send(answer(b"[]"))

    async def main(client: HttpClient) -> None:
        await asyncio.gather(*(client.get_json("/first", timeout=30) for _ in range(5)))
        assert server.most == 5
        await until(lambda: not server.open)
        assert await client.get_json("/", timeout=30) == []

    with RawServer(serve) as server:
        run_on(loop, server, main)
        assert server.accepted == 6


@on_both_loops
def test_a_failed_request_leaves_no_cycle_behind(loop: str) -> None:
    """Objects in the frames of a failed call are freed with its error, without the garbage
    collector."""

    class Taker:
        def __call__(self, block: bytes) -> bool:
            raise ValueError("no")

    def serve(peer: Peer) -> None:
        target = peer.request()
        if target == "/fed":
            peer.send(answer(b"[]"))
        elif target == "/broken":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        elif target == "/cancelled":
            peer.wait_for_close()

    async def main(client: HttpClient) -> None:
        for target in ("/fed", "/broken", "/closed", "/cancelled"):
            taker = Taker()
            alive = [True]
            weakref.finalize(taker, alive.clear)
            try:
                async with asyncio.timeout(0.1):
                    await client.exchange("POST", target, b"{}", taker)
            except Exception:
                pass
            del taker
            await asyncio.sleep(0.01)
            assert alive == [], target

    gc.collect()
    gc.disable()
    try:
        with RawServer(serve) as server:
            run_on(loop, server, main)
    finally:
        gc.enable()


@on_both_loops
def test_a_host_that_does_not_answer_is_a_connect_timeout(loop: str) -> None:
    """A listener whose queue is full, so that a TCP handshake never ends."""

    async def main(client: HttpClient) -> None:
        with pytest.raises(ConnectTimeoutError, match=r"within 0\.2 s"):
            await client.get_json("/", timeout=30)

    with socket.socket() as full, RawServer(lambda _: None) as server:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(address)
            fillers.append(filler)
        server.url = f"http://127.0.0.1:{address[1]}"
        run_on(loop, server, main, Limits(connect=0.2))
        for filler in fillers:
            filler.close()
