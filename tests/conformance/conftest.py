"""Fixtures that run each test with a `harness` once for every backend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mellea_rx.testing.conformance import BackendHarness
from tests.conformance.harnesses import harness_for
from tests.support.server_process import ServerProcess
from tests.support.tiny_llama import write_tiny_llama

BACKENDS = ["scripted", "ollama", "openai", "openai over a session", "local"]


@pytest.fixture(scope="session")
def local_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama model with random weights; its text does not matter here."""
    return write_tiny_llama(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture(params=BACKENDS)
def harness(
    request: pytest.FixtureRequest, server: ServerProcess, local_model: Path
) -> Iterator[BackendHarness]:
    """The harness of one backend."""
    with harness_for(request.param, server, local_model) as made:
        yield made
