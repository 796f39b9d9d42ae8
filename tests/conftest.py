"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

from tests.support.server_process import ServerProcess  # noqa: E402

# A shell starts what it puts into the background with Ctrl-C ignored, and programs inherit that:
# the tests of Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The time of one example depends on how busy the machine is: limits in time have their own tests.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("quick", settings.get_profile("any machine"), max_examples=20)
settings.load_profile("any machine")

SLOW = (
    "tests/backends",
    "tests/benchmarks",
    "tests/chaos",
    "tests/cli",
    "tests/core/test_engine_faults.py",
    "tests/core/test_exit.py",
    "tests/core/test_fork.py",
    "tests/core/test_leaving.py",
    "tests/docs/test_troubleshooting.py",
    "tests/fuzz",
    "tests/session/test_leaks.py",
    "tests/session/test_schema_limits.py",
    "tests/test_house.py",
    "tests/testing/test_pytest_plugin.py",
    "tests/wire/test_connection_limit.py",
)
"""Files and folders whose tests start programs, attack for long, or run for seconds each."""


def pytest_xdist_auto_num_workers() -> int:
    """The number of processes for `-n auto`: many tests wait, so three share two cores."""
    return (os.cpu_count() or 1) * 3 // 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests: those of `SLOW`, and those that run the real model."""
    for item in items:
        path = item.path.relative_to(ROOT).as_posix()
        if path.startswith(SLOW) or item.get_closest_marker("model") is not None:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def scripted_server() -> Iterator[ServerProcess]:
    """One scripted server for all tests, in a process of its own."""
    with ServerProcess() as process:
        yield process


@pytest.fixture
def server(scripted_server: ServerProcess) -> ServerProcess:
    """The scripted server, with no scripts and an empty log."""
    scripted_server.clear()
    return scripted_server
