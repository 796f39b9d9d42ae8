"""The measurements of a client, in its own process.

`python -m benchmarks.measures MEASURE CLIENT MODEL STREAMS REPEATS URL` prints numbers as JSON.
CPU is that of the whole process, all its threads; the server is another process.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import resource
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.clients import CLIENTS
from benchmarks.server import STAMP, interval, texts
from benchmarks.work import Answers, Work

__all__ = ["MEASURES", "Measure", "cost"]

WARM_UP = "burst-20"
SETTLED = 1.0
"""Seconds after which what was begun at once only streams."""
GROUP, GROUPS_APART = 500, 0.25
"""So many connections are opened at a time, so many seconds apart."""
FILES = 20_000
"""Sockets that a process may have open, where the system lets it."""

Numbers = dict[str, float]
Measure = Callable[[Work, Answers], Awaitable[Numbers]]


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _checked(work: Work, answers: Answers) -> None:
    """All the work, once; every text is what it has to be."""
    expected = "".join(texts(work.model))
    into: list[list[str]] = [[] for _ in range(work.streams)]
    await answers(work.model, into)
    for pieces in into:
        text = "".join(pieces)
        if text != expected:
            raise SystemExit(f"a text differs: {len(text)} characters, not {len(expected)}")


async def cost(work: Work, answers: Answers) -> Numbers:
    """CPU in microseconds a chunk, and of which thread's; wall clock in seconds."""
    await answers(WARM_UP, [[]])
    started, cpu, own = time.monotonic(), _cpu(), time.thread_time()
    for _ in range(work.repeats):
        await _checked(work, answers)
    used, own = _cpu() - cpu, time.thread_time() - own
    scale = 1e6 / work.chunks
    return {
        "cpu": used * scale,
        "caller": own * scale,
        "others": (used - own) * scale,
        "seconds": time.monotonic() - started,
    }


class _FirstText(list[str]):
    """Pieces of a stamped answer: notes how late the first one is."""

    late = math.nan

    def append(self, piece: str) -> None:
        if not self:
            self.late = time.monotonic() - float(piece)
        super().append(piece)


async def first_text(work: Work, answers: Answers) -> Numbers:
    """Milliseconds from the first chunk's leaving the server to its being in the client's hand."""
    await answers(WARM_UP, [[]])
    late = []
    for _ in range(work.repeats):
        into = [_FirstText() for _ in range(work.streams)]
        await answers(work.model, into)
        late += [pieces.late * 1e3 for pieces in into]
    return {"median": statistics.median(late), "p99": statistics.quantiles(late, n=100)[-1]}


class _Timed(list[str]):
    """Keeps of each stamped chunk how late it is, in seconds."""

    def __init__(self, late: list[float]) -> None:
        self._late = late

    def append(self, piece: str) -> None:
        now = time.monotonic()
        for at in range(0, len(piece), len(STAMP)):
            self._late.append(now - float(piece[at : at + len(STAMP)]))


async def latency(work: Work, answers: Answers) -> Numbers:
    """Milliseconds from each chunk's leaving the server to its being in the client's hand."""
    await answers(WARM_UP, [[]])
    late: list[float] = []
    await answers(work.model, [_Timed(late) for _ in range(work.streams)])
    if len(late) != work.chunks:
        raise SystemExit(f"{len(late)} chunks came, not {work.chunks}")
    return _milliseconds(late)


def _milliseconds(seconds: Sequence[float]) -> Numbers:
    return {
        "median": statistics.median(seconds) * 1e3,
        "p99": statistics.quantiles(seconds, n=100)[-1] * 1e3,
    }


BACKGROUND = Work("paced-600-100", streams=500)
"""Streams that run while single calls are timed; they last a minute at most."""


async def among(work: Work, answers: Answers) -> Numbers:
    """Milliseconds of a call, one after another, while the same client reads 500 streams."""
    await answers(WARM_UP, [[]])
    begun = asyncio.Semaphore(0)
    into = [_Announced(begun) for _ in range(BACKGROUND.streams)]
    running = asyncio.ensure_future(answers(BACKGROUND.model, into))
    for _ in into:
        await begun.acquire()
    await asyncio.sleep(SETTLED)
    took = []
    for _ in range(work.repeats):
        began = time.perf_counter()
        await answers(work.model, [[]])
        took.append(time.perf_counter() - began)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return _milliseconds(took)


