"""Prompted tools with a real llama.cpp: the grammar makes every answer a valid choice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from mellea_rx import ModelOption, call_tools, start_session, tool


@dataclass
class Lamp:
    room: Literal["kitchen", "hall"]
    bright: bool


@tool
def light(lamp: Lamp, others: Literal["on", "off"] = "off") -> str:
    """Switch a light on."""
    return f"{lamp.room} {lamp.bright} {others}"


@tool
def dark() -> str:
    """Switch all lights off."""
    return "dark"


@pytest.mark.parametrize(("backend", "seed"), [("local", 1), ("local", 2), ("auto", 3)])
def test_a_model_of_random_weights_calls_a_tool_well(
    tiny_model: Path, backend: str, seed: int
) -> None:
    options = {
        ModelOption.TOOLS: [light, dark],
        ModelOption.TOOL_CHOICE: "required",
        ModelOption.SEED: seed,
    }
    with start_session(backend, tiny_model, model_options=options) as m:
        thunk = m.chat("Evening.")
        [call] = thunk.tool_calls
        assert call.name in ("light", "dark")
        [message] = call_tools(thunk)
        assert message.content.split()[0] in ("kitchen", "hall", "dark")
        assert thunk.value == ""
