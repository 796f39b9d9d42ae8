"""Laws of release policies: whatever the chunks, the verdicts and the policy, what stands is the
value, and nobody takes void text for text that stands."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mellea_rx import (
    Chunk,
    GenerationCancelledError,
    MelleaSession,
    Retracted,
    RetractedError,
    ScriptedBackend,
)
from mellea_rx.backends import Pause
from mellea_rx.operators import apply_retractions
from mellea_rx.stdlib.requirements import StreamContext, check
from mellea_rx.stdlib.sampling import (
    MultiTurn,
    OnReject,
    RejectionSampling,
    Release,
    RepairTemplate,
    WeakThenStrong,
)
from mellea_rx.testing import run_virtual

WORDS = ["One. ", "Two ", "three. ", "Bad. ", "Ba", "d. ", "Hm. ", "Late. ", "\n", "Fi", "ne. "]
attempts = st.lists(
    st.lists(st.sampled_from([*WORDS, *map(Pause, (0.1, 1.0))]), max_size=10),
    min_size=1,
    max_size=4,
)
releases = st.sampled_from(["accepted", "validated", "live"])
rejections = st.sampled_from(["fail", "marker", "continue"])
lags = st.lists(st.sampled_from([0.0, 0.05, 0.3, 2.0]), max_size=6)


class OneAtATime(ScriptedBackend):
    """A backend that refuses a request while another one runs."""

    def stream(self, request: Any) -> Any:
        assert self.running == 0, "an attempt began before the one before it had ended"
        return super().stream(request)


def word_verdict(sentence: str) -> bool | None:
    if "Bad" in sentence:
        return False
    return None if "Hm" in sentence else True


async def judged(sentence: str, so_far: StreamContext) -> bool | None:
    assert sentence
    assert not any("Bad" in each for each in so_far.units)
    return word_verdict(sentence)


async def ends_well(text: str) -> bool:
    return "Late" not in text


CHECKS = {
    "units": [check("calm", stream_validate=judged)],
    "two": [
        check("calm", stream_validate=judged),
        check("words", stream_validate=lambda word: "Bad" not in word, unit="word"),
    ],
    "end": [check("in time", ends_well)],
    "both": [
        check("calm", ends_well, stream_validate=judged),
        check("in time", ends_well),
    ],
}


STRATEGIES: dict[str, Any] = {
    "rejection": lambda budget, _, **policy: RejectionSampling(budget, **policy),
    "repair": lambda budget, _, **policy: RepairTemplate(budget, **policy),
    "turns": lambda budget, _, **policy: MultiTurn(budget, **policy),
    "strong": lambda budget, backend, **policy: WeakThenStrong(
        backend, weak_budget=budget, **policy
    ),
}


@dataclass
class Seen:
    """The items that a reader or subscriber got, and its end."""

    items: list[Any] = field(default_factory=list)
    ends: list[Any] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text that stands for it."""
        text = ""
        for item in self.items:
            if isinstance(item, Retracted):
                assert 0 <= item.characters <= len(text)
                text = text[: len(text) - item.characters]
            else:
                text += item.text if isinstance(item, Chunk) else item
        return text

    @property
    def all_text(self) -> str:
        """All text that it got, void text too."""
        parts = (each.text if isinstance(each, Chunk) else each for each in self.items)
        return "".join(parts)


async def read(thunk: Any, retractions: bool, pauses: list[float]) -> Seen:
    seen, waits = Seen(), iter(pauses)
    try:
        async for item in thunk.astream(retractions=retractions):
            seen.items.append(item)
            await asyncio.sleep(next(waits, 0.0))
    except RetractedError as error:
        seen.ends.append(error)
    else:
        seen.ends.append(None)
    return seen


def subscribed(thunk: Any) -> Seen:
    seen = Seen()
    thunk.subscribe(seen.items.append, seen.ends.append, lambda: seen.ends.append(None))
    return seen


@settings(max_examples=150, deadline=None)
@given(
    attempts,
    releases,
    rejections,
    st.sampled_from(sorted(CHECKS)),
    st.sampled_from(sorted(STRATEGIES)),
    st.integers(1, 3),
    lags,
    st.booleans(),
    st.sampled_from([0.05, 0.4, 1.5, 30.0]),
)
def test_the_text_that_stands_is_the_value(
    script: list[Any],
    release: Release,
    on_reject: OnReject,
    checks: str,
    strategy: str,
    budget: int,
    pauses: list[float],
    takes_retractions: bool,
    late: float,
) -> None:
    async def main() -> None:
        backend = OneAtATime(*script, delay=0.1)
        made = STRATEGIES[strategy](budget, backend, release=release, on_reject=on_reject)
        m = MelleaSession(backend)
        thunk = await m.ainstruct("Go.", requirements=CHECKS[checks], strategy=made, stream=True)
        so_far: list[str] = []
        thunk.pipe(apply_retractions()).subscribe(so_far.append, lambda _: so_far.append("#"))
        early = subscribed(thunk)
        reading = asyncio.ensure_future(read(thunk, takes_retractions, pauses))
        await asyncio.sleep(late)
        later = subscribed(thunk)
        value = await thunk.avalue()
        reader = await reading
        await asyncio.sleep(1)
        last = subscribed(thunk)
        await asyncio.sleep(1)

        assert value == thunk.text
        accepted = thunk.sampling.success
        for seen in (reader, early, later, last):
            assert len(seen.ends) == 1, "there is exactly one terminal"
            if seen.ends[0] is None:
                assert seen.text == value
            else:
                assert isinstance(seen.ends[0], RetractedError)
                assert seen.ends[0].text.startswith(seen.text) or on_reject != "fail"
            if release == "validated" or (release == "accepted" and accepted):
                sentences = seen.all_text.replace("Late", "")
                assert checks == "end" or "Bad" not in sentences
        if takes_retractions:
            assert reader.ends == [None]
        if on_reject != "fail":
            assert early.ends == later.ends == [None]
            assert (so_far[-1:] or [""]) == [value]
        assert last.ends == [None]
        assert not any(isinstance(item, Retracted) for item in last.items)
        assert backend.running == 0

    run_virtual(main())


@settings(max_examples=60, deadline=None)
@given(
    attempts,
    releases,
    rejections,
    st.sampled_from(sorted(CHECKS)),
    st.sampled_from([0.0, 0.05, 0.15, 0.3, 0.75, 1.3, 2.0]),
    st.booleans(),
)
def test_a_cancel_in_any_state_ends_all_once(
    script: list[Any],
    release: Release,
    on_reject: OnReject,
    checks: str,
    after: float,
    takes_retractions: bool,
) -> None:
    async def main() -> None:
        backend = OneAtATime(*script, delay=0.1)
        strategy = RejectionSampling(3, release=release, on_reject=on_reject)
        thunk = await MelleaSession(backend).ainstruct(
            "Go.", requirements=CHECKS[checks], strategy=strategy, stream=True
        )
        seen = subscribed(thunk)
        reading = asyncio.ensure_future(read(thunk, takes_retractions, []))
        await asyncio.sleep(after)
        thunk.cancel()
        await asyncio.sleep(1)
        assert backend.running == 0
        assert len(seen.ends) == 1
        assert reading.done()
        if thunk.error is not None:
            failed = reading.exception() or (reading.result().ends or [None])[0]
            assert isinstance(failed, GenerationCancelledError | RetractedError)
            # A subscriber that was not told of a retraction has only text that was not void then.
            assert isinstance(seen.ends[0], RetractedError) or seen.text == thunk.text

    run_virtual(main())
