"""The start of a default call: what was checked with the session is not checked again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from mellea_rx import ChatContext, MelleaSession, ModelOption, OptionError, ScriptedBackend
from mellea_rx.backends import Options
from mellea_rx.stdlib.components import Message

MOST_FUNCTIONS = 95
"""Python functions from a verb to its thunk, asyncio's own included."""


class Asked(ScriptedBackend):
    """Counts how often it is asked whether it has some options; it has no seeds."""

    def __init__(self) -> None:
        super().__init__("yes")
        self.asked: list[dict[ModelOption, Any]] = []

    def check(self, options: Options) -> None:
        self.asked.append(dict(options.standard))
        if ModelOption.SEED in options.standard:
            raise OptionError("no seeds")


def functions_called(work: Callable[[], object]) -> int:
    count = 0

    def counting(frame: FrameType, event: str, _: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(counting)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def test_options_that_a_call_does_not_change_are_checked_once_a_session() -> None:
    backend = Asked()
    with MelleaSession(backend, temperature=0.5) as m:
        assert backend.asked == [{ModelOption.TEMPERATURE: 0.5}]
        m.instruct("Go.")
        m.instruct("Go.", model_options={})
        m.chat("Go.")
        m.clone().instruct("Go.")
        assert len(backend.asked) == 2  # the second is the clone's, of no options
        assert [each.options.get(ModelOption.TEMPERATURE) for each in backend.requests] == [0.5] * 4


@pytest.mark.parametrize("given", [{"seed": 1}, {"model_options": {ModelOption.SEED: 1}}])
def test_options_that_a_call_changes_are_checked_with_the_call(given: dict[str, Any]) -> None:
    with MelleaSession(Asked(), ctx=ChatContext()) as m:
        m.instruct("Go.")
        with pytest.raises(OptionError, match="no seeds"):
            m.instruct("Go.", **given)
        with pytest.raises(OptionError, match="no seeds"):
            m.act(Message("Go."), **given)
        assert m.instruct("Go.").value == "yes"


def test_a_verb_calls_few_functions() -> None:
    async def main() -> int:
        with MelleaSession(ScriptedBackend("yes")) as m:
            await (await m.ainstruct("Go.")).avalue()
            verb = m.ainstruct("Go.")
            thunks: list[Any] = []

            def start() -> None:
                try:
                    verb.send(None)
                except StopIteration as returned:
                    thunks.append(returned.value)

            called = functions_called(start)
            assert await thunks[0].avalue() == "yes"
            return called

    assert 0 < asyncio.run(main()) <= MOST_FUNCTIONS
