"""Search for programs that break a promise: `python -m tests.search --seconds 60 --seed 7`.

Each program is drawn from the seed and its number. One that breaks a promise is printed with both,
step by step, and played again by them: `--seed 7 --only 42`. Since threads race, `--again 50` plays
it so many times, and `--keep 0,3,5` only the steps with these numbers; `--shrink` looks for the
fewest steps that still break it. A program that hangs is named, with the stacks of all threads.
"""

from __future__ import annotations

import argparse
import faulthandler
import itertools
import logging
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.search.programs import BACKENDS, FLAGS, Program, draw_program
from tests.search.searcher import Searcher


def main() -> int:
    """Search until the time is over, or a signal comes; 1 where something was found."""
    given = _arguments()
    logging.getLogger("mellea_rx").setLevel(logging.CRITICAL)
    faulthandler.enable()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report = _Report(given.seed, given.first)
    with (
        suppress(KeyboardInterrupt),
        tempfile.TemporaryDirectory() as folder,
        Searcher(Path(folder), given.patience) as searcher,
    ):
        for program in _programs(given):
            wrong = searcher.wrong_with(program)
            report.add(program, wrong)
            if wrong and given.shrink:
                print(f"  shortest: {searcher.shrink(program, given.again)}", flush=True)
                break
    print(report, flush=True)
    return int(report.found > 0)


def _programs(given: Any) -> Iterator[Program]:
    """The programs to play, as long as there is time."""
    numbers: Iterable[int] = itertools.count(given.first)
    if given.only is not None:
        numbers = [given.only] * given.again
    until = time.monotonic() + given.seconds
    backends, off = tuple(given.backend.split(",")), frozenset(given.off)
    for number in numbers:
        if time.monotonic() > until:
            return
        program = draw_program(given.seed, number, backends, off)
        yield program.keep(tuple(map(int, given.keep.split(",")))) if given.keep else program


class _Report:
    """Tells what was found, and counts."""

    def __init__(self, seed: int, first: int) -> None:
        self.found = 0
        self._seed, self._first = seed, first
        self._kinds: Counter[str] = Counter()
        self._memory = 0

    def add(self, program: Program, wrong: list[str]) -> None:
        """One more program, and what is wrong with it."""
        self._kinds[program.backend] += 1
        if self._kinds.total() % 1000 == 0:
            wrong = [*wrong, *self._grown()]
        if wrong:
            self.found += 1
            print(program, *(f"  WRONG: {each}" for each in wrong), sep="\n", flush=True)

    def _grown(self) -> Iterator[str]:
        """A description of the growth of memory; "" without growth."""
        now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        before, self._memory = self._memory, max(self._memory, now)
        # Twice the peak of before, after thousands of programs, is no noise.
        if before and now > 2 * before:
            yield f"memory grew from {before} to {now} KB"

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self._kinds.items()))
        played = f"{self._kinds.total()} programs from {self._first} on"
        return f"seed {self._seed}: {played}, {self.found} wrong; {kinds}"


def _arguments() -> Any:
    parser = argparse.ArgumentParser(description="Search for programs that break a promise.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first program")
    parser.add_argument("--only", type=int, help="play this program")
    parser.add_argument("--again", type=int, default=1, help="so many times")
    parser.add_argument("--keep", help="only these steps of it")
    parser.add_argument("--shrink", action="store_true", help="find the fewest steps that fail")
    parser.add_argument("--backend", default=",".join(BACKENDS))
    parser.add_argument("--off", nargs="*", default=[], choices=FLAGS, help="moves to leave out")
    parser.add_argument("--patience", type=float, default=120, help="seconds until it is a hang")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
