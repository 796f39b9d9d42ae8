"""`wait_for_all_mots`: one failure does not hide the others' results."""

from __future__ import annotations

import asyncio

import pytest

from mellea_rx import (
    GenerationFailedError,
    InvalidInputError,
    MelleaSession,
    ScriptedBackend,
    wait_for_all_mots,
)
from mellea_rx.helpers import async_helpers
from tests.core.hand import STREAM, soon, started_many


def test_all_are_computed_when_it_returns() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a b c", delay=0.002))
        thunks = [await m.ainstruct("Go.", model_options=STREAM) for _ in range(10)]
        waited = await wait_for_all_mots(thunks)
        assert all(a is b for a, b in zip(waited, thunks, strict=True))
        assert [thunk.value for thunk in thunks] == ["a b c"] * 10

    asyncio.run(main())


def test_it_is_found_where_mellea_has_it() -> None:
    assert async_helpers.wait_for_all_mots is wait_for_all_mots


def test_one_failure_does_not_hide_the_others_results() -> None:
    async def main() -> None:
        thunks, hand = started_many(3)
        waiting = asyncio.create_task(wait_for_all_mots(thunks))
        hand.answers[1].say("half")
        hand.answers[1].fail(GenerationFailedError("crashed"))
        await asyncio.sleep(0)
        assert not waiting.done()
        for number in (0, 2):
            hand.answers[number].say("whole")
            hand.answers[number].end()
        with pytest.raises(GenerationFailedError, match="crashed"):
            await soon(waiting)
        assert [thunks[0].value, thunks[2].value] == ["whole", "whole"]
        assert thunks[1].text == "half"
        assert isinstance(thunks[1].error, GenerationFailedError)

    asyncio.run(main())


def test_the_first_failure_in_their_order_is_raised() -> None:
    async def main() -> None:
        thunks, hand = started_many(3)
        waiting = asyncio.create_task(wait_for_all_mots(thunks))
        for number, told in ((2, "third"), (0, "first")):
            hand.answers[number].fail(GenerationFailedError(told))
        hand.answers[1].end()
        with pytest.raises(GenerationFailedError, match="first"):
            await soon(waiting)

    asyncio.run(main())


def test_cancelling_the_wait_leaves_the_generations_alone() -> None:
    async def main() -> None:
        thunks, hand = started_many(2)
        waiting = asyncio.create_task(wait_for_all_mots(thunks))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        for answer in hand.answers:
            answer.say("a")
            answer.end()
        await soon(wait_for_all_mots(thunks))
        assert [thunk.value for thunk in thunks] == ["a", "a"]

    asyncio.run(main())


def test_none_at_all_is_fine() -> None:
    asyncio.run(wait_for_all_mots([]))


def test_what_is_no_thunk_is_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match="not str"):
        asyncio.run(wait_for_all_mots(["text"]))  # type: ignore[list-item]
