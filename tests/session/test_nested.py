"""Calls within calls: from validators, subscribers and backends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from mellea_rx import (
    MelleaRxError,
    MelleaSession,
    ModelOutputThunk,
    ScriptedBackend,
    get_session,
)
from mellea_rx.stdlib.components import Template
from mellea_rx.stdlib.requirements import req, simple_validate
from tests.core.hand import PATIENCE, STREAM, soon, until
from tests.core.python import runs_cleanly


def yes() -> MelleaSession:
    return MelleaSession(ScriptedBackend("yes"))


def test_a_sync_validator_may_call_a_sync_verb() -> None:
    asked = req("asks", simple_validate(lambda text: yes().instruct("Is it?").value == "yes"))
    m = MelleaSession(ScriptedBackend("a"))
    assert m.instruct("Go.", requirements=asked).value == "a"


def test_a_validator_finds_the_callers_session() -> None:
    with MelleaSession(ScriptedBackend("a", "yes")) as m:
        fn = simple_validate(lambda text: get_session().instruct("Is it?").value == "yes")
        assert m.instruct("Go.", requirements=req("asks", fn)).value == "a"


def test_an_async_validator_may_call_an_a_verb() -> None:
    async def ask(text: str) -> bool:
        return await (await yes().ainstruct("Is it?")) == "yes"

    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a"))
        thunk = await m.ainstruct("Go.", requirements=req("asks", simple_validate(ask)))
        assert await soon(thunk.avalue()) == "a"

    asyncio.run(main())


@pytest.mark.parametrize("loop", [True, False])
def test_a_subscriber_may_call_a_sync_verb(loop: bool) -> None:
    texts: list[str] = []

    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend("a")).ainstruct("Go.", model_options=STREAM)

        def ask(_: Any) -> None:
            texts.append(str(yes().instruct("Is it?")))

        if loop:
            thunk.subscribe(ask, print)
        else:
            await asyncio.to_thread(thunk.subscribe, ask, print)
        await until(lambda: texts)

    asyncio.run(main())
    assert texts[0] == "yes"


def test_a_blocking_wait_on_the_engines_own_thread_is_refused_and_never_hangs() -> None:
    code = """
import signal
from mellea_rx import *

signal.alarm(5)  # in a process of its own: a blocked engine would stop all other tests

def ask(request):  # a backend's code runs on the engine
    return str(MelleaSession(ScriptedBackend("yes")).instruct("Is it?"))

try:
    MelleaSession(ScriptedBackend(ask)).instruct("Go.")
except MelleaRxError as error:
    print(any(isinstance(each, BlockingWaitError) for each in (error, error.__cause__)))
"""
    assert runs_cleanly(code) == "True\n"


@dataclass(frozen=True)
class Count:
    """Its answer stands for an int."""

    parses: list[str]

    def template(self) -> Template:
        return Template("How many?")

    def parse(self, text: str) -> int:
        self.parses.append(text)
        return int(text)


def test_what_a_component_makes_of_the_text_is_parsed_once() -> None:
    component = Count([])
    thunk: ModelOutputThunk[int] = MelleaSession(ScriptedBackend("42")).act(component)
    assert (thunk.value, thunk.parsed, thunk.parsed) == ("42", 42, 42)
    assert component.parses == ["42"]


def test_a_text_that_does_not_parse_keeps_its_value_and_tells_the_cause() -> None:
    thunk: ModelOutputThunk[int] = MelleaSession(ScriptedBackend("many")).act(Count([]))
    assert thunk.value == "many"
    for _ in range(2):
        with pytest.raises(MelleaRxError) as caught:
            assert thunk.parsed
        assert isinstance(caught.value.__cause__, ValueError)
        assert caught.value.text == "many"


def test_a_reader_may_start_the_next_call_for_each_piece() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(lambda r: [r.messages[-1].content.upper()]))
        first = await m.ainstruct("abc", model_options=STREAM)
        following = [await m.ainstruct(piece) async for piece in first.astream()]
        assert [await soon(thunk.avalue(), PATIENCE) for thunk in following] == ["ABC"]

    asyncio.run(main())
