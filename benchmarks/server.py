"""A server so cheap that it is never what a benchmark measures.

`python -m benchmarks.server --port 0` prints its port as its first line, and ends when its stdin
closes. It speaks Ollama's `/api/chat` and OpenAI's `/v1/chat/completions`. The model's name says
what to do: `burst-2000` is 2,000 chunks as fast as the transport takes them, `paced-50-100` is 50
chunks, 100 ms apart, `stamped-2-5` is 2 chunks, 5 ms apart, of which the first says when it was
sent (`time.monotonic()`), and of `timed-50-100` each chunk says so. Every chunk is a line (or
event) and an HTTP chunk of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, cast

SLICE = 1 << 16
"""Bytes of a burst that are handed to the transport at a time."""
TICK = 0.001
"""Seconds between two turns of the wheel that all paced streams hang on."""
STAMP = "0" * 20
"""Stands for the time in the first chunk of a stamped answer, in each of a timed one."""

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n"
    b"Connection: keep-alive\r\n\r\n"
)
_END = b"0\r\n\r\n"
_READY = b'{"models": [], "status": "success"}'
"""Answers whatever else a client asks before it chats: what runs, whether the model is pulled."""
_OTHERWISE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"


def texts(model: str) -> list[str]:
    """The answer of `model`, chunk by chunk: about five characters each.

    Args:
        model: `burst-N`, `paced-N-MILLISECONDS`, `stamped-N-MILLISECONDS` or
            `timed-N-MILLISECONDS`.
    """
    kind, count = model.split("-")[:2]
    if kind == "timed":
        return [STAMP] * int(count)
    words = [f"{index % 10_000:04d} " for index in range(int(count))]
    return [STAMP, *words[1:]] if kind == "stamped" else words


def interval(model: str) -> float | None:
    """Seconds between the chunks of `model`; None for a burst."""
    pace = model.split("-")[2:]
    return int(pace[0]) / 1000 if pace else None


@functools.cache
def _frames(model: str, sse: bool) -> list[bytes]:
    """The HTTP chunks of an answer, made once for all requests."""
    frames = _sse_events(model) if sse else _ndjson_lines(model)
    return [b"%x\r\n%b\r\n" % (len(frame), frame) for frame in frames]


@functools.cache
def _joined(model: str, sse: bool) -> bytes:
    return b"".join([*_frames(model, sse), _END])


def _ndjson_lines(model: str) -> list[bytes]:
    head = {"model": model, "created_at": "2026-01-01T00:00:00.000000Z"}

    def line(text: str, **more: object) -> bytes:
        message = {"role": "assistant", "content": text}
        return json.dumps({**head, "message": message, **more}).encode() + b"\n"

    count = len(texts(model))
    done = {"done_reason": "stop", "done": True, "prompt_eval_count": 1, "eval_count": count}
    return [*(line(text, done=False) for text in texts(model)), line("", **done)]


def _sse_events(model: str) -> list[bytes]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}

    def event(delta: dict[str, str], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n"

    deltas = [event({"content": text}) for text in texts(model)]
    return [*deltas, event({}, "stop"), b"data: [DONE]\n\n"]


class Wheel:
    """One timer for all paced streams, however many there are."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, list[Client]] = {}
        self._now = 0
        self._started = 0
        self._turning = False

    def start(self, client: Client, pace: float) -> None:
        """Have `client` write its next chunk, then one every `pace` seconds.

        Streams that start together are spread over the first pace: they stand for many users.
        """
        ticks = max(1, round(pace / TICK))
        client.ticks = ticks
        self._started += 1
        self._hang(client, 1 + self._started * 7919 % ticks)
        if not self._turning:
            self._turning = True
            self._origin = self._loop.time() - self._now * TICK
            self._turn()

    def _hang(self, client: Client, ticks: int) -> None:
        self._slots.setdefault(self._now + ticks, []).append(client)

    def _turn(self) -> None:
        target = int((self._loop.time() - self._origin) / TICK)
        while self._now < target:
            self._now += 1
            for client in self._slots.pop(self._now, ()):
                if client.step():
                    self._hang(client, client.ticks)
        self._turning = bool(self._slots)
        if self._turning:
            self._loop.call_at(self._origin + (self._now + 1) * TICK, self._turn)


class Client(asyncio.Protocol):
    """One connection: takes a request, writes the answer that its model's name stands for.

    Args:
        wheel: Where its paced streams hang.
    """

    def __init__(self, wheel: Wheel) -> None:
        self.ticks = 0
        self._wheel = wheel
        self._received = b""
        self._steps: deque[bytes] = deque()
        self._slices: deque[memoryview] = deque()
        self._paused = False
        self._stamp = self._stamp_all = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from it

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._steps.clear()
        self._slices.clear()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, payload = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        _, _, length = head.lower().partition(b"content-length:")
        if len(payload) < int(length.split(b"\r\n")[0] or 0):
            return
        self._received = b""
        self._answer(head.split(b" ", 2)[1], payload)

    def _answer(self, path: bytes, payload: bytes) -> None:
        assert self._transport is not None
        if path not in (b"/api/chat", b"/v1/chat/completions"):
            self._transport.write(_OTHERWISE % (len(_READY), _READY))
            return
        sse = path != b"/api/chat"
        model = json.loads(payload)["model"]
        pace = interval(model)
        self._transport.write(_HEAD % (b"text/event-stream" if sse else b"application/x-ndjson"))
        if pace is None:
            whole = memoryview(_joined(model, sse))
            self._slices.extend(whole[at : at + SLICE] for at in range(0, len(whole), SLICE))
            self._write_slices()
            return
        frames = _frames(model, sse)
        last = len(texts(model)) - 1
        self._steps.extend([*frames[:last], b"".join([*frames[last:], _END])])
        self._stamp = model.startswith(("stamped", "timed"))
        self._stamp_all = model.startswith("timed")
        self._wheel.start(self, pace)

    def step(self) -> bool:
        """Write one chunk of a paced answer; whether there is another one."""
        if self._transport is None:
            return False
        frame = self._steps.popleft()
        if self._stamp:
            frame = frame.replace(STAMP.encode(), b"%020.9f" % time.monotonic())
            self._stamp = self._stamp_all
        self._transport.write(frame)
        return bool(self._steps)

    def _write_slices(self) -> None:
        while self._slices and not self._paused and self._transport is not None:
            self._transport.write(self._slices.popleft())

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._write_slices()


async def serve(port: int) -> None:
    """Serve until stdin closes."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    wheel = Wheel(loop)
    server = await loop.create_server(lambda: Client(wheel), "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)

    def wait_for_end() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait_for_end, daemon=True).start()
    await stop.wait()
    server.close()


def main() -> None:
    """Start the server."""
    parser = argparse.ArgumentParser(description="A very cheap language-model server.")
    parser.add_argument("--port", type=int, default=0)
    # uvloop is cheap, but lets what a timer writes wait, now and then, for what wakes it next.
    parser.add_argument("--at-once", action="store_true", help="write stamped chunks at once")
    arguments = parser.parse_args()
    run: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run
    if not arguments.at_once:
        with suppress(ImportError):
            from uvloop import run
    run(serve(arguments.port))


if __name__ == "__main__":
    main()
