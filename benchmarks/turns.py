"""Measurements in turn: each in a fresh process, all on one server, compared pair by pair."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clients import CLIENTS
from benchmarks.environments import python_of
from benchmarks.work import Work

__all__ = [
    "Ratio",
    "Runs",
    "in_turns",
    "measure",
    "median",
    "of_pairs",
    "ratio",
    "server",
    "to_cheapest",
]

ROOT = Path(__file__).resolve().parents[1]

Runs = dict[str, list[dict[str, float]]]
"""The measurements of each client, round by round."""


@dataclass(frozen=True)
class Ratio:
    """The ratio of one client's figure to another's.

    Attributes:
        middle: The median of the rounds.
        low: The least.
        high: The most.
    """

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f} to {self.high:.2f})"


@contextmanager
def server(*options: str) -> Iterator[str]:
    """The benchmarks' server in a process of its own; its URL."""
    command = [sys.executable, "-m", "benchmarks.server", *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def measure(kind: str, client: str, work: Work, url: str) -> dict[str, float]:
    """One measurement in a fresh process.

    Raises:
        subprocess.CalledProcessError: It failed; what it said goes to stderr, and only then.
    """
    python = python_of(CLIENTS[client].venv)
    command = [python, "-m", "benchmarks.measures", kind, client]
    command += [work.model, str(work.streams), str(work.repeats), url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        sys.stderr.buffer.write(done.stderr)
    done.check_returncode()
    numbers: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def in_turns(kind: str, works: dict[str, Work], rounds: int, url: str) -> Runs:
    """Measure clients one after the other, so many times over.

    What else the machine does then falls on all of them alike.
    """
    runs: Runs = {client: [] for client in works}
    for _ in range(rounds):
        for client, work in works.items():
            runs[client].append(measure(kind, client, work, url))
    return runs


def median(runs: Runs, client: str, field: str) -> float:
    """The median of a client's figures."""
    return statistics.median(run[field] for run in runs[client])


def ratio(runs: Runs, client: str, base: str, field: str) -> Ratio:
    """A client's figure by another's, in each round."""
    return of_pairs([run[field] for run in runs[client]], [run[field] for run in runs[base]])


def to_cheapest(runs: Runs, client: str, bases: Sequence[str], field: str) -> Ratio:
    """A client's figure by the least that one of the others has, in each round."""
    figures = ([run[field] for run in runs[base]] for base in bases)
    least = [min(each) for each in zip(*figures, strict=True)]
    return of_pairs([run[field] for run in runs[client]], least)


def of_pairs(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Figures that were taken in turn, compared pair by pair."""
    pairs = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return Ratio(statistics.median(pairs), min(pairs), max(pairs))
