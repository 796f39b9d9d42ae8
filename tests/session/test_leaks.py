"""A cancelled or dropped call leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from typing import Any

import pytest

from mellea_rx import (
    GenerationCancelledError,
    MelleaSession,
    ModelOutputThunk,
    OllamaBackend,
    OpenAIBackend,
)
from mellea_rx.core.runtime.engine import engine
from tests.core.hand import STREAM, Recorder, until, until_blocking
from tests.support.server_process import ServerProcess
from tests.support.timing import assert_in_time

BACKENDS = [OllamaBackend, OpenAIBackend]


def sockets() -> int:
    """The number of sockets that this process has open."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except FileNotFoundError:  # the listing's own
            pass
    return count


def tasks() -> int:
    """The number of the engine's tasks."""
    return len(asyncio.all_tasks(engine().loop))


def cancel(thunk: ModelOutputThunk[str]) -> None:
    thunk.cancel()


@pytest.mark.alone
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stream", [True, False])
def test_cancelling_closes_the_servers_connection_within_200_ms(
    server: ServerProcess, backend: Any, stream: bool
) -> None:
    server.script("m", chunks=["a", "b"], stall_after=1)

    async def main() -> float:
        server.clear_log()
        with MelleaSession(backend("m", base_url=server.url)) as m:
            thunk = await m.ainstruct("Go.", model_options=STREAM if stream else None)
            await until(lambda: thunk.text == "a")
            before = time.monotonic()
            thunk.cancel()
            (entry,) = await asyncio.to_thread(
                server.wait_for, lambda: [e for e in server.log("m") if e["client_closed"]]
            )
            assert server.connections() == 0
            with pytest.raises(GenerationCancelledError):
                await thunk
        took: float = entry["client_closed_at"] - before
        return took

    assert_in_time(0.2, lambda: asyncio.run(main()))


@pytest.mark.alone
def test_cancelling_before_the_first_byte_closes_the_connection_too(server: ServerProcess) -> None:
    server.script("m", first_delay=30)

    async def main() -> float:
        server.clear_log()
        with MelleaSession(OllamaBackend("m", base_url=server.url)) as m:
            thunk = await m.ainstruct("Go.")
            await asyncio.to_thread(server.wait_for, lambda: server.log("m"))
            before = time.monotonic()
            thunk.cancel()
            (entry,) = await asyncio.to_thread(
                server.wait_for, lambda: [e for e in server.log("m") if e["client_closed"]]
            )
        took: float = entry["client_closed_at"] - before
        return took

    assert_in_time(0.2, lambda: asyncio.run(main()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_200_sessions_that_are_dropped_unclosed_leave_nothing(
    server: ServerProcess, backend: Any
) -> None:
    server.script("m", chunks=["a", "b"])

    async def use(n: int) -> None:
        m = MelleaSession(backend("m", base_url=server.url))
        thunk = await m.ainstruct("Go.", model_options=STREAM if n % 2 else None)
        assert await thunk.avalue() == "ab"

    asyncio.run(use(0))
    gc.collect()
    until_blocking(lambda: server.connections() == 0)
    before = (sockets(), tasks(), threading.active_count())
    for n in range(200):
        asyncio.run(use(n))
    gc.collect()
    until_blocking(lambda: server.connections() == 0)
    until_blocking(lambda: (sockets(), tasks()) <= before[:2])
    assert threading.active_count() <= before[2]


def test_200_sessions_dropped_in_mid_generation_leave_nothing(server: ServerProcess) -> None:
    server.script("m", chunks=["a", "b"], stall_after=1)
    engine()
    before = (sockets(), tasks())

    async def use() -> None:
        for _ in range(200):
            m = MelleaSession(OllamaBackend("m", base_url=server.url))
            thunk = await m.ainstruct("Go.", model_options=STREAM)
            assert await thunk.astream() == "a"
            Recorder().to(thunk).dispose()

    asyncio.run(use())
    gc.collect()
    until_blocking(lambda: server.connections() == 0)
    until_blocking(lambda: (sockets(), tasks()) <= before)


def test_failures_leave_nothing(server: ServerProcess) -> None:
    faults: list[dict[str, Any]] = [
        {"status": 500},
        {"status": 404},
        {"hang_up": True},
        {"break_after": 1, "chunks": ["a", "b"]},
        {"reset_after": 1, "chunks": ["a", "b"]},
        {"error_after": 1, "chunks": ["a", "b"]},
        {"omit_done": True},
        {"body": "<html>"},
    ]
    engine()
    before = (sockets(), tasks())
    for index, fault in enumerate(faults):
        server.script(f"m{index}", **fault)
        with MelleaSession(OllamaBackend(f"m{index}", base_url=server.url)) as m:
            for _ in range(5):
                with pytest.raises(Exception):  # noqa: B017, PT011
                    m.instruct("Go.")
    until_blocking(lambda: server.connections() == 0)
    until_blocking(lambda: (sockets(), tasks()) <= before)


def test_a_thousand_thunks_that_are_read_and_dropped_are_gone(server: ServerProcess) -> None:
    server.script("m", chunks=["a", "b"], bursts=True)

    def alive() -> int:
        gc.collect()
        return sum(isinstance(each, ModelOutputThunk) for each in gc.get_objects())

    async def main() -> None:
        with MelleaSession(OllamaBackend("m", base_url=server.url)) as m:
            for _ in range(20):
                thunks = [await m.ainstruct("Go.", model_options=STREAM) for _ in range(50)]
                for thunk in thunks:
                    recorder = Recorder()
                    recorder.to(thunk)
                    assert "".join([piece async for piece in thunk.astream()]) == "ab"

    before = alive()
    asyncio.run(main())
    until_blocking(lambda: alive() <= before)
