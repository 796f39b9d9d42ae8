"""Requests through random faults for minutes: every end is right, and nothing grows.

`python -m benchmarks.soak` takes five minutes, with 200 streams at a time on both wires. It prints
two tables, and exits with 1 when a promise is broken; what ended wrongly is printed with its seed
and number, which play it again (`tests/chaos/cases.py`). Loopback only; Linux, for it reads /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from benchmarks.measures import raise_file_limit
from benchmarks.vitals import Vitals, median
from mellea_rx import MelleaSession
from tests.chaos.cases import WORDS, End, outcome
from tests.chaos.faults import KINDS, fault_of
from tests.chaos.proxy import ProxyProcess
from tests.chaos.trial import BACKENDS
from tests.support.server_process import ServerProcess

_PAUSE = 0.04
"""Seconds between two chunks of an answer."""
_SILENCE = 6.0
"""Seconds after which a stall is one."""
_SAMPLES = 20
"""The number of samples in a reading; the time up to the first reading is a third of one."""


@dataclass(frozen=True)
class Plan:
    """The settings of a soak.

    Attributes:
        seconds: How long it makes requests.
        streams: How many at a time.
        least: How many it has to make.
        seed: What the faults are drawn from.
        growth: What memory, tasks, threads and sockets may grow by, as a share.
    """

    seconds: float
    streams: int
    least: int
    seed: int
    growth: float

    def cases(self) -> Iterator[int]:
        """The numbers of its cases: each meets a fault."""
        return (n for n in itertools.count() if fault_of(self.seed, n).kind != "none")


class Tally:
    """The ends of the cases.

    Args:
        seed: What their faults are drawn from.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._ends: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []

    @property
    def count(self) -> int:
        """Their number."""
        return self._ends.total()

    def add(self, case: int, end: End) -> None:
        """Another one."""
        kind = fault_of(self._seed, case).kind
        self._ends[kind, end.kind.__name__ if end.kind else "complete"] += 1
        wrong = end.wrong(self._seed, case)
        if wrong is not None:
            self.wrong.append(wrong)
            print(wrong, flush=True)

    def table(self) -> str:
        """Markdown: the faults, and what became of their requests."""
        lines = ["| fault | requests | ended in |", "|---|---|---|"]
        for kind in KINDS:
            ends = {end: n for (fault, end), n in self._ends.items() if fault == kind}
            told = ", ".join(f"{ends[end]:,} {end}" for end in sorted(ends, key=str.lower))
            if ends:
                lines.append(f"| {kind} | {sum(ends.values()):,} | {told} |")
        return "\n".join(lines)


@dataclass(frozen=True)
class Readings:
    """The resources that the process held.

    Attributes:
        early: After the first fifth of the time.
        late: At the end of it, under the same load.
        left: Tasks of the engine, sockets here and connections there once all is closed.
    """

    early: Vitals
    late: Vitals
    left: dict[str, int]

    def grown(self, share: float) -> list[str]:
        """The resources that have grown by more than this share, or are left behind."""
        early, late = asdict(self.early), asdict(self.late)
        told = [
            f"{name} grew from {early[name]:,.0f} to {late[name]:,.0f}"
            for name in early
            if late[name] > early[name] * (1 + share)
        ]
        return told + [f"{n} {name} left behind" for name, n in self.left.items() if n]

    def table(self) -> str:
        """Markdown."""
        lines = ["| | after the first fifth | at the end | change |", "|---|---|---|---|"]
        early, late = asdict(self.early), asdict(self.late)
        for name in early:
            change = late[name] / early[name] - 1
            unit = " KB" if name == "memory" else ""
            lines.append(
                f"| {name} | {early[name]:,.0f}{unit} | {late[name]:,.0f}{unit} | {change:+.1%} |"
            )
        return "\n".join(lines)


