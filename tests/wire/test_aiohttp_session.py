"""A user's aiohttp session: requests run on its loop, it is never closed, misuse is reported."""

from __future__ import annotations

import asyncio
import gc
import itertools
import ssl
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import trustme
from yarl import URL

from mellea_rx import (
    BadRequestError,
    BlockingWaitError,
    CallerLoopClosedError,
    ConnectionFailedError,
    FirstTokenTimeoutError,
    GenerationCancelledError,
    InvalidInputError,
    MelleaSession,
    ModelOption,
    NameResolutionError,
    OllamaBackend,
    OpenAIBackend,
    RetryPolicy,
    StreamInterruptedError,
    TLSError,
    run,
    start_session,
)
from mellea_rx.backends import Limits
from mellea_rx.core.runtime.engine import engine
from mellea_rx.wire.aiohttp_session import SessionTransport
from mellea_rx.wire.transport import Faults, RequestHead
from tests.core.hand import STREAM, until, until_blocking
from tests.core.python import ROOT
from tests.support.raw_server import Peer, RawServer, answer
from tests.support.server_process import ServerProcess

KINDS: dict[str, Any] = {"ollama": OllamaBackend, "openai": OpenAIBackend}
ONCE = {ModelOption.RETRIES: 0}
both = pytest.mark.parametrize("kind", KINDS)


def with_session(test: Callable[[aiohttp.ClientSession], Awaitable[None]], **how: Any) -> None:
    """Run a test with an open session, and check that it is still open afterwards."""

    async def main() -> None:
        async with aiohttp.ClientSession(**how) as session:
            await test(session)
            assert not session.closed

    asyncio.run(main())


@both
def test_calls_stream_over_the_session_on_its_loop(kind: str, server: ServerProcess) -> None:
    server.script("m", chunks=["Once ", "upon ", "a time"], delay=0.002)
    threads = set()

    async def traced(*_: Any) -> None:
        threads.add(threading.current_thread())

    async def test(session: aiohttp.ClientSession) -> None:
        m = MelleaSession(KINDS[kind]("m", base_url=server.url, http_session=session))
        thunk = await m.ainstruct("Go.", model_options=STREAM)
        assert "".join([piece async for piece in thunk.astream()]) == "Once upon a time"
        thunks = [await m.ainstruct(f"{n}") for n in range(30)]
        values = await asyncio.gather(*(thunk.avalue() for thunk in thunks))
        assert values == ["Once upon a time"] * 30
        m.backend.close()
        assert await (await m.ainstruct("Go.")).avalue() == "Once upon a time"

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(traced)
    with_session(test, trace_configs=[trace])
    assert threads == {threading.current_thread()}


@both
def test_its_headers_and_cookies_go_along_and_its_key_is_ours(
    kind: str, server: ServerProcess
) -> None:
    server.script("m", chunks=["ok"])

    async def test(session: aiohttp.ClientSession) -> None:
        url = server.url + "/?api-version=1"
        if kind == "ollama":
            url = server.url
        backend = KINDS[kind]("m", base_url=url, api_key="sk-0123456789", http_session=session)
        assert await (await MelleaSession(backend).ainstruct("Go.")).avalue() == "ok"

    with_session(test, headers={"X-Team": "blue", "Authorization": "Bearer other"})
    headers = server.log("m")[0]["headers"]
    assert (headers["x-team"], headers["authorization"]) == ("blue", "Bearer sk-0123456789")
    assert headers["accept-encoding"] == "identity"


@both
def test_a_proxy_of_the_session_is_used(kind: str) -> None:
    targets: list[str] = []

    def serve(peer: Peer) -> None:
        while target := peer.request():
            targets.append(target)
            peer.send(answer(b"no", status="400 No"))

    async def test(session: aiohttp.ClientSession) -> None:
        backend = KINDS[kind]("m", base_url="http://models.invalid", http_session=session)
        with pytest.raises(Exception, match="status 400"):
            await (await MelleaSession(backend).ainstruct("Go.")).avalue()

    with RawServer(serve) as proxy:
        with_session(test, proxy=proxy.url)
    assert [target.partition("/v1")[0].partition("/api")[0] for target in targets] == [
        "http://models.invalid"
    ]