async def start(work: Work, answers: Answers) -> Numbers:
    """CPU in microseconds a stream, from its call to its first text, of many at once."""
    await answers(WARM_UP, [[]])
    begun = asyncio.Semaphore(0)
    into = [_Announced(begun) for _ in range(work.streams)]
    cpu = _cpu()
    running = asyncio.ensure_future(answers(work.model, into))
    for _ in into:
        await begun.acquire()
    used = _cpu() - cpu
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return {"cpu": used * 1e6 / work.streams}


class _Counted(list[str]):
    """Keeps no piece, only how much came: a client's own list would outweigh what is measured."""

    characters = 0

    def append(self, piece: str) -> None:
        self.characters += len(piece)


def resident() -> int:
    """The process's resident memory, in bytes."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * resource.getpagesize()


async def memory(work: Work, answers: Answers) -> Numbers:
    """Kilobytes of resident memory a live stream, at the most."""
    await answers(WARM_UP, [[]])
    gc.collect()
    before = most = resident()
    into = [_Counted() for _ in range(work.streams)]
    running = asyncio.ensure_future(answers(work.model, into))
    while not running.done():
        await asyncio.wait([running], timeout=0.1)
        most = max(most, resident())
    await running
    expected = len("".join(texts(work.model)))
    if any(pieces.characters != expected for pieces in into):
        raise SystemExit("a text is too short or too long")
    return {"kilobytes": (most - before) / 1024 / work.streams}


class _Announced(_Counted):
    """Tells of its first piece."""

    def __init__(self, begun: asyncio.Semaphore) -> None:
        self._begun = begun

    def append(self, piece: str) -> None:
        if not self.characters:
            self._begun.release()
        super().append(piece)


async def streaming(work: Work, answers: Answers) -> Numbers:
    """CPU in microseconds a chunk while all stream, for as many seconds as there are repeats.

    Calls are begun before, and have not ended. What comes is told by the chunks that the server
    should have sent.
    """
    await answers(WARM_UP, [[]])
    begun = asyncio.Semaphore(0)
    into = [_Announced(begun) for _ in range(work.streams)]
    running = asyncio.ensure_future(_in_groups(work.model, answers, into))
    for _ in into:
        await begun.acquire()
    await asyncio.sleep(SETTLED)
    before, cpu, began = _characters(into), _cpu(), time.monotonic()
    await asyncio.sleep(work.repeats)
    used, seconds = _cpu() - cpu, time.monotonic() - began
    a_chunk = len("".join(texts(work.model))) / len(texts(work.model))
    chunks = (_characters(into) - before) / a_chunk
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    sent = work.streams * seconds / (interval(work.model) or math.inf)
    return {"cpu": used * 1e6 / chunks, "taken": chunks / sent}


def _characters(into: Sequence[_Counted]) -> int:
    return sum(pieces.characters for pieces in into)


async def _in_groups(model: str, answers: Answers, into: Sequence[list[str]]) -> None:
    """Some at a time: a system holds back a server's new connections beyond the first thousands."""

    async def some(begin: int) -> None:
        await asyncio.sleep(begin / GROUP * GROUPS_APART)
        await answers(model, into[begin : begin + GROUP])

    await asyncio.gather(*(some(begin) for begin in range(0, len(into), GROUP)))


MEASURES: dict[str, Measure] = {
    "cost": cost,
    "first text": first_text,
    "latency": latency,
    "among": among,
    "start": start,
    "memory": memory,
    "streaming": streaming,
}


def raise_file_limit() -> None:
    """Have room for many sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def main() -> None:
    """Measure once, in this process, and print the numbers as JSON."""
    parser = argparse.ArgumentParser(description="One measurement of one client.")
    parser.add_argument("measure", choices=MEASURES)
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("model")
    parser.add_argument("streams", type=int)
    parser.add_argument("repeats", type=int)
    parser.add_argument("url")
    given = parser.parse_args()
    raise_file_limit()
    work = Work(given.model, given.streams, given.repeats)

    async def run() -> Numbers:
        async with CLIENTS[given.client].open(given.url) as answers:
            return await MEASURES[given.measure](work, answers)

    print(json.dumps(CLIENTS[given.client].run(run())))


if __name__ == "__main__":
    main()
