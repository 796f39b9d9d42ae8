"""The page's chat on the embedded model, over and over beside busy processes: does each run end?

    $ python -m benchmarks.page_chat --runs 200 --limit 280

Each run is a process of its own. One that has not ended within the limit prints the stacks of all
its threads and counts as hung; the exit code is 1 then. The busy processes are of the lowest
priority, and end by themselves.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHAT = Path(__file__).parents[1] / "examples" / "page_5_chat.py"

_BUSY = """
import os, time
os.nice(19)
end = time.monotonic() + {seconds}
while time.monotonic() < end and os.getppid() == {parent}:
    sum(range(100_000))
"""
_RUN = """
import faulthandler, runpy, sys
faulthandler.dump_traceback_later({limit}, exit=True)
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@contextmanager
def busy_processes(count: int, seconds: float) -> Iterator[None]:
    """Have so many processes compute, at most so long."""
    code = _BUSY.format(seconds=seconds, parent=os.getpid())
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.terminate()
            process.wait()


def run_once(limit: float) -> tuple[float, int, str]:
    """One run: its seconds, its exit code, and what it wrote to stderr."""
    started = time.monotonic()
    command = [sys.executable, "-c", _RUN.format(limit=limit), str(CHAT)]
    environment = {**os.environ, "MELLEA_RX_BACKEND": "local"}
    ended = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=limit + 60, check=False
    )
    return time.monotonic() - started, ended.returncode, ended.stderr


def main() -> int:
    """Run it; the number of runs that failed decides the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--limit", type=float, default=280.0, help="seconds that one may take")
    parser.add_argument("--busy", type=int, default=2, help="how many busy processes beside it")
    arguments = parser.parse_args()
    taken: list[float] = []
    failed = 0
    with busy_processes(arguments.busy, arguments.runs * arguments.limit):
        for number in range(1, arguments.runs + 1):
            seconds, code, said = run_once(arguments.limit)
            taken.append(seconds)
            if code != 0:
                failed += 1
                print(f"run {number}: exit code {code} after {seconds:.1f} s\n{said}", flush=True)
            print(f"{number}: {seconds:.1f} s, {failed} failed so far", flush=True)
    middle, longest = statistics.median(taken), max(taken)
    print(f"{len(taken)} runs, {failed} failed; median {middle:.1f} s, longest {longest:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
