"""Computed thunks: a wait leaves a value behind, and the thunk's class says so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mellea_rx import (
    ChatContext,
    ComputedThunk,
    MelleaSession,
    ModelOutputThunk,
    ScriptedBackend,
    generative,
    react,
)
from mellea_rx.operators import to_thunk
from mellea_rx.stdlib.sampling import SamplingResult
from tests.core.hand import STREAM

SYNC_VERBS = {
    "instruct": lambda m: m.instruct("Go."),
    "chat": lambda m: m.chat("Go."),
    "query": lambda m: m.query([1], "What?"),
    "transform": lambda m: m.transform([1], "Shorten it."),
    "streaming": lambda m: m.instruct("Go.", model_options=STREAM),
    "react": lambda m: react(m, "Go.", [len_of]),
}


def len_of(text: str) -> int:
    """How long a text is."""
    return len(text)


@pytest.mark.parametrize("call", SYNC_VERBS.values(), ids=SYNC_VERBS)
def test_what_a_sync_verb_returns_is_computed(call: Any) -> None:
    thunk = call(MelleaSession(ScriptedBackend("a b")))
    assert isinstance(thunk, ComputedThunk)
    assert thunk.is_computed()
    assert (thunk.value, thunk.parsed) == ("a b", "a b")


def test_a_running_thunk_is_not_and_is_itself_once_somebody_has_waited() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a", "b", "c"), ChatContext())
        awaited = await m.ainstruct("Go.")
        assert type(awaited) is ModelOutputThunk
        assert awaited.value is None
        await awaited.avalue()
        assert isinstance(awaited, ComputedThunk)
        waited = await m.ainstruct("Go.")
        assert waited.wait() is waited
        assert isinstance(waited, ComputedThunk)
        last = m.ctx.last
        assert last is not None
        assert last.thunk is waited

    asyncio.run(main())


def test_verbs_that_wait_return_computed_thunks() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a"))
        assert isinstance(await m.achat("Hi."), ComputedThunk)
        assert isinstance(await m.atransform([1], "Shorten it."), ComputedThunk)
        assert not isinstance(await m.achat("Hi.", model_options=STREAM), ComputedThunk)

    asyncio.run(main())


def test_a_computed_thunk_is_still_an_observable_and_one_key() -> None:
    thunk = MelleaSession(ScriptedBackend("a")).instruct("Go.")
    seen: list[str] = []
    thunk.subscribe(lambda chunk: seen.append(str(chunk)))
    assert to_thunk(thunk) is thunk
    assert {thunk: 1}[thunk] == 1
    assert "".join(thunk.stream()) == "a"


@generative
def number(text: str) -> int:
    """Which number is it?"""
    raise NotImplementedError


def test_aparsed_gives_the_object_and_fails_as_avalue_does() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("7", ValueError("no")))
        assert await number.start(m, text="seven").aparsed() == 7
        failing = await m.ainstruct("Go.")
        with pytest.raises(Exception, match="no"):
            await failing.aparsed()
        assert not isinstance(failing, ComputedThunk)

    asyncio.run(main())


def test_a_wait_that_runs_out_leaves_the_thunk_running() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(["a"], delay=30))
        thunk = await m.ainstruct("Go.")
        with pytest.raises(TimeoutError):
            thunk.wait(0.01)
        assert type(thunk) is ModelOutputThunk
        thunk.cancel()

    asyncio.run(main())


def test_what_sampling_did_is_a_sampling_result() -> None:
    thunk = MelleaSession(ScriptedBackend("yes")).instruct("Go.", requirements=["brief"])
    assert isinstance(thunk.sampling, SamplingResult)
    assert MelleaSession(ScriptedBackend("a")).instruct("Go.").sampling is None
