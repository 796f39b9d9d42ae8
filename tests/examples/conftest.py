"""The embedded model is here before a program needs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mellea_rx.backends.model_files import default_model


@pytest.fixture(scope="session")
def real_model() -> Path:
    """SmolLM2-135M-Instruct; brought where it is not here yet."""
    return default_model()
