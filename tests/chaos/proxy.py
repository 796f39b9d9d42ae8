"""A proxy between a client and a server that applies a fault to each request, by a seed.

`python -m tests.chaos.proxy --upstream 1234 --seed 7` prints its port as its first line, and ends
when its stdin closes. A request that has `case-N` in its body gets `fault_of(seed, N)`, so that a
test knows what to expect; any other gets the fault of its connection's number. Without a seed it
only passes bytes on. With `--certificate FILE` it speaks TLS to its clients.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import re
import ssl
from collections import Counter
from typing import Any

from tests.chaos.faults import Fault, fault_of
from tests.support.scripted_server import read_request, reset, serve
from tests.support.server_process import ModuleProcess

_CASE = re.compile(rb"case-(\d+)")
_MOMENT = 0.02
_BUSY = b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"
_NOISE = bytes(range(256)) + b"\n\xff\xfe{[\n"


class _Broken(Exception):
    """The fault has ended this connection."""


class _Way:
    """Passes one answer from the server to the client, and applies its fault."""

    def __init__(self, fault: Fault, writer: asyncio.StreamWriter) -> None:
        self._fault = fault
        self._writer = writer
        self._head = b""
        self._in_body = False
        self._passed = 0

    async def take(self, data: bytes) -> None:
        """Pass on some bytes of the answer."""
        if not self._in_body:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._in_body = True
            if self._fault.kind == "late":
                await asyncio.sleep(_MOMENT)
            await self._write(head + end)
        await self._body(data)

    async def _body(self, data: bytes) -> None:
        left = self._fault.at - self._passed
        self._passed += len(data)
        struck = left <= 0 and self._fault.kind != "drip"
        if self._passed < self._fault.at or struck:
            await self._write(data)
            return
        before = max(left, 0)
        await self._write(data[:before])
        await self._strike(data[before:])

    async def _strike(self, rest: bytes) -> None:
        match self._fault.kind:
            case "pause":
                await asyncio.sleep(_MOMENT)
            case "drip":
                size = self._fault.size
                for start in range(0, len(rest), size):
                    await self._write(rest[start : start + size])
                    await asyncio.sleep(0)
                return
            case "cut":
                raise _Broken
            case "reset":
                await asyncio.sleep(_MOMENT)  # time for the client to read the bytes before
                reset(self._writer)
                raise _Broken
            case "garble":
                await self._write(_NOISE)
                raise _Broken
            case "stall":
                await asyncio.Event().wait()
        await self._write(rest)

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


class Proxy:
    """Passes requests to the server, and answers to the client.

    Args:
        upstream: The server's port.
        seed: What the faults are drawn from; None for no faults.
    """

    def __init__(self, upstream: int, seed: int | None) -> None:
        self._upstream = upstream
        self._seed = seed
        self._tries: Counter[int] = Counter()
        self._numbers = itertools.count(1)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        number = next(self._numbers)
        answers, requests = await asyncio.open_connection("127.0.0.1", self._upstream)
        ways: list[_Way] = []

        async def there() -> None:
            while True:
                request = await read_request(reader)
                fault = self._fault(request.wire, number)
                if fault.kind == "refuse":
                    raise _Broken
                if fault.kind == "busy":
                    writer.write(_BUSY)
                    continue
                ways[:] = [_Way(fault, writer)]
                requests.write(request.wire)

        async def back() -> None:
            while data := await answers.read(1 << 16):
                await ways[0].take(data)

        both = [asyncio.create_task(there()), asyncio.create_task(back())]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            requests.close()
            writer.close()

    def _fault(self, wire: bytes, number: int) -> Fault:
        if self._seed is None:
            return Fault()
        found = _CASE.search(wire)
        case = int(found[1]) if found else -number
        self._tries[case] += 1
        fault = fault_of(self._seed, case)
        return fault if self._tries[case] <= fault.tries else Fault()


class ProxyProcess(ModuleProcess):
    """The proxy in a separate process.

    Args:
        upstream: The server's port.
        seed: What the faults are drawn from; None for none.
        certificate: A PEM file with a key and its certificates, to speak TLS with.
    """

    def __init__(
        self, upstream: int, *, seed: int | None = None, certificate: str | None = None
    ) -> None:
        seeded = [] if seed is None else ["--seed", str(seed)]
        secured = [] if certificate is None else ["--certificate", certificate]
        super().__init__("tests.chaos.proxy", "--upstream", str(upstream), *seeded, *secured)
        self._secured = bool(secured)

    def __enter__(self) -> ProxyProcess:
        super().__enter__()
        if self._secured:
            self.url = f"https://127.0.0.1:{self.port}"
        return self


def _tls(certificate: str | None) -> dict[str, Any]:
    if certificate is None:
        return {}
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return {"ssl": context}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A proxy that does what a seed says.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--upstream", type=int, required=True)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--certificate")
    given = parser.parse_args()
    proxy = Proxy(given.upstream, given.seed)
    asyncio.run(serve(proxy.connected, given.port, **_tls(given.certificate)))
