"""Every fault is tried on both wires."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.trial import BACKENDS, Trial
from tests.support.server_process import ServerProcess


@pytest.fixture(params=BACKENDS)
def trial(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[Trial]:
    """A client of either wire, and the server that it talks to."""
    trial = Trial(request.param, server)
    yield trial
    trial.close()