def test_a_proxy_that_is_not_there_is_told(server: ServerProcess) -> None:
    async def test(session: aiohttp.ClientSession) -> None:
        backend = OllamaBackend("m", base_url=server.url, http_session=session)
        thunk = await MelleaSession(backend, model_options=ONCE).ainstruct("Go.")
        with pytest.raises(ConnectionFailedError, match="the proxy of http_session"):
            await thunk.avalue()

    with_session(test, proxy="http://127.0.0.1:1")


@both
@pytest.mark.parametrize(
    ("given", "named"),
    [(7, "a int"), ("session", "a str"), (aiohttp.ClientSession, "the class ClientSession")],
)
def test_what_is_no_session_is_refused_by_name(kind: str, given: Any, named: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        KINDS[kind]("m", base_url="http://here", http_session=given)
    assert str(refused.value) == f"http_session must be an aiohttp.ClientSession, not {named}"


@both
def test_a_session_that_is_closed_is_refused_by_name(kind: str, server: ServerProcess) -> None:
    server.script("m", chunks=["ok"])

    async def main() -> None:
        session = aiohttp.ClientSession()
        backend = KINDS[kind]("m", base_url=server.url, http_session=session)
        m = MelleaSession(backend)
        assert await (await m.ainstruct("Go.")).avalue() == "ok"
        await session.close()
        began = time.monotonic()
        tries = {ModelOption.RETRIES: RetryPolicy(tries=2, initial=60, maximum=60, jitter=0)}
        with pytest.raises(ConnectionFailedError, match="http_session was closed"):
            await (await m.ainstruct("Go.", model_options=tries)).avalue()
        assert time.monotonic() - began < 50  # there is no retry
        with pytest.raises(InvalidInputError, match="http_session is closed"):
            KINDS[kind]("m", base_url=server.url, http_session=session)

    asyncio.run(main())


def test_no_warning_of_its_deprecated_loop_is_shown(server: ServerProcess) -> None:
    async def test(session: aiohttp.ClientSession) -> None:
        with warnings.catch_warnings(record=True) as shown:
            warnings.simplefilter("always")
            OllamaBackend("m", base_url=server.url, http_session=session)
        assert shown == []

    with_session(test)


@both
def test_a_sync_verb_on_the_sessions_own_loop_is_refused(kind: str, server: ServerProcess) -> None:
    server.script("m", chunks=["ok"])

    async def test(session: aiohttp.ClientSession) -> None:
        m = MelleaSession(KINDS[kind]("m", base_url=server.url, http_session=session))
        with pytest.raises(BlockingWaitError):
            m.instruct("Go.")
        thunk = await m.ainstruct("Go.")
        with pytest.raises(BlockingWaitError):
            thunk.wait()
        assert await thunk.avalue() == "ok"
        assert (await asyncio.to_thread(m.instruct, "Go.")).value == "ok"

    with_session(test)


@both
def test_a_session_whose_loop_is_gone_is_told(kind: str, server: ServerProcess) -> None:
    server.script("m", chunks=["ok"])
    kept: list[Any] = []

    async def test(session: aiohttp.ClientSession) -> None:
        kept.append(KINDS[kind]("m", base_url=server.url, http_session=session))

    async def later() -> None:
        thunk = await MelleaSession(kept[0], model_options=ONCE).ainstruct("Go.")
        with pytest.raises(CallerLoopClosedError, match="http_session belongs to an event loop"):
            await thunk.avalue()

    with_session(test)
    asyncio.run(later())
    with pytest.raises(BlockingWaitError, match="http_session"):
        MelleaSession(kept[0]).instruct("Go.")


@both
def test_a_loop_that_ends_under_a_request_ends_it(kind: str, server: ServerProcess) -> None:
    server.script("m", chunks=["a", "b"], stall_after=1)
    thunks: list[Any] = []

    async def test(session: aiohttp.ClientSession) -> None:
        m = MelleaSession(KINDS[kind]("m", base_url=server.url, http_session=session))
        thunks.append(await m.ainstruct("Go.", model_options={**STREAM, **ONCE}))
        await until(lambda: thunks[0].text == "a")

    with_session(test)
    error = until_blocking(lambda: thunks[0].error)
    assert isinstance(error, (CallerLoopClosedError, ConnectionFailedError))
    assert error.text == "a"


@both
@pytest.mark.parametrize("how", ["cancel", "close"])
def test_an_ended_call_closes_its_connection(kind: str, how: str, server: ServerProcess) -> None:
    server.script("m", chunks=["a", "b"], stall_after=1)

    async def test(session: aiohttp.ClientSession) -> None:
        m = MelleaSession(KINDS[kind]("m", base_url=server.url, http_session=session))
        thunk = await m.ainstruct("Go.", model_options={**STREAM, **ONCE})
        await until(lambda: thunk.text == "a")
        if how == "cancel":
            thunk.cancel()
        else:
            m.backend.close()
        kinds = GenerationCancelledError if how == "cancel" else ConnectionFailedError
        with pytest.raises(kinds):
            await thunk.avalue()
        await asyncio.to_thread(server.wait_for, lambda: server.connections() == 0)

    with_session(test)


def test_calls_keep_to_the_connections_that_the_session_has(server: ServerProcess) -> None:
    server.script("m", chunks=["a"], delay=0.3)

    async def main() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2)) as session:
            backend = OllamaBackend("m", base_url=server.url, http_session=session)
            m = MelleaSession(backend, model_options={ModelOption.STREAM_TIMEOUT: 1.2, **ONCE})
            thunks = [await m.ainstruct(f"{n}") for n in range(12)]
            assert await asyncio.gather(*(thunk.avalue() for thunk in thunks)) == ["a"] * 12

    asyncio.run(main())


