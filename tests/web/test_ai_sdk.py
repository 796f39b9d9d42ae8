"""Vercel's AI SDK reads our UI message streams: its own parser and its own message reader."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import reactivex as rx

from mellea_rx import GenerationFailedError
from mellea_rx.web import ui_message_stream
from tests.web.test_protocols import ALL, asking, chunks, retracting, sent

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
READER = Path(__file__).with_name("read_message.mjs")
VERSIONS = ["5", "6"]


@pytest.fixture(scope="session", params=VERSIONS)
def package(request: pytest.FixtureRequest) -> Path:
    """The folder in which a version of the package is installed, once."""
    folder = ROOT / "build" / "node" / f"ai-{request.param}"
    if not folder.exists():
        # Beside it, then renamed: two processes of the tests may install it at once.
        made = folder.with_name(f"{folder.name}-{os.getpid()}")
        made.mkdir(parents=True)
        (made / "package.json").write_text("{}")
        install = ["npm", "install", "--no-audit", "--no-fund", f"ai@{request.param}"]
        subprocess.run(install, cwd=made, check=True, timeout=300, capture_output=True)
        with contextlib.suppress(OSError):
            made.rename(folder)
    return folder


def read(package: Path, text: str) -> dict[str, Any]:
    """The message as the package reads it."""
    command = ["node", str(READER), str(package)]
    ran = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def test_a_whole_message(package: Path) -> None:
    told = read(package, sent(ui_message_stream(chunks(*ALL), message_id="m1")))
    message = told["message"]
    assert told["failure"] is None
    assert (message["id"], message["role"]) == ("m1", "assistant")
    assert message["metadata"] == {"usage": {"prompt_tokens": 3, "completion_tokens": 5}}
    texts = [(part["type"], part.get("text")) for part in message["parts"]]
    assert texts == [
        ("step-start", None),
        ("reasoning", "Hmm."),
        ("text", "It is "),
        ("tool-weather", None),
        ("text", "fine."),
    ]
    assert message["parts"][3]["input"] == {"city": "Delft"}


def test_a_message_with_tools_and_results(package: Path) -> None:
    told = read(package, sent(lambda: asking(ui_message_stream)))
    assert told["failure"] is None
    parts = {part["type"]: part for part in told["message"]["parts"]}
    assert parts["tool-weather"]["output"] == "rain in Delft"
    assert parts["tool-weather"]["state"] == "output-available"
    assert parts["text"]["text"] == "Take a coat."


def test_retracted_text_is_a_data_part(package: Path) -> None:
    told = read(package, retracting(ui_message_stream))
    assert told["failure"] is None
    retracted = [part for part in told["message"]["parts"] if part["type"] == "data-retracted"]
    assert [part["data"]["characters"] for part in retracted] == [len("All is well. ")]


def test_an_error_and_odd_characters(package: Path) -> None:
    failing = rx.concat(
        rx.of("a\n\nb\u2028\ud83d", "\ude00 \ud800"), rx.throw(GenerationFailedError("tired"))
    )
    told = read(package, sent(ui_message_stream(failing)))
    assert told["failure"] == "tired"
    assert told["kinds"][-1] == "error"
    assert told["message"]["parts"][-1]["text"].startswith("a\n\nb\u2028\U0001f600 ")
