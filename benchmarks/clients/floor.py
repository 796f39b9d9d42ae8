"""The floor: an expert's client on httptools and msgspec, on one loop, without a library.

It keeps no promise but the right text: no limits, no errors, no cancellation, no TLS. No client in
Python that runs on one thread can be expected to cost less.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import msgspec

from benchmarks.clients.request import body
from benchmarks.work import Answers, Ask, at_a_time, each

Take = Callable[[bytes], None]
"""Takes one line of an answer."""


class _Message(msgspec.Struct):
    content: str = ""


class _Line(msgspec.Struct):
    message: _Message


class _Choice(msgspec.Struct):
    delta: _Message


class _Event(msgspec.Struct):
    choices: list[_Choice]


class _Connection(asyncio.Protocol):
    """One connection, with one answer at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""
        self._take: Callable[[bytes], object] = len  # replaced by each request
        self._ended: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_exception(exc or ConnectionResetError("the server closed"))

    def close(self) -> None:
        """Close it."""
        assert self._transport is not None
        self._transport.close()

    def ask(self, head: bytes, payload: bytes, take: Take) -> asyncio.Future[None]:
        """Send a request; `take` gets the lines of its answer. Resolves at the end."""
        assert self._transport is not None
        self._take, self._ended = take, self._loop.create_future()
        self._transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(payload), payload))
        return self._ended

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        """Called by the parser, for each piece of a body."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line)

    def on_message_complete(self) -> None:
        """Called by the parser, at the end of an answer."""
        self._ended.set_result(None)


class _Pool:
    """Connections to one server, the last used first."""

    def __init__(self, url: str, path: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        ).encode()
        self._idle: list[_Connection] = []
        self._encode = msgspec.json.Encoder().encode

    async def ask(self, model: str, take: Take) -> None:
        """One request, to its end."""
        if self._idle:
            connection = self._idle.pop()
        else:
            loop = asyncio.get_running_loop()
            host, port = self._address
            made: Any = await loop.create_connection(lambda: _Connection(loop), host, port)
            connection = made[1]
        await connection.ask(self._head, self._encode(body(model)), take)
        self._idle.append(connection)

    def close(self) -> None:
        """Close what is kept."""
        for connection in self._idle:
            connection.close()


def _lines(pool: _Pool) -> Ask:
    decode = msgspec.json.Decoder(_Line).decode

    async def ask(model: str, pieces: list[str]) -> None:
        def take(line: bytes) -> None:
            pieces.append(decode(line).message.content)

        await pool.ask(model, take)

    return ask


def _events(pool: _Pool) -> Ask:
    decode = msgspec.json.Decoder(_Event).decode

    async def ask(model: str, pieces: list[str]) -> None:
        def take(line: bytes) -> None:
            if line.startswith(b"data: {"):
                pieces.append(decode(line[6:]).choices[0].delta.content)

        await pool.ask(model, take)

    return ask


@asynccontextmanager
async def ndjson(url: str) -> AsyncIterator[Answers]:
    """Ollama's lines."""
    pool = _Pool(url, "/api/chat")
    yield each(_lines(pool))
    pool.close()


@asynccontextmanager
async def fifty(url: str) -> AsyncIterator[Answers]:
    """Ollama's lines, of fifty calls at a time."""
    pool = _Pool(url, "/api/chat")
    yield at_a_time(_lines(pool))
    pool.close()


@asynccontextmanager
async def sse(url: str) -> AsyncIterator[Answers]:
    """OpenAI's events."""
    pool = _Pool(url, "/v1/chat/completions")
    yield each(_events(pool))
    pool.close()
