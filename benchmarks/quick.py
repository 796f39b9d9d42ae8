"""The cost of calls and streams against loops written by hand, in some two minutes.

`python -m benchmarks.quick` prints ratios to the cheaper of two loops, one on asyncio and one on
uvloop: of client CPU, and of wall clock for calls one after another. It exits with 1 when one
misses its goal, or is 1.25 times worse than the one in `benchmarks/recorded.json`; a goal that was
missed when it was recorded is told, and held to the record. What looks worse is measured again
before that is said, and not said where others had the processors meanwhile: a ratio is only good on
a machine of one's own. `--record` writes what it measures to that file instead, the worst of three,
for one `--case` or for all. `make bench` measures all goals.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import Neighbours
from benchmarks.measures import raise_file_limit
from benchmarks.turns import Ratio, in_turns, server, to_cheapest
from benchmarks.work import Work

RECORDED = Path(__file__).with_name("recorded.json")
WORSE = 1.25
"""So many times the recorded ratio is a failure."""
ATTEMPTS = 6
"""So often a case is measured before it counts as missed: single ratios are a tenth apart."""
RECORDINGS = 3
KNOWN_MISS = "MISSED, as recorded"
"""Verdict on a goal that was missed when it was recorded, and is no further away."""
TAKEN = 0.25
"""If others used more processors than that, a ratio is no verdict."""


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        ours: Our client.
        work: What all clients do.
        rounds: How many times each is measured, in turn.
        goal: Our figure by the cheaper loop's: at most this.
        figure: "cpu" or "seconds" (wall clock).
        by_hand: The loops that it is compared with.
    """

    ours: str
    work: Work
    rounds: int
    goal: float
    figure: str = "cpu"
    by_hand: tuple[str, ...] = ("by hand", "by hand, uvloop")

    def measured(self) -> tuple[Ratio, float]:
        """All in turn; and how many processors others took meanwhile."""
        works = dict.fromkeys([*self.by_hand, self.ours], self.work)
        neighbours = Neighbours()
        with server() as url:
            runs = in_turns("cost", works, self.rounds, url)
        figure = to_cheapest(runs, self.ours, self.by_hand, self.figure)
        return figure, neighbours.processors() or 0.0


CASES = {
    "bursts": Case("astream", Work("burst-2000", 8, 10), 5, 0.4),
    "paced": Case("astream", Work("paced-50-100", 1000), 3, 0.95),
    "call": Case("default call", Work("burst-10", repeats=500), 5, 1.4, "seconds"),
    "at once": Case("default call", Work("burst-10", streams=50, repeats=20), 5, 0.85),
}


def verdict(case: Case, recorded: float, figure: Ratio, taken: float) -> str:
    """The verdict on a figure."""
    if figure.middle <= min(case.goal, recorded * WORSE):
        return "met"
    if taken > TAKEN:
        return f"not judged: others took {taken:.1f} processors"
    if case.goal < figure.middle <= recorded * WORSE and recorded > case.goal:
        return KNOWN_MISS
    return "MISSED" if figure.middle > case.goal else "WORSE"


def compare(name: str, recorded: float) -> str:
    """Measure a case until it is good, but not for ever; print each row. The last verdict."""
    case = CASES[name]
    for _ in range(ATTEMPTS):
        figure, taken = case.measured()
        said = verdict(case, recorded, figure, taken)
        print(f"{name:<9}{figure!s:>22}{case.goal:>7.2f}{recorded:>10.2f}  {said}", flush=True)
        if said in ("met", KNOWN_MISS):
            break
    return said


def compare_all(names: list[str]) -> int:
    """Print the table; the exit code."""
    recorded: dict[str, float] = json.loads(RECORDED.read_text("utf-8"))
    print(f"{'case':<9}{'ratio to the loop':>22}{'goal':>7}{'recorded':>10}", flush=True)
    said = [compare(name, recorded.get(name, CASES[name].goal)) for name in names]
    return 1 if {"MISSED", "WORSE"}.intersection(said) else 0


def record(names: list[str]) -> None:
    """Measure these cases, and keep their ratios: a common day's, not a good one's."""
    figures: dict[str, float] = json.loads(RECORDED.read_text("utf-8"))
    figures |= {
        name: round(max(CASES[name].measured()[0].middle for _ in range(RECORDINGS)), 2)
        for name in names
    }
    RECORDED.write_text(f"{json.dumps(figures, indent=2)}\n", encoding="utf-8")
    print(RECORDED.read_text("utf-8"), end="")


def main() -> int:
    """Compare with what is recorded, or record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--case", choices=CASES, help="only this one")
    parser.add_argument(
        "--record", action="store_true", help="on a machine with nothing else to do"
    )
    given = parser.parse_args()
    raise_file_limit()  # the server inherits it
    names = [given.case] if given.case else list(CASES)
    if given.record:
        record(names)
        return 0
    return compare_all(names)


if __name__ == "__main__":
    sys.exit(main())
