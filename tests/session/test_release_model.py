"""A stream of the real model that is checked while it is read."""

from __future__ import annotations

import asyncio

import pytest

from mellea_rx import LocalBackend, MelleaSession, ModelOption, Retracted
from mellea_rx.events import AttemptStarted, TextAdded
from mellea_rx.operators import splitter
from mellea_rx.stdlib.requirements import check
from mellea_rx.stdlib.sampling import RejectionSampling

RUNS = 50
WORD = "chicken"
PROMPT = "Name the animals of a farm in short sentences."
OPTIONS = {ModelOption.MAX_NEW_TOKENS: 24, ModelOption.TEMPERATURE: 0.9, ModelOption.STREAM: True}


@pytest.mark.model
@pytest.mark.timeout(600)
def test_no_run_of_fifty_shows_a_forbidden_word() -> None:
    forbidden = check(f"no {WORD}", stream_validate=lambda text: WORD not in text.lower())
    strategy = RejectionSampling(3, release="validated", on_reject="marker")
    rejected = shown = 0

    async def run(m: MelleaSession, seed: int) -> None:
        nonlocal rejected, shown
        thunk = await m.ainstruct(
            PROMPT, requirements=[forbidden], strategy=strategy, model_options=OPTIONS, seed=seed
        )
        generated = ""

        def note(event: object) -> None:
            nonlocal generated
            if isinstance(event, AttemptStarted):
                generated = ""
            elif isinstance(event, TextAdded):
                generated += event.text

        thunk.events.subscribe(note)
        pieces = []
        async for piece in thunk.astream(retractions=True):
            if not pieces and not isinstance(piece, Retracted):
                # It comes with the first sentence, or the next one has just been generated.
                assert len(splitter("sentence").feed(generated)) <= 2
            pieces.append(piece)
        assert WORD not in "".join(each for each in pieces if isinstance(each, str)).lower()
        assert WORD not in str(thunk.value).lower()
        rejected += sum(not attempt.success for attempt in thunk.sampling.attempts)
        shown += bool(thunk.value)

    async def main() -> None:
        async with MelleaSession(LocalBackend()) as m:
            for seed in range(RUNS):
                await run(m, seed)

    asyncio.run(main())
    assert rejected, "the word was generated, and rejected"
    assert shown, "and other sentences were shown"
