"""The program is imported once for all runs in pipes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.fork_server import ForkServer
from tests.cli.program import fork_servers


@pytest.fixture(scope="session", autouse=True)
def fork_server() -> Iterator[None]:
    """The process that `tests.cli.program.run` forks its runs from."""
    with ForkServer() as server:
        fork_servers.append(server)
        yield
        fork_servers.clear()
