"""A hundred concurrent streams, also when their readers are closed."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from mellea_rx import MelleaSession
from mellea_rx.backends import OllamaBackend, OpenAIBackend
from mellea_rx.operators import merge, to_async_iterator
from tests.core.hand import STREAM, soon, until
from tests.support.server_process import ServerProcess
from tests.support.timing import assert_in_time

STREAMS = 100


@pytest.mark.alone
@pytest.mark.parametrize("backend", [OllamaBackend, OpenAIBackend])
def test_leaving_a_merge_after_its_first_item_closes_every_connection(
    server: ServerProcess, backend: Any
) -> None:
    server.script("m", chunks=["a", "b"], stall_after=1)

    def closed() -> list[dict[str, Any]]:
        return [entry for entry in server.log("m") if entry["client_closed"]]

    async def main() -> float:
        server.clear_log()
        async with MelleaSession(backend("m", base_url=server.url), model_options=STREAM) as m:
            thunks = [await m.ainstruct(f"Go {n}.") for n in range(STREAMS)]
            await until(lambda: all(thunk.text for thunk in thunks))
            async for item in to_async_iterator(merge(*thunks)):
                assert str(item) == "a"
                break
            left = time.monotonic()
            await asyncio.to_thread(server.wait_for, lambda: len(closed()) == STREAMS)
            assert server.connections() == 0
            assert all(thunk.cancelled for thunk in thunks)
            last: float = max(entry["client_closed_at"] for entry in closed())
            return last - left

    assert_in_time(0.5, lambda: asyncio.run(main()))


@pytest.mark.parametrize("backend", [OllamaBackend, OpenAIBackend])
def test_a_merge_of_a_hundred_streams_is_whole(server: ServerProcess, backend: Any) -> None:
    server.script("m", chunks=["Once ", "upon ", "a ", "time"], delay=0.001)

    async def main() -> None:
        async with MelleaSession(backend("m", base_url=server.url), model_options=STREAM) as m:
            texts = [""] * STREAMS
            merged = merge(*(m.ainstruct(f"Go {n}.") for n in range(STREAMS)))

            async def read() -> None:
                async for item in to_async_iterator(merged):
                    texts[item.index] += str(item)

            await soon(read(), 30)
            assert texts == ["Once upon a time"] * STREAMS

    asyncio.run(main())
