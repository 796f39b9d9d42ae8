"""A profile of our own code: `python -m benchmarks.profiled bursts`, or another of the quick cases.

Prints the functions of the caller's and of the engine's thread by their own time (cProfile: calls
look dearer than they are).
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.clients import CLIENTS
from benchmarks.measures import cost, raise_file_limit
from benchmarks.quick import CASES
from benchmarks.turns import server


@contextmanager
def both_threads() -> Iterator[None]:
    """Profile this thread and the engine's; print both."""
    from mellea_rx.core.runtime.engine import engine

    profiles = {"caller": cProfile.Profile(), "engine": cProfile.Profile()}

    def on_engine(function: Callable[[], None]) -> None:
        done = threading.Event()

        def call() -> None:
            function()
            done.set()

        engine().call(call)
        done.wait()

    on_engine(profiles["engine"].enable)
    profiles["caller"].enable()
    yield
    profiles["caller"].disable()
    on_engine(profiles["engine"].disable)
    for name, each in profiles.items():
        print(f"\n{name} thread")
        pstats.Stats(each, stream=sys.stdout).sort_stats("tottime").print_stats(25)


def main() -> None:
    """Profile one case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("case", choices=CASES)
    case = CASES[parser.parse_args().case]
    raise_file_limit()

    async def run(url: str) -> None:
        async with CLIENTS[case.ours].open(url) as answers:
            with both_threads():
                print(await cost(case.work, answers))

    with server() as url:
        asyncio.run(run(url))


if __name__ == "__main__":
    main()