def test_start_session_passes_it_on(server: ServerProcess) -> None:
    server.script("m", chunks=["ok"])

    async def test(session: aiohttp.ClientSession) -> None:
        m = start_session("ollama", "m", base_url=server.url, http_session=session)
        assert await (await m.ainstruct("Go.")).avalue() == "ok"

    with_session(test)


def test_a_large_body_is_sent_without_a_warning(server: ServerProcess) -> None:
    server.script("m", chunks=["ok"])

    async def test(session: aiohttp.ClientSession) -> None:
        m = MelleaSession(OllamaBackend("m", base_url=server.url, http_session=session))
        assert await (await m.ainstruct("x" * 3_000_000)).avalue() == "ok"

    with_session(test)


WITHOUT = """
import asyncio, sys
sys.modules["httptools"] = None
from mellea_rx import *
m = MelleaSession(OpenAIBackend("m", base_url=sys.argv[1], api_key="k"))
print(m.instruct("Go.").value)
async def main():
    thunks = [await m.ainstruct(f"{n}") for n in range(20)]
    print(*{await thunk.avalue() for thunk in thunks})
asyncio.run(main())
m.backend.close()
print(m.instruct("Go.").value, "aiohttp" in sys.modules)
"""


def test_without_httptools_aiohttp_carries_the_requests(server: ServerProcess) -> None:
    server.script("m", chunks=["Once ", "upon"])
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", WITHOUT, server.url]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert ran.stdout == "Once upon\nOnce upon\nOnce upon True\n", ran.stderr
    assert "unclosed" not in ran.stderr


def test_a_limit_of_connections_holds_for_a_session(server: ServerProcess) -> None:
    server.script("m", chunks=["a"], delay=0.05)

    async def test(session: aiohttp.ClientSession) -> None:
        limits = Limits(connections=1)
        m = MelleaSession(
            OllamaBackend("m", base_url=server.url, http_session=session, limits=limits)
        )
        thunks = [await m.ainstruct(f"{n}") for n in range(4)]
        assert await asyncio.gather(*(thunk.avalue() for thunk in thunks)) == ["a"] * 4

    with_session(test)
    log = server.log("m")
    for before, after in itertools.pairwise(log):
        assert before["ended"] <= after["started"]


@both
def test_requests_of_a_session_that_is_closed_meanwhile_end_and_say_so(
    kind: str, server: ServerProcess
) -> None:
    server.script("m", chunks=["a", "b"], stall_after=1)

    async def main() -> None:
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
        m = MelleaSession(KINDS[kind]("m", base_url=server.url, http_session=session))
        reading = await m.ainstruct("Go.", model_options={**STREAM, **ONCE})
        await until(lambda: reading.text == "a")
        waiting = await m.ainstruct("Go.", model_options=ONCE)
        await asyncio.sleep(0)
        await session.close()
        for thunk in (reading, waiting):
            with pytest.raises(ConnectionFailedError, match="http_session was closed") as caught:
                await asyncio.wait_for(thunk.avalue(), 30)
            assert "ollama serve" not in str(caught.value)
        assert reading.text == "a"

    asyncio.run(main())