class Soak:
    """Keeps so many streams going until the time is over.

    Args:
        plan: What to do.
        server: The server behind the proxy.
        url: The proxy's.
    """

    def __init__(self, plan: Plan, server: ServerProcess, url: str) -> None:
        self.tally = Tally(plan.seed)
        self._plan = plan
        self._server = server
        self._sessions = [MelleaSession(each("m", base_url=url)) for each in BACKENDS.values()]
        self._cases = plan.cases()
        self._ends = 0.0

    async def run(self) -> Readings:
        """Make the requests; what the process held meanwhile."""
        await asyncio.to_thread(self._server.clear_log)
        empty = Vitals.now()
        self._ends = time.monotonic() + self._plan.seconds
        async with asyncio.TaskGroup() as group:
            for n in range(self._plan.streams):
                group.create_task(self._stream(self._sessions[n % len(self._sessions)]))
            early, late = await self._read()
        for session in self._sessions:
            session.close()
        return Readings(early, late, await self._left(empty))

    async def _stream(self, session: MelleaSession) -> None:
        while time.monotonic() < self._ends:
            case = next(self._cases)
            self.tally.add(case, await outcome(session, case, _SILENCE))

    async def _read(self) -> tuple[Vitals, Vitals]:
        """Both readings; each is the median of some seconds under load."""
        lap = self._plan.seconds / 5
        every = lap / 3 / _SAMPLES
        await self._pass(lap)
        early = await self._reading(every)
        await self._pass(self._ends - time.monotonic() - every * (_SAMPLES + 1))
        return early, await self._reading(every)

    async def _pass(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(10.0, left))
            await asyncio.to_thread(self._server.clear_log)
            print(f"{self.tally.count:,} requests, {len(self.tally.wrong)} wrong", flush=True)

    async def _reading(self, every: float) -> Vitals:
        samples = []
        for _ in range(_SAMPLES):
            samples.append(Vitals.now())
            await asyncio.sleep(every)
        return median(samples)

    async def _left(self, empty: Vitals) -> dict[str, int]:
        """The resources that were not there at the beginning; they have some seconds to end."""

        def left() -> dict[str, int]:
            now = Vitals.now()
            return {
                "tasks": int(now.tasks - empty.tasks),
                "sockets": int(now.sockets - empty.sockets),
                "connections": self._server.connections(),
            }

        return await _settled(left)


async def _settled(left: Callable[[], dict[str, int]]) -> dict[str, int]:
    for _ in range(50):
        if not any(n > 0 for n in left().values()):
            break
        await asyncio.sleep(0.1)
    return {name: n for name, n in left().items() if n > 0}


class _Complaints(logging.Handler):
    """Collects the complaints of asyncio and aiohttp: unread exceptions, unclosed objects."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def soak(plan: Plan) -> list[str]:
    """Do it, print the tables; what is broken."""
    complaints = _Complaints()
    logging.getLogger("asyncio").addHandler(complaints)
    logging.getLogger("aiohttp").addHandler(complaints)
    with ServerProcess() as server, ProxyProcess(server.port, seed=plan.seed) as proxy:
        server.script("m", chunks=WORDS, delay=_PAUSE)
        started = time.monotonic()
        work = Soak(plan, server, proxy.url)
        readings = asyncio.run(work.run())
        took = time.monotonic() - started
    tally = work.tally
    print(f"\n{tally.count:,} requests in {took:.0f} s, {plan.streams} at a time, seed {plan.seed}")
    print(f"\n{tally.table()}\n\n{readings.table()}\n")
    few = f"{tally.count:,} requests are fewer than {plan.least:,}"
    return [
        *tally.wrong,
        *readings.grown(plan.growth),
        *complaints.lines,
        *([few] if tally.count < plan.least else []),
    ]


def main() -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(description="Requests through random faults, for minutes.")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--least", type=int, default=20_000, help="requests that have to be made")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument(
        "--growth", type=float, default=0.05, help="a short soak grows: it is not warm so early"
    )
    raise_file_limit()
    broken = soak(Plan(**vars(parser.parse_args())))
    for each in broken:
        print(f"BROKEN: {each}")
    print("broken" if broken else "all held")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
