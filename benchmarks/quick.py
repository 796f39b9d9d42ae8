"""What streaming costs against loops written by hand, in less than a minute.

`python -m benchmarks.quick` prints ratios of client CPU (of short calls: of wall clock) and exits
with 1 when one is 1.25 times worse than the one in `benchmarks/recorded.json`. What looks worse is
measured a second time before that is said: a busy machine is no fault of ours. `--record` writes
what it measures to that file instead. `make bench` measures all goals.
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
        field: What is compared: "cpu" or "seconds".
    """

    ours: str
    hand: str
    work: Work
    rounds: int
    field: str = "cpu"

    def measured(self, url: str) -> Ratio:
        """Both in turn."""
        works = dict.fromkeys([self.hand, self.ours], self.work)
        return ratio(in_turns("cost", works, self.rounds, url), self.ours, self.hand, self.field)


CASES = {
    "bursts": Case("astream", "by hand", Work("burst-2000", 8, 10), 5),
    "bursts-sse": Case("astream, SSE", "by hand, SSE", Work("burst-2000", 8, 5), 3),
    "paced": Case("astream", "by hand", Work("paced-30-100", 1000), 3),
    "short-calls": Case("astream", "by hand", Work("burst-10", 1, 500), 5, "seconds"),
}


def compare(name: str, url: str, recorded: float) -> bool:
    """Measure a case, print its row; whether it is as good as it was."""
    most = recorded * WORSE
    figure = CASES[name].measured(url)
    if figure.middle > most:
        print(f"{name:<14}{figure!s:>22}   once more, at a load of {load()}", flush=True)
        figure = min(figure, CASES[name].measured(url), key=lambda each: each.middle)
    verdict = "as good" if figure.middle <= most else "WORSE"
    print(f"{name:<14}{figure!s:>22}{recorded:>10.2f}{most:>8.2f}  {verdict}", flush=True)
    return figure.middle <= most


def compare_all(names: list[str]) -> int:
    """Print the table; the exit code."""
    recorded: dict[str, float] = json.loads(RECORDED.read_text("utf-8"))
    print(f"{'case':<14}{'ratio to the loop':>22}{'recorded':>10}{'most':>8}", flush=True)
    with server() as url:
        worse = [name for name in names if not compare(name, url, recorded[name])]
    return 1 if worse else 0


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