@pytest.mark.parametrize("own", [{"limit_per_host": 1}, {"limit": 1}])
@pytest.mark.parametrize("backends", [1, 2])
def test_a_wait_for_one_of_the_sessions_connections_is_no_time_to_connect(
    own: dict[str, Any], backends: int, server: ServerProcess
) -> None:
    server.script("m", chunks=["ok"], delay=0.6)

    async def main() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(**own)) as session:
            limits = Limits(connect=0.3)
            made = [
                OllamaBackend("m", base_url=server.url, http_session=session, limits=limits)
                for _ in range(backends)
            ]
            thunks = [
                await MelleaSession(made[n % backends]).ainstruct("Go.", model_options=ONCE)
                for n in range(2)
            ]
            assert await asyncio.gather(*(thunk.avalue() for thunk in thunks)) == ["ok", "ok"]

    asyncio.run(main())


def test_the_engine_forgets_backends_over_a_session(server: ServerProcess) -> None:
    server.script("m", chunks=["ok"])

    async def test(session: aiohttp.ClientSession) -> None:
        resources = engine()._resources
        before = len(resources)
        for _ in range(20):
            backend = OllamaBackend("m", base_url=server.url, http_session=session)
            assert await (await MelleaSession(backend).ainstruct("Go.")).avalue() == "ok"
            await backend.aclose()
        await until(lambda: len(resources) <= before)

    with_session(test)


def test_an_error_of_the_sessions_own_code_is_told_and_not_tried_again(
    server: ServerProcess,
) -> None:
    calls = itertools.count()

    async def vault(request: Any, handler: Any) -> Any:
        next(calls)
        raise ValueError("no token in the vault: run `vault login`")

    async def test(session: aiohttp.ClientSession) -> None:
        m = MelleaSession(OllamaBackend("m", base_url=server.url, http_session=session))
        with pytest.raises(ConnectionFailedError, match="ValueError: no token in the vault") as it:
            await (await m.ainstruct("Go.")).avalue()
        assert "ollama serve" not in str(it.value)

    with_session(test, middlewares=[vault])
    assert next(calls) == 1


def test_closing_ends_requests_that_wait_for_a_connection_and_the_backend_goes_on(
    server: ServerProcess,
) -> None:
    server.script("m", [{"chunks": ["a", "b"], "stall_after": 1}, {"chunks": ["ok"]}])

    async def test(session: aiohttp.ClientSession) -> None:
        limits = Limits(connections=1)
        backend = OllamaBackend("m", base_url=server.url, http_session=session, limits=limits)
        m = MelleaSession(backend, model_options=ONCE)
        reading = await m.ainstruct("Go.", model_options=STREAM)
        await until(lambda: reading.text == "a")
        waiting = await m.ainstruct("Go.")
        await asyncio.sleep(0.05)
        await backend.aclose()
        for thunk in (reading, waiting):
            with pytest.raises(ConnectionFailedError, match="were closed"):
                await asyncio.wait_for(thunk.avalue(), 30)
        assert await (await m.ainstruct("Go.")).avalue() == "ok"
        await backend.aclose()

    with_session(test)


def test_closing_where_the_loop_of_the_session_is_gone_is_nothing(server: ServerProcess) -> None:
    server.script("m", chunks=["ok"])
    kept: list[Any] = []

    async def test(session: aiohttp.ClientSession) -> None:
        kept.append(OllamaBackend("m", base_url=server.url, http_session=session))
        assert await (await MelleaSession(kept[0]).ainstruct("Go.")).avalue() == "ok"

    with_session(test)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(kept[0].aclose())
        gc.collect()


