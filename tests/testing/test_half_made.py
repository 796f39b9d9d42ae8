"""An object that could not be made is shown in a traceback with variables, and breaks none."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mellea_rx import LocalBackend, MelleaRxError, MelleaSession, OllamaBackend, ScriptedBackend
from mellea_rx.testing import Recorder, replay

NOWHERE = Path("/no/such/folder/run.jsonl")
WRONG: dict[str, Callable[[], Any]] = {
    "session": lambda: MelleaSession("ollama"),  # type: ignore[arg-type]
    "session, context": lambda: MelleaSession(ScriptedBackend(), 3),  # type: ignore[arg-type]
    "session, option": lambda: MelleaSession(ScriptedBackend(), model_options={"temprature": 1}),
    "ollama": lambda: OllamaBackend("m", model_options={"temprature": 1}),
    "local": lambda: LocalBackend(model_options={"temprature": 1}),
    "recorder": lambda: Recorder("ollama", NOWHERE),  # type: ignore[arg-type]
    "recorder, file": lambda: Recorder(ScriptedBackend(), NOWHERE),
    "replay": lambda: replay(NOWHERE),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_traceback_with_variables_shows_what_could_not_be_made(name: str) -> None:
    with pytest.raises((MelleaRxError, OSError)) as caught:
        WRONG[name]()
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "self = <" in "".join(shown.format())
