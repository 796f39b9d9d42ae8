"""Fixtures for all tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

from tests.support.server_process import ServerProcess  # noqa: E402


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