def test_an_answer_that_breaks_off_says_why() -> None:
    def serve(peer: Peer) -> None:
        while peer.request():
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            return

    async def test(session: aiohttp.ClientSession) -> None:
        backend = OllamaBackend("m", base_url=broken.url, http_session=session)
        with pytest.raises(StreamInterruptedError) as caught:
            await (await MelleaSession(backend, model_options=ONCE).ainstruct("Go.")).avalue()
        why = "the connection closed before its end, or its bytes were no HTTP"
        assert f" broke off ({why})" in str(caught.value)

    with RawServer(serve) as broken:
        with_session(test)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError("the tunnel is " + "x" * 300), "the tunnel is " + "x" * 186 + "…"),
        (OSError(), "OSError"),
    ],
)
def test_an_answer_that_the_sessions_own_code_breaks_off_says_why(
    error: OSError, why: str, server: ServerProcess
) -> None:
    server.script("m", chunks=["ok"])

    async def tunnel(request: Any, handler: Any) -> Any:
        response = await handler(request)
        response.content.set_exception(error)
        return response

    async def test(session: aiohttp.ClientSession) -> None:
        backend = OllamaBackend("m", base_url=server.url, http_session=session)
        with pytest.raises(StreamInterruptedError) as caught:
            await (await MelleaSession(backend, model_options=ONCE).ainstruct("Go.")).avalue()
        assert why in str(caught.value)
        assert "x" * 187 not in str(caught.value)

    with_session(test, middlewares=[tunnel])


def test_a_message_that_does_not_end_after_a_complete_answer_has_a_moment() -> None:
    closed = threading.Event()

    def serve(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"the end")
        peer.wait_for_close()
        closed.set()

    async def main(url: str) -> None:
        limits = Limits(trailing=0.1)
        transport = SessionTransport(limits, Faults(url, limits))
        head = RequestHead("GET", URL(f"{url}/list"), {})
        assert await transport.send(head, None, lambda _: True, lambda _: None) is None
        assert await asyncio.to_thread(closed.wait, 10)
        await transport.aclose()

    with RawServer(serve) as endless:
        asyncio.run(main(endless.url))


def test_a_parents_session_stays_open_and_is_not_used() -> None:
    async def main() -> None:
        def serve(peer: Peer) -> None:
            while peer.request():
                peer.send(answer(b"[]"))

        with RawServer(serve) as here:
            faults = Faults(here.url, Limits())
            transport = SessionTransport(Limits(), faults)
            head = RequestHead("GET", URL(f"{here.url}/list"), {})

            async def ask() -> None:
                await transport.send(head, None, lambda _: False, lambda _: None)

            transport.after_fork_in_child()  # there is no session
            await ask()
            left = weakref.ref(transport._session())
            transport.after_fork_in_child()
            assert not transport.is_open
            gc.collect()
            await ask()
            await transport.aclose()
            parents = left()
            assert parents is not None
            assert not parents.closed
            await parents.close()  # this process is also the parent

    asyncio.run(main())


def test_a_close_ends_requests_and_those_that_wait_and_the_next_opens_a_session() -> None:
    silent = threading.Event()

    def serve(peer: Peer) -> None:
        while peer.request():
            if not silent.is_set():
                silent.set()
                peer.wait_for_close()
                return
            peer.send(answer(b"[]"))

    async def main(url: str) -> None:
        limits = Limits(connections=1)
        transport = SessionTransport(limits, Faults(url, limits))
        head = RequestHead("GET", URL(f"{url}/list"), {})

        async def ask() -> None:
            await transport.send(head, None, lambda _: False, lambda _: None)

        asked = [asyncio.create_task(ask()) for _ in range(2)]
        await until(silent.is_set)
        own = transport._session()
        await transport.aclose()
        assert own.closed
        for each in asked:
            with pytest.raises(ConnectionFailedError, match="were closed"):
                await asyncio.wait_for(each, 10)
        await asyncio.wait_for(ask(), 10)
        for _ in range(2):
            await transport.aclose()

    with RawServer(serve) as here:
        asyncio.run(main(here.url))


def own_session(url: str) -> tuple[SessionTransport, Callable[[], Awaitable[object]]]:
    """A transport with a session of its own, and a function that sends a request."""
    transport = SessionTransport(Limits(), Faults(url, Limits()))
    head = RequestHead("GET", URL(f"{url}/list"), {})
    return transport, lambda: transport.send(head, None, lambda _: False, lambda _: None)


