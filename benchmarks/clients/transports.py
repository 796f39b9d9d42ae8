"""Both transports of the library with its decoder, on the client's own loop: no thunk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
from yarl import URL

from benchmarks.clients.request import body
from benchmarks.work import Answers, each
from mellea_rx.backends import Limits
from mellea_rx.backends.ollama import OllamaDecoder
from mellea_rx.wire.aiohttp_session import SessionTransport
from mellea_rx.wire.http1 import Http1Transport
from mellea_rx.wire.transport import Faults, RequestHead, Transport


def _over(transport: Transport, url: str) -> Answers:
    head = RequestHead("POST", URL(url) / "api/chat", {"Content-Type": "application/json"})

    async def ask(model: str, pieces: list[str]) -> None:
        decoder = OllamaDecoder("the server")

        def feed(block: bytes) -> bool:
            chunk = decoder.feed(block)
            if chunk is not None:
                pieces.append(chunk.text)
            return decoder.done

        refused = await transport.send(head, msgspec.json.encode(body(model)), feed, lambda _: None)
        if refused is not None:
            raise SystemExit(f"status {refused.status}")

    return each(ask)


@asynccontextmanager
async def http1(url: str) -> AsyncIterator[Answers]:
    """Connections of our own."""
    limits = Limits()
    transport = Http1Transport(URL(url), limits, Faults(url, limits))
    yield _over(transport, url)
    await transport.aclose()


@asynccontextmanager
async def session(url: str) -> AsyncIterator[Answers]:
    """A session of aiohttp, by its documented API."""
    limits = Limits()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as opened:
        yield _over(SessionTransport(limits, Faults(url, limits), opened), url)
