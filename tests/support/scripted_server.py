"""An HTTP server that plays scripts: whatever a language-model server may do, good or bad.

`python -m tests.support.scripted_server --port 0` prints its port as its first line, and ends when
its stdin closes. It speaks Ollama (`/api/chat`, `/api/tags`, `/api/version`, `/api/show`) and
OpenAI (`/v1/chat/completions`, `/v1/models`).

`PUT /_scripts/{model}` says what this model's generations do: a script, or a list of scripts that
are played one after another (the last one repeats). `{model}` may also be a path ("/api/tags"), to
script that. An unknown model gets the dialect's 404. All fields of a script are optional:

    chunks         list of texts (["ok"])         repeat       play the chunks so many times
    thinking       list of texts, sent first      tool_calls   list of {name, arguments}
    finish_reason  the dialect's own word         usage        {prompt, completion}; null: none
    echo           answer with the request's body as JSON
    by_prompt      {part of the last user message: script}; the first match wins
    raw_lines      list of strings that replace all frames, as they are (newlines included)

    first_delay    seconds before the response    delay        seconds before each chunk
    bursts         all frames in one write        framing      "chunked", "length", "close"
    split          write in pieces of so many bytes, `split_delay` seconds apart (0.0005)
    status, headers, body   of the response; a `body` replaces all frames

    stall_after    n chunks, then silence         break_after  n chunks, then the socket closes
    reset_after    n chunks, then RST             error_after  n chunks, then `error` (a text)
    omit_done      a clean end without done, [DONE] or finish_reason
    hang_up        close the connection without a response
    wire           list of strings that replace the whole response, head and all; then it closes,
                   or what `stall_after` or `reset_after` says after so many of them

Strings may hold any bytes, as surrogate escapes. `GET /_log` lists the requests, `DELETE /_log`
forgets them, `DELETE /_scripts` the scripts; `GET /_connections` counts the connections that are
open (those that only ask such questions do not count).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from tests.support.dialects import (
    DIALECTS,
    Answer,
    Script,
    last_user_message,
    raw,
    to_json,
)

FIELDS = {
    *("chunks", "repeat", "thinking", "tool_calls", "finish_reason", "usage"),
    *("echo", "by_prompt", "raw_lines", "status", "headers", "body"),
    *("first_delay", "delay", "bursts", "framing", "split", "split_delay"),
    *("stall_after", "break_after", "reset_after", "error_after", "error"),
    *("omit_done", "hang_up", "wire"),
}
_CUTS = ("stall_after", "break_after", "reset_after", "error_after")


def check_script(script: Any) -> None:
    """Refuse a script that has a field which is not known.

    Raises:
        ValueError: The message names it.
    """
    for each in script if isinstance(script, list) else [script]:
        unknown = set(each) - FIELDS
        if unknown:
            raise ValueError(f"no such field of a script: {', '.join(sorted(unknown))}")
        for inner in each.get("by_prompt", {}).values():
            check_script(inner)


class Scripts:
    """The script of each model, and the number of its runs."""

    def __init__(self) -> None:
        self._scripts: dict[str, list[Script]] = {}
        self._played: dict[str, int] = {}

    def __contains__(self, model: str) -> bool:
        return model in self._scripts

    def models(self) -> list[str]:
        """The models that have a script."""
        return [name for name in self._scripts if not name.startswith("/")]

    def put(self, model: str, script: Any) -> None:
        """Set what `model` does, from its next request on."""
        check_script(script)
        self._scripts[model] = script if isinstance(script, list) else [script]
        self._played[model] = 0

    def clear(self) -> None:
        """Forget all of them."""
        self._scripts.clear()
        self._played.clear()

    def next(self, model: str, body: Mapping[str, Any]) -> Script | None:
        """The script for the next request of `model`; None where it has none."""
        scripts = self._scripts.get(model)
        if scripts is None:
            return None
        index = self._played[model]
        self._played[model] = index + 1
        script = scripts[min(index, len(scripts) - 1)]
        prompt = last_user_message(body)
        for part, inner in script.get("by_prompt", {}).items():
            if part in prompt:
                return {**script, **inner}
        if script.get("echo"):
            return {**script, "chunks": [json.dumps(body)]}
        return script


class Request:
    """A request as it was read.

    Attributes:
        wire: Its bytes.
    """

    def __init__(
        self, method: str, path: str, headers: dict[str, str], payload: bytes, wire: bytes = b""
    ) -> None:
        self.wire = wire
        self.method = method
        self.path = path.partition("?")[0]
        self.headers = headers
        try:
            self.body: Any = json.loads(payload) if payload else None
        except ValueError:
            self.body = payload.decode("utf-8", "replace")

    @property
    def fields(self) -> Mapping[str, Any]:
        """The body where it is an object, else an empty one."""
        return self.body if isinstance(self.body, dict) else {}


async def read_request(reader: asyncio.StreamReader, ahead: bytes = b"") -> Request:
    """Read one request, whose first bytes may have been read before.

    Raises:
        asyncio.IncompleteReadError: The client closed.
    """
    head = ahead + await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding", "").lower() == "chunked":
        payload, wire = await _read_chunked(reader)
    else:
        payload = wire = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, payload, head + wire)


async def _read_chunked(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    parts, wire = [], []
    while True:
        line = await reader.readline()
        size = int(line.split(b";")[0], 16)
        part = await reader.readexactly(size + 2)
        wire += [line, part]
        if not size:
            return b"".join(parts), b"".join(wire)
        parts.append(part[:-2])


class Connection:
    """One client's connection: reads requests, plays scripts, notices when the client closes.

    Args:
        server: Has the scripts and the log.
        reader: The client's bytes.
        writer: Our bytes.
    """

    def __init__(
        self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.asks_only = False
        self._server = server
        self._reader = reader
        self._writer = writer
        self._ahead = b""
        self._number = next(server.numbers)

    async def serve(self) -> None:
        """Answer requests until either side closes."""
        try:
            while True:
                request, self._ahead = await read_request(self._reader, self._ahead), b""
                self.asks_only = request.path.startswith("/_")
                keep = await self._answer(request)
                if not keep or request.headers.get("connection", "").lower() == "close":
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._writer.close()

    # Answering.

    async def _answer(self, request: Request) -> bool:
        """Answer one request; whether the connection may be used again."""
        if self.asks_only:
            status, body = self._server.control(request)
            await self._send_whole(status, body)
            return True
        entry = self._server.record(request, self._number)
        playing = asyncio.create_task(self._play(request, entry))
        watching = asyncio.create_task(self._reader.read(1))
        await asyncio.wait({playing, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not playing.done() and self._closed_by_client(watching):
            playing.cancel()
        elif playing.done() and not watching.done():
            watching.cancel()
        results = await asyncio.gather(playing, watching, return_exceptions=True)
        if entry["ended"] is None and self._closed_by_client(watching):
            entry["client_closed"] = True
            entry["client_closed_at"] = time.monotonic()
        if isinstance(results[1], bytes):
            self._ahead = results[1]
        if isinstance(results[0], Exception) and not isinstance(results[0], ConnectionError):
            raise results[0]
        return results[0] is True

    @staticmethod
    def _closed_by_client(watching: asyncio.Task[bytes]) -> bool:
        if not watching.done() or watching.cancelled():
            return False
        return watching.exception() is not None or not watching.result()

    async def _play(self, request: Request, entry: dict[str, Any]) -> bool:
        dialect = DIALECTS.get(request.path)
        key = request.path if request.path in self._server.scripts else entry["model"]
        script = self._server.scripts.next(key, request.fields)
        if script is None or (dialect is None and key != request.path):
            await self._send_whole(*self._server.unscripted(request))
            entry["ended"] = time.monotonic()
            return True
        await asyncio.sleep(script.get("first_delay", 0))
        if script.get("hang_up"):
            return False
        if "wire" in script:
            return await self._write_wire(script)
        if dialect is None or "body" in script or script.get("status", 200) != 200:
            keep = await self._send_body(script, script.get("body"), dialect)
        elif request.fields.get("stream", not dialect.whole_by_default):
            answer = dialect.answer(script, request.fields)
            if "raw_lines" in script:
                lines = [raw(line) for line in script["raw_lines"]]
                answer = Answer([], lines, [], answer.error, b"")
            return await self._stream(script, answer, dialect.content_type, entry)
        else:
            answer = dialect.answer(script, request.fields)
            keep = await self._send_body(script, answer.whole, None)
        entry["ended"] = time.monotonic()
        return keep

    async def _send_body(self, script: Script, body: Any, dialect: Any) -> bool:
        status = script.get("status", 200)
        if body is None:
            body = dialect.error_body(f"status {status}") if dialect is not None else b"{}"
        elif isinstance(body, str):
            body = raw(body)
        elif not isinstance(body, bytes):
            body = to_json(body)
        framed = {"framing": "length", **script}
        self._head(framed, "application/json", len(body))
        player = _Player(self._writer, framed)
        await player.write([body] if body else [])
        return await player.end()

    async def _stream(
        self, script: Script, answer: Answer, content_type: str, entry: dict[str, Any]
    ) -> bool:
        length = len(b"".join(answer.before + answer.chunks + answer.after))
        self._head(script, content_type, length)
        cut = next((name for name in _CUTS if name in script), None)
        chunks = answer.chunks if cut is None else answer.chunks[: script[cut]]
        player = _Player(self._writer, script)
        await self._write_frames(player, script, answer, chunks, cut, entry)
        if cut in ("stall_after", "break_after", "reset_after"):
            return await self._break_off(cut)
        keep = await player.end()
        entry["ended"] = time.monotonic()
        return keep

    async def _write_wire(self, script: Script) -> bool:
        cut = next((name for name in _CUTS if name in script), "break_after")
        for piece in script["wire"][: script.get(cut)]:
            await asyncio.sleep(script.get("delay", 0))
            self._writer.write(raw(piece))
            await self._writer.drain()
        return await self._break_off(cut)

    async def _break_off(self, cut: str) -> bool:
        """End an answer that has not ended; the connection cannot be used again."""
        if cut == "stall_after":
            await asyncio.Event().wait()
        if cut == "reset_after":
            await asyncio.sleep(0.01)  # time for the client to take what was written
            reset(self._writer)
        return False

    async def _write_frames(
        self,
        player: _Player,
        script: Script,
        answer: Answer,
        chunks: list[bytes],
        cut: str | None,
        entry: dict[str, Any],
    ) -> None:
        after = answer.after if cut is None else [answer.error] if cut == "error_after" else []
        if script.get("bursts"):
            await player.write([*answer.before, *chunks, *after])
            entry["chunks"] = [time.monotonic()] * len(chunks)
            return
        for frame in answer.before:
            await player.write([frame])
        for frame in chunks:
            await asyncio.sleep(script.get("delay", 0))
            await player.write([frame])
            entry["chunks"].append(time.monotonic())
        for frame in after:
            await player.write([frame])

    def _head(self, script: Script, content_type: str, length: int) -> None:
        framing = script.get("framing", "chunked")
        headers = {"Content-Type": content_type}
        if framing == "length":
            headers["Content-Length"] = str(length)
        elif framing == "chunked":
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Connection"] = "close"
        headers |= script.get("headers", {})
        self._writer.write(_head_bytes(script.get("status", 200), headers))

    async def _send_whole(self, status: int, body: bytes) -> None:
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        self._writer.write(_head_bytes(status, headers) + body)
        await self._writer.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with RST, as a crashed machine or a proxy does."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def _head_bytes(status: int, headers: Mapping[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{k}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


class _Player:
    """Writes the body in the script's framing and pieces."""

    def __init__(self, writer: asyncio.StreamWriter, script: Script) -> None:
        self._writer = writer
        self._chunked = script.get("framing", "chunked") == "chunked"
        self._closes = script.get("framing") == "close"
        self._split = script.get("split")
        self._pause = script.get("split_delay", 0.0005)

    async def write(self, frames: list[bytes]) -> None:
        """Write `frames` in one go, or in pieces where the script says so."""
        if not self._split:
            self._writer.write(b"".join(self._framed(frame) for frame in frames))
            await self._writer.drain()
            return
        joined = b"".join(frames)
        for start in range(0, len(joined), self._split):
            self._writer.write(self._framed(joined[start : start + self._split]))
            await self._writer.drain()
            await asyncio.sleep(self._pause)

    def _framed(self, piece: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked and piece else piece

    async def end(self) -> bool:
        """End the body properly; whether the connection may be used again."""
        if self._chunked:
            self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()
        return not self._closes


class Server:
    """The scripts, the log, and the open connections."""

    def __init__(self) -> None:
        self.scripts = Scripts()
        self.numbers = itertools.count(1)
        self._log: list[dict[str, Any]] = []
        self._open: set[Connection] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        connection = Connection(self, reader, writer)
        self._open.add(connection)
        try:
            await connection.serve()
        finally:
            self._open.discard(connection)

    def record(self, request: Request, connection: int) -> dict[str, Any]:
        """Write a request into the log; the entry is filled in as it is answered."""
        entry = {
            "connection": connection,
            "method": request.method,
            "path": request.path,
            "headers": request.headers,
            "body": request.body,
            "model": request.fields.get("model"),
            "started": time.monotonic(),
            "chunks": [],
            "ended": None,
            "client_closed": False,
            "client_closed_at": None,
        }
        self._log.append(entry)
        return entry

    def control(self, request: Request) -> tuple[int, bytes]:
        """Answer a test's question or instruction."""
        question = (request.method, request.path)
        if question == ("GET", "/_log"):
            return 200, to_json(self._log)
        if question == ("DELETE", "/_log"):
            self._log.clear()
        elif question == ("GET", "/_connections"):
            return 200, to_json(sum(not each.asks_only for each in self._open))
        elif question == ("DELETE", "/_scripts"):
            self.scripts.clear()
        elif request.method == "PUT" and request.path.startswith("/_scripts/"):
            try:
                self.scripts.put(unquote(request.path.removeprefix("/_scripts/")), request.body)
            except (ValueError, TypeError, AttributeError) as error:
                return 400, to_json({"error": str(error)})
        else:
            return 404, to_json({"error": f"no such question: {request.method} {request.path}"})
        return 200, b"{}"

    def unscripted(self, request: Request) -> tuple[int, bytes]:
        """The answer of a healthy server where there is no script."""
        models = self.scripts.models()
        model = request.fields.get("model", request.fields.get("name", ""))
        if request.path in DIALECTS:
            return 404, DIALECTS[request.path].missing(model)
        if request.path == "/api/version":
            return 200, to_json({"version": "0.12.0"})
        if request.path == "/api/tags":
            return 200, to_json({"models": [{"name": name, "model": name} for name in models]})
        if request.path == "/v1/models":
            data = [{"id": name, "object": "model", "owned_by": "tests"} for name in models]
            return 200, to_json({"object": "list", "data": data})
        if request.path == "/api/show" and model in models:
            capabilities = ["completion", "tools", "thinking"]
            return 200, to_json({"capabilities": capabilities, "details": {}, "model_info": {}})
        if request.path == "/api/show":
            return 404, DIALECTS["/api/chat"].missing(model)
        return 404, b"404 page not found"


def _stop_with_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    sys.stdin.buffer.read()
    loop.call_soon_threadsafe(stop.set)


async def serve(
    connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    port: int,
    **how: Any,
) -> None:
    """Serve until stdin closes; the port is printed as the first line."""
    stop = asyncio.Event()
    server = await asyncio.start_server(
        connected, "127.0.0.1", port, limit=1 << 26, backlog=4096, **how
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    threading.Thread(
        target=_stop_with_stdin, args=(asyncio.get_running_loop(), stop), daemon=True
    ).start()
    await stop.wait()
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A server that plays scripts.")
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(serve(Server().connected, parser.parse_args().port))
