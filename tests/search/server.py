"""A server that does what the plan in each prompt says; it speaks Ollama and OpenAI.

`python -m tests.search.server` prints its port as its first line, and ends when its stdin closes.
`GET /_state` tells how many requests are being answered, how many connections are open, and which
calls crossed with bytes that nobody had asked for: their client could not know.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections import Counter
from dataclasses import replace
from typing import Any

from tests.search.plans import SLOW_GAP, SLOW_PIECES, Plan, plan_in
from tests.support.dialects import DIALECTS, Answer, last_user_message, to_json
from tests.support.scripted_server import Request, read_request, reset, serve
from tests.support.server_process import ModuleProcess

_MOMENT = 0.02
_CROSSING = 0.005
"""Seconds after unasked bytes within which a request may have been on its way already."""
_NOISE = bytes(range(256)) + b"\n\xff\xfe{[\n"
_BUSY = b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


class _Closed(Exception):
    """This connection ends here."""


class _Talk:
    """The answers on one connection.

    Args:
        server: Counts what happens.
        reader: The client's bytes.
        writer: Ours.
    """

    def __init__(
        self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._ahead = b""
        self._stray_at = 0.0
        self._busy = False
        self._strays: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Answer requests until either side closes."""
        try:
            while True:
                request = await read_request(self._reader, self._ahead)
                self._ahead = b""
                if request.path == "/_state":
                    await self._whole(200, to_json(self._server.state()))
                    continue
                await self._answer(request)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, _Closed):
            pass
        finally:
            for each in self._strays:
                each.cancel()
            self._writer.close()

    async def _answer(self, request: Request) -> None:
        plan = plan_in(last_user_message(request.fields))
        crossed = 0 < time.monotonic() - self._stray_at < _CROSSING
        if crossed:
            self._server.crossed.append(plan.name)
        self._server.running[plan.name] += 1
        self._busy = True
        playing = asyncio.create_task(self._play(plan, request))
        watching = asyncio.create_task(self._reader.read(1))
        try:
            await asyncio.wait({playing, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not playing.done() and (watching.exception() is not None or not watching.result()):
                playing.cancel()
            await asyncio.wait({playing})
            watching.cancel()
            await asyncio.wait({watching})
        finally:
            self._busy = False
            self._server.running[plan.name] -= 1
        if not watching.cancelled() and watching.exception() is None:
            self._ahead = watching.result()
        playing.result()
        if crossed:
            raise _Closed

    async def _play(self, plan: Plan, request: Request) -> None:
        self._server.tries[plan.name] += 1
        if self._server.tries[plan.name] > plan.tries and plan.fault:
            plan = Plan(plan.name, plan.words, plan.gap, call=plan.call)
        dialect: Any = DIALECTS.get(request.path)
        if dialect is None:
            await self._whole(404, b"{}")
            return
        await self._before(plan)
        script: dict[str, Any] = {"chunks": plan.pieces}
        if plan.fault == "thinking":
            script["thinking"] = ["hm ", "ok "] * 3
        if plan.fault == "slow call":
            script["thinking"] = ["hm "] * SLOW_PIECES
        elif plan.call is not None:
            script["tool_calls"] = [{"name": "note", "arguments": {"given": plan.call}}]
        answer = dialect.answer(script, request.fields)
        if not request.fields.get("stream", not dialect.whole_by_default):
            await self._whole(200, answer.whole)
        else:
            await self._stream(plan, answer, dialect.content_type)
        await self._after(plan, dialect)

    async def _before(self, plan: Plan) -> None:
        match plan.fault:
            case "late":
                await asyncio.sleep(_MOMENT)
            case "refuse":
                raise _Closed
            case "busy":
                await self._write(_BUSY)
                raise _Closed
            case "hints":
                await self._write(_HINTS * min(plan.size, 10))
            case "flood":
                for _ in range(50):
                    await self._write(_HINTS * 20)
                raise _Closed

    # The body.

    async def _stream(self, plan: Plan, answer: Answer, content_type: str) -> None:
        self._writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        if plan.fault == "slow call":
            await self._slowly(answer)
            answer = replace(answer, before=[])
        frames = [*answer.before, *answer.chunks]
        for number, frame in enumerate(frames):
            if number == plan.at:
                await self._strike(plan, answer, frame)
            if plan.gap:
                await asyncio.sleep(plan.gap)
            await self._piece(plan, frame)
        if plan.at >= len(frames):
            await self._strike(plan, answer, b"")
        rest = b"".join(answer.after)
        unasked = _unasked(plan, content_type) if plan.stray and not plan.pause else b""
        await self._write(_chunk(rest) + b"0\r\n\r\n" + unasked)
        if plan.stray == "timeout" and not plan.pause:
            raise _Closed

    async def _slowly(self, answer: Answer) -> None:
        """Bytes without text, for longer than the limit on silence."""
        is_openai = answer.error.startswith(b"data:")
        for number, frame in enumerate(answer.before):
            await asyncio.sleep(SLOW_GAP)
            await self._write(_chunk(_arguments(number) if is_openai else frame))

    async def _strike(self, plan: Plan, answer: Answer, frame: bytes) -> None:
        match plan.fault:
            case "pause":
                await asyncio.sleep(_MOMENT)
            case "comments":
                for _ in range(plan.size):
                    await self._write(_chunk(_comment(answer)))
            case "cut":
                await self._write(_chunk(frame[: plan.size]))
                raise _Closed
            case "reset":
                await self._write(_chunk(frame[: plan.size]))
                await asyncio.sleep(_MOMENT)  # time for the client to take what was written
                reset(self._writer)
                raise _Closed
            case "garble":
                await self._write(_chunk(frame[: plan.size] + _NOISE))
                raise _Closed
            case "error":
                await self._write(_chunk(answer.error) + b"0\r\n\r\n")
                raise _Closed
            case "stall":
                await asyncio.Event().wait()
            case "ping stall":
                while True:
                    await self._write(_chunk(_comment(answer)))
                    await asyncio.sleep(_MOMENT)

    async def _piece(self, plan: Plan, frame: bytes) -> None:
        if plan.fault != "drip":
            await self._write(_chunk(frame))
            return
        for start in range(0, len(frame), plan.size):
            await self._write(_chunk(frame[start : start + plan.size]))
            await asyncio.sleep(0)

    # After it.

    async def _after(self, plan: Plan, dialect: Any) -> None:
        if plan.fault == "bye":
            if not plan.pause:
                raise _Closed
            self._later(plan, b"")
        elif plan.stray and plan.pause:
            self._later(plan, _unasked(plan, dialect.content_type))

    def _later(self, plan: Plan, data: bytes) -> None:
        task = asyncio.create_task(self._unasked_for(plan, data))
        self._strays.add(task)
        task.add_done_callback(self._strays.discard)

    async def _unasked_for(self, plan: Plan, data: bytes) -> None:
        await asyncio.sleep(plan.pause)
        if self._busy:
            return  # it would stand in the middle of another answer
        self._stray_at = time.monotonic()
        self._writer.write(data)
        if not data or plan.stray == "timeout":
            self._writer.close()

    async def _whole(self, status: int, body: bytes) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
        await self._write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _arguments(number: int) -> bytes:
    """A piece of a tool call's arguments, as OpenAI's servers send them."""
    piece = '{"given": "' if number == 0 else '"}' if number == SLOW_PIECES - 1 else "x"
    call: dict[str, Any] = {"index": 0, "function": {"arguments": piece}}
    if number == 0:
        call |= {"id": "call_0", "type": "function"}
        call["function"]["name"] = "note"
    delta = {"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}
    return b"data: " + to_json(delta) + b"\n\n"


def _comment(answer: Answer) -> bytes:
    """Bytes that keep a connection alive and say nothing."""
    return b": ping\n\n" if answer.error.startswith(b"data:") else b"\n"


def _unasked(plan: Plan, content_type: str) -> bytes:
    """Bytes that come on a connection after the end of an answer."""
    body = b'{"message":{"role":"assistant","content":"STRAY"},"done":true}\n'
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n".encode()
    whole = head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    return {
        "answer": whole,
        "timeout": _TIMED_OUT,
        "half": whole[:-30],
        "junk": b"\x00\xff junk\r\n",
    }.get(plan.stray, b"")


class Server:
    """The state of all connections together."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        self.tries: Counter[str] = Counter()
        self.crossed: list[str] = []
        self._open: set[asyncio.StreamWriter] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        self._open.add(writer)
        try:
            await _Talk(self, reader, writer).serve()
        finally:
            self._open.discard(writer)

    def state(self) -> dict[str, Any]:
        """The requests that run now; the connection of this query does not count."""
        running = {name: count for name, count in self.running.items() if count}
        self.running = Counter(running)
        crossed, self.crossed = self.crossed, []
        if not running:
            self.tries.clear()
        return {"running": running, "connections": len(self._open) - 1, "crossed": crossed}


class PlanServer(ModuleProcess):
    """The server in a process of its own."""

    def __init__(self) -> None:
        super().__init__("tests.search.server")

    def state(self) -> dict[str, Any]:
        """The requests that run there now."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", "/_state")
            told: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return told


if __name__ == "__main__":
    asyncio.run(serve(Server().connected, 0))