def test_a_session_of_its_own_keeps_neither_cookies_nor_connections() -> None:
    heads: list[bytes] = []

    def serve(peer: Peer) -> None:
        while peer.request():
            heads.append(peer.head)
            peer.send(answer(b"[]", "Set-Cookie: a=b; Path=/"))

    async def main(url: str) -> None:
        transport, ask = own_session(url)
        for _ in range(2):
            await ask()
        await transport.aclose()

    with RawServer(serve) as here:
        asyncio.run(main(here.url.replace("127.0.0.1", "localhost")))
        assert here.accepted == 2
    assert not any(b"cookie" in head.lower() for head in heads)


def test_a_session_of_its_own_has_no_limit_but_ours() -> None:
    """No request is answered before more are there than aiohttp allows by default."""
    arrived = threading.Barrier(120)

    def serve(peer: Peer) -> None:
        peer.request()
        arrived.wait(30)
        peer.send(answer(b"[]"))

    async def main(url: str) -> None:
        transport, ask = own_session(url)
        await asyncio.wait_for(asyncio.gather(*(ask() for _ in range(120))), 30)
        await transport.aclose()

    with RawServer(serve) as here:
        asyncio.run(main(here.url))


@both
def test_a_session_that_raises_for_each_status_changes_no_error(
    kind: str, server: ServerProcess
) -> None:
    server.script("m", status=400, body={"error": {"message": "too odd"}})

    async def test(session: aiohttp.ClientSession) -> None:
        backend = KINDS[kind]("m", base_url=server.url, http_session=session)
        with pytest.raises(BadRequestError, match="too odd"):
            await (await MelleaSession(backend).ainstruct("Go.")).avalue()

    with_session(test, raise_for_status=True)


def test_a_host_without_an_address_is_told() -> None:
    async def test(session: aiohttp.ClientSession) -> None:
        url = "http://nowhere.invalid"
        backend = OllamaBackend("m", base_url=url, http_session=session)
        with pytest.raises(NameResolutionError, match=r"nowhere\.invalid"):
            await (await MelleaSession(backend, model_options=ONCE).ainstruct("Go.")).avalue()

    with_session(test)


def test_a_certificate_that_is_not_trusted_is_told() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)

    async def test(session: aiohttp.ClientSession) -> None:
        backend = OllamaBackend("m", base_url=here.url, http_session=session)
        with pytest.raises(TLSError, match="is not trusted"):
            await (await MelleaSession(backend, model_options=ONCE).ainstruct("Go.")).avalue()

    with RawServer(lambda peer: peer.request(), tls=tls) as here:
        with_session(test)


@both
def test_on_the_programs_own_loop_a_session_is_used_without_a_handover(
    kind: str, server: ServerProcess
) -> None:
    server.script("m", chunks=["Once ", "upon"])

    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            m = MelleaSession(KINDS[kind]("m", base_url=server.url, http_session=session))
            thunk = await m.ainstruct("Go.", model_options=STREAM)
            assert "".join([piece async for piece in thunk.astream()]) == "Once upon"

    run(main())


def test_a_session_of_a_loop_that_is_closed_is_refused(server: ServerProcess) -> None:
    kept: list[aiohttp.ClientSession] = []

    async def main() -> None:
        kept.append(aiohttp.ClientSession())

    asyncio.run(main())
    with pytest.raises(
        InvalidInputError, match=r"^http_session belongs to an event loop that is closed$"
    ):
        OllamaBackend("m", base_url=server.url, http_session=kept[0])
    asyncio.run(kept[0].close())


def test_after_a_wait_for_a_connection_a_silent_server_is_noticed(server: ServerProcess) -> None:
    server.script("m", [{"chunks": ["a"], "delay": 0.1}, {"chunks": ["b"], "stall_after": 0}])

    async def test(session: aiohttp.ClientSession) -> None:
        limits = Limits(connections=1)
        backend = OllamaBackend("m", base_url=server.url, http_session=session, limits=limits)
        m = MelleaSession(backend, model_options=ONCE)
        first = await m.ainstruct("Go.")
        second = await m.ainstruct("Go.", model_options={ModelOption.STREAM_TIMEOUT: 0.3})
        assert await first.avalue() == "a"
        with pytest.raises(FirstTokenTimeoutError):
            await asyncio.wait_for(second.avalue(), 30)

    with_session(test)
