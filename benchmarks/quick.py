"""What a streamed chunk costs the client in CPU, ours against a loop written by hand.

`python -m benchmarks.quick` takes less than a minute, prints a table, and exits with 1 when a
goal is missed. Each number comes from a fresh client process, and counts all its threads; the
server is another process. `--profile` prints where our time goes instead.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.server import texts

ROOT = Path(__file__).resolve().parents[1]
WARM_UP = "burst-20"

Answers = Callable[[str, int], Awaitable[list[str]]]
"""Asks a model so many times at once; the answers."""


@dataclass(frozen=True)
class Case:
    """A way of streaming.

    Attributes:
        model: What the server does.
        streams: How many at once.
        repeats: How often, one after the other, so that there is enough CPU to measure.
        rounds: How many pairs of measurements.
        goal: Our CPU by the hand-written loop's: at most this.
    """

    model: str
    streams: int
    repeats: int
    rounds: int
    goal: float

    @property
    def chunks(self) -> int:
        """The chunks of one measurement."""
        return len(texts(self.model)) * self.streams * self.repeats


CASES = {
    "bursts": Case("burst-2000", streams=8, repeats=20, rounds=5, goal=1.00),
    "paced": Case("paced-50-100", streams=1000, repeats=1, rounds=3, goal=0.85),
}


# The two clients.


async def by_hand(url: str, measure: Callable[[Answers], Awaitable[None]]) -> None:
    """The loop that one would write with aiohttp."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=0)

    async def ask(session: aiohttp.ClientSession, model: str) -> str:
        text = []
        messages = [{"role": "user", "content": "x"}]
        request = {"model": model, "messages": messages, "stream": True}
        async with session.post(f"{url}/api/chat", json=request) as response:
            async for line in response.content:
                data = json.loads(line)
                text.append(data["message"]["content"])
        return "".join(text)

    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def answers(model: str, count: int) -> list[str]:
            return await asyncio.gather(*(ask(session, model) for _ in range(count)))

        await measure(answers)


async def ours(url: str, measure: Callable[[Answers], Awaitable[None]]) -> None:
    """A session's thunks, each read with `astream()`."""
    from mellea_rx import ModelOption, start_session

    sessions: dict[str, Any] = {}

    async def ask(session: Any) -> str:
        mot = await session.ainstruct("x", model_options={ModelOption.STREAM: True})
        return "".join([piece async for piece in mot.astream()])

    async def answers(model: str, count: int) -> list[str]:
        if model not in sessions:
            sessions[model] = start_session("ollama", model_id=model, base_url=url)
        return await asyncio.gather(*(ask(sessions[model]) for _ in range(count)))

    await measure(answers)


CLIENTS = {"hand": by_hand, "ours": ours}


# One measurement, in a process of its own.


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or soft < hard:
        wanted = 16_384 if hard == resource.RLIM_INFINITY else min(hard, 16_384)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


async def measured(case: Case, answers: Answers) -> dict[str, float]:
    """Warm up, stream, check every text; the CPU that it took, in microseconds a chunk."""
    await answers(WARM_UP, 1)
    expected = "".join(texts(case.model))
    started, cpu, own = time.monotonic(), _cpu(), time.thread_time()
    for _ in range(case.repeats):
        for text in await answers(case.model, case.streams):
            if text != expected:
                raise SystemExit(f"a text differs: {len(text)} characters, not {len(expected)}")
    used, own = _cpu() - cpu, time.thread_time() - own
    scale = 1e6 / case.chunks
    return {
        "cpu": used * scale,
        "caller": own * scale,
        "others": (used - own) * scale,
        "seconds": time.monotonic() - started,
    }


def run_client(case: Case, client: str, url: str, profile: bool) -> None:
    """Measure in this process, and print the numbers as JSON."""
    _raise_file_limit()

    async def measure(answers: Answers) -> None:
        if profile:
            await answers(WARM_UP, 1)
            with profiled_threads():
                await measured(case, answers)
        else:
            print(json.dumps(await measured(case, answers)))

    asyncio.run(CLIENTS[client](url, measure))


@contextmanager
def profiled_threads() -> Iterator[None]:
    """Print where this thread's and the engine's time goes (cProfile: calls look dearer)."""
    from mellea_rx.core.engine import engine

    profiles = {"caller": cProfile.Profile(), "engine": cProfile.Profile()}

    def on_engine(function: Callable[[], None]) -> None:
        done = threading.Event()
        engine().call(lambda: (function(), done.set()))
        done.wait()

    on_engine(profiles["engine"].enable)
    profiles["caller"].enable()
    yield
    profiles["caller"].disable()
    on_engine(profiles["engine"].disable)
    for name, each in profiles.items():
        print(f"\n{name} thread")
        pstats.Stats(each, stream=sys.stdout).sort_stats("tottime").print_stats(25)


# All measurements, and what they come to.


@contextmanager
def server() -> Iterator[str]:
    """The benchmark's server in a process of its own; its URL."""
    command = [sys.executable, "-m", "benchmarks.server"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def measure_apart(name: str, client: str, url: str) -> dict[str, float]:
    """One measurement in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.quick", "--client", client]
    command += ["--case", name, "--url", url]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    numbers: dict[str, float] = json.loads(done.stdout)
    return numbers


def compare(name: str, url: str) -> bool:
    """Measure a case in turns, print its row; whether the goal is met."""
    case = CASES[name]
    runs: dict[str, list[dict[str, float]]] = {"hand": [], "ours": []}
    for _ in range(case.rounds):
        for client, results in runs.items():
            results.append(measure_apart(name, client, url))

    def median(client: str, field: str) -> float:
        return statistics.median(run[field] for run in runs[client])

    hand, mine = median("hand", "cpu"), median("ours", "cpu")
    pairs = [b["cpu"] / a["cpu"] for a, b in zip(runs["hand"], runs["ours"], strict=True)]
    ratio = mine / hand
    threads = f"{median('ours', 'caller'):.2f} + {median('ours', 'others'):.2f}"
    spread = f"{min(pairs):.2f} to {max(pairs):.2f}"
    verdict = "met" if ratio <= case.goal else "MISSED"
    print(
        f"{name:<8}{hand:>14.2f}{mine:>14.2f}{threads:>18}{ratio:>9.2f}{spread:>16}"
        f"{case.goal:>7.2f}  {verdict}",
        flush=True,
    )
    return ratio <= case.goal


def compare_all(names: list[str]) -> int:
    """Print the table; the exit code."""
    print(
        f"{'case':<8}{'hand us/chunk':>14}{'ours us/chunk':>14}{'caller + engine':>18}"
        f"{'ratio':>9}{'pairs':>16}{'goal':>7}",
        flush=True,
    )
    with server() as url:
        missed = [name for name in names if not compare(name, url)]
    return 1 if missed else 0


def main() -> int:
    """Compare, or (with `--client`) measure once, in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES, help="only this one")
    parser.add_argument("--profile", action="store_true", help="where our time goes")
    parser.add_argument("--client", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = [arguments.case] if arguments.case else list(CASES)
    if arguments.client:
        run_client(CASES[names[0]], arguments.client, arguments.url, profile=False)
        return 0
    if not arguments.profile:
        return compare_all(names)
    with server() as url:
        for name in names:
            run_client(CASES[name], "ours", url, profile=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
