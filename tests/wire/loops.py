"""A client on each kind of loop that an engine may run on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import uvloop

from mellea_rx.backends import Limits
from mellea_rx.wire.http import HttpClient, open_client
from tests.support.raw_server import RawServer

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def client_of(server: RawServer, limits: Limits | None = None) -> HttpClient:
    """A client of a server."""
    return open_client(server.url, {}, (), limits or Limits())


def run_on(
    loop: str,
    server: RawServer,
    main: Callable[[HttpClient], Awaitable[None]],
    limits: Limits | None = None,
) -> None:
    """Run a test with a client of this server on a loop of this kind, then close the client."""
    client = client_of(server, limits)

    async def whole() -> None:
        try:
            async with asyncio.timeout(30):
                await main(client)
        finally:
            await client.transport.aclose()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(whole())
