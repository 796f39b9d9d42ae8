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
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.search.programs import BACKENDS, FLAGS, draw_program
from tests.search.searcher import Searcher


def main() -> int:
    """Search until the time is over; 1 where something was found."""
    given = _arguments()
    logging.getLogger("mellea_rx").setLevel(logging.CRITICAL)
    faulthandler.enable()
    backends = tuple(given.backend.split(","))
    numbers: Iterable[int] = itertools.count(given.first)
    if given.only is not None:
        numbers = [given.only] * given.again
    until = time.monotonic() + given.seconds
    kinds: Counter[str] = Counter()
    found = played = 0
    memory = _Memory()
    with (
        tempfile.TemporaryDirectory() as folder,
        Searcher(Path(folder), given.patience) as searcher,
    ):
        for number in numbers:
            if time.monotonic() > until:
                break
            program = draw_program(given.seed, number, backends, frozenset(given.off))
            if given.keep:
                program = program.keep(tuple(map(int, given.keep.split(","))))
            wrong = searcher.wrong_with(program)
            played += 1
            kinds[program.backend] += 1
            if wrong:
                found += 1
                print(program, *(f"  WRONG: {each}" for each in wrong), sep="\n", flush=True)
                if given.shrink:
                    print(f"  shortest: {searcher.shrink(program, given.again)}", flush=True)
                    break
            grown = memory.look(played)
            if grown:
                found += 1
                print(f"seed {given.seed}, up to program {number}: {grown}", flush=True)
        print(
            f"seed {given.seed}: {played} programs from {given.first} on, {found} wrong;",
            ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())),
            flush=True,
        )
    return int(found > 0)


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


class _Memory:
    """Looks whether memory grows without an end."""

    def __init__(self) -> None:
        self._base = 0

    def look(self, played: int) -> str:
        """How it has grown, in words; "" where it has not."""
        if played % 1000 != 0:
            return ""
        now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        before, self._base = self._base, max(self._base, now)
        # Twice the peak of before, after thousands of programs, is no noise.
        return f"memory grew from {before} to {now} KB" if before and now > 2 * before else ""


if __name__ == "__main__":
    sys.exit(main())
