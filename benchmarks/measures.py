"""What is measured of a client, in its own process.

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
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.clients import CLIENTS
from benchmarks.server import texts
from benchmarks.work import Answers, Work

__all__ = ["MEASURES", "Measure", "cost"]

WARM_UP = "burst-20"
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
    return await _cost(work, answers)


async def cost_connected(work: Work, answers: Answers) -> Numbers:
    """The same, when all was streamed once before, so that each stream has its connection."""

    async def some(group: int) -> None:
        await asyncio.sleep(group * GROUPS_APART)
        await answers(work.model, [[] for _ in range(min(GROUP, work.streams))])

    # In groups, for a system holds back a server's new connections beyond the first thousands.
    await asyncio.gather(*(some(group) for group in range(math.ceil(work.streams / GROUP))))
    return await _cost(work, answers)


async def _cost(work: Work, answers: Answers) -> Numbers:
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


MEASURES: dict[str, Measure] = {
    "cost": cost,
    "cost, connected": cost_connected,
    "first text": first_text,
    "memory": memory,
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

    print(json.dumps(asyncio.run(run())))


if __name__ == "__main__":
    main()
