"""The result of a benchmark: rows with a goal and a verdict, and the figures behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.turns import Runs, median, ratio

__all__ = ["Part", "Row", "Table", "costs", "markdown"]


@dataclass(frozen=True)
class Row:
    """A goal, and what was measured.

    Attributes:
        case: What is measured.
        goal: What it may be at the most.
        figure: What it is.
        met: Whether that is enough; None where it could not be measured.
    """

    case: str
    goal: str
    figure: str
    met: bool | None

    @property
    def verdict(self) -> str:
        """In a word."""
        return {True: "met", False: "MISSED", None: "skipped"}[self.met]


@dataclass(frozen=True)
class Table:
    """Figures behind rows."""

    title: str
    head: Sequence[str]
    lines: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Part:
    """The result of one of the benchmarks.

    Attributes:
        rows: Its goals.
        tables: All its figures.
        runs: What was measured of which client, for the chart.
    """

    rows: Sequence[Row]
    tables: Sequence[Table] = ()
    runs: Runs | None = None


def costs(title: str, runs: Runs, base: str, ideal: float = 0.0) -> Table:
    """Clients' CPU a chunk and by that of `base`; of paced work, the wall clock by the ideal."""
    head = ["client", "CPU us a chunk", "ratio (rounds)", "seconds"]
    lines = []
    for client in runs:
        seconds = median(runs, client, "seconds")
        wall = f"{seconds:.2f}" + (f" ({seconds / ideal:.2f}x the ideal)" if ideal else "")
        cpu = f"{median(runs, client, 'cpu'):.2f}"
        lines.append([client, cpu, str(ratio(runs, client, base, "cpu")), wall])
    return Table(title, head, lines)


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n"
