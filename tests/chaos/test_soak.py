"""A short version of `make soak`, and tests that it reports broken promises."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.soak import Readings
from benchmarks.vitals import Vitals
from mellea_rx import ProtocolError, StreamInterruptedError
from tests.chaos.cases import WHOLE, End
from tests.chaos.faults import fault_of
from tests.support.server_process import ROOT

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
SEED = 5


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a separate process."""
    command = [sys.executable, "-m", "benchmarks.soak", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


def case_of(kind: str) -> int:
    """The first case with such a fault."""
    return next(n for n in range(1000) if fault_of(SEED, n).kind == kind)


@pytest.mark.slow
@pytest.mark.alone
def test_twenty_seconds_of_random_faults() -> None:
    # The promise of 5% holds after a warm-up: the full soak starts to measure after a minute.
    done = run("--seconds", "20", "--streams", "30", "--least", "100", "--growth", "0.3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all held" in done.stdout
    assert "never retrieved" not in done.stderr


def test_a_broken_promise_is_told_and_is_an_exit_code() -> None:
    done = run("--seconds", "1", "--streams", "1", "--least", "1000000", "--seed", "4")
    assert done.returncode == 1
    assert "fewer than 1,000,000" in done.stdout


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        ("cut", End(None, WHOLE[:-1])),
        ("cut", End(StreamInterruptedError, "something else")),
        ("cut", End(ProtocolError, "")),
        ("stall", End(TimeoutError, "")),
        ("busy", End(ValueError, "")),
    ],
)
def test_a_wrong_end_is_told_with_its_seed_and_case(kind: str, end: End) -> None:
    case = case_of(kind)
    told = end.wrong(SEED, case)
    assert told is not None
    assert f"seed {SEED}, case {case}," in told


def test_a_right_end_is_none() -> None:
    assert End(None, WHOLE).wrong(SEED, case_of("late")) is None
    assert End(StreamInterruptedError, WHOLE[:7]).wrong(SEED, case_of("cut")) is None


def test_growth_and_what_is_left_behind_are_told() -> None:
    early = Vitals(memory=1000, tasks=100, threads=3, sockets=50)
    late = Vitals(memory=1051, tasks=105, threads=4, sockets=20)
    assert Readings(early, late, {"sockets": 2}).grown(0.05) == [
        "memory grew from 1,000 to 1,051",
        "threads grew from 3 to 4",
        "2 sockets left behind",
    ]
