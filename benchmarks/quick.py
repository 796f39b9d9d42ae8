"""What streaming costs against loops written by hand, in less than a minute.

`python -m benchmarks.quick` prints ratios of client CPU and exits with 1 when one misses its goal,
or is 1.25 times worse than the one in `benchmarks/recorded.json`. What looks worse is measured a
second time before that is said: a busy machine is no fault of ours. `--record` writes what it
measures to that file instead. `make bench` measures all goals.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import load
from benchmarks.turns import Ratio, in_turns, ratio, server
from benchmarks.work import Work

RECORDED = Path(__file__).with_name("recorded.json")
WORSE = 1.25
"""So many times the recorded ratio is a failure."""


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        ours: Our client.
        hand: The loop that it is compared with.
        work: What both do.
        rounds: How many pairs of measurements.
        goal: Our CPU by the loop's: at most this.
    """

    ours: str
    hand: str
    work: Work
    rounds: int
    goal: float

    def measured(self, url: str) -> Ratio:
        """Both in turn."""
        works = dict.fromkeys([self.hand, self.ours], self.work)
        return ratio(in_turns("cost", works, self.rounds, url), self.ours, self.hand, "cpu")


CASES = {
    "bursts": Case("astream", "by hand", Work("burst-2000", 8, 10), 5, 1.00),
    "paced": Case("astream", "by hand", Work("paced-50-100", 1000), 3, 0.85),
}


def compare(name: str, url: str, recorded: float) -> bool:
    """Measure a case, print its row; whether it is as good as it was, and as it has to be."""
    case = CASES[name]
    most = min(case.goal, recorded * WORSE)
    figure = case.measured(url)
    if figure.middle > most:
        print(f"{name:<9}{figure!s:>22}   once more, at a load of {load()}", flush=True)
        figure = min(figure, case.measured(url), key=lambda each: each.middle)
    good = figure.middle <= most
    verdict = "met" if good else "MISSED" if figure.middle > case.goal else "WORSE"
    print(f"{name:<9}{figure!s:>22}{case.goal:>7.2f}{recorded:>10.2f}  {verdict}", flush=True)
    return good


def compare_all(names: list[str]) -> int:
    """Print the table; the exit code."""
    recorded: dict[str, float] = json.loads(RECORDED.read_text("utf-8"))
    print(f"{'case':<9}{'ratio to the loop':>22}{'goal':>7}{'recorded':>10}", flush=True)
    with server() as url:
        bad = [name for name in names if not compare(name, url, recorded[name])]
    return 1 if bad else 0


def record() -> None:
    """Measure all, and keep the ratios."""
    with server() as url:
        figures = {name: round(case.measured(url).middle, 2) for name, case in CASES.items()}
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
    if given.record:
        record()
        return 0
    return compare_all([given.case] if given.case else list(CASES))


if __name__ == "__main__":
    sys.exit(main())
