"""Laws of the reader: whatever the chunks and the delays, the pieces' join is the whole."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from mellea_rx import Chunk, MelleaSession, ScriptedBackend
from mellea_rx.backends.scripted import Pause
from mellea_rx.core.fold import Fold
from tests.core.hand import STREAM, soon

pieces = st.lists(st.text(max_size=4) | st.sampled_from([Pause(0), Pause(0.001)]), max_size=12)
delays = st.lists(st.sampled_from([0.0, 0.0, 0.0005, 0.002]), max_size=6)


def whole(answer: list[str | Pause]) -> str:
    return "".join(piece for piece in answer if isinstance(piece, str))


@settings(max_examples=60, deadline=None)
@given(pieces, delays, st.booleans())
def test_the_pages_loop_takes_the_whole_at_any_pace(
    answer: list[str | Pause], pauses: list[float], live: bool
) -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(answer))
        mot = await m.ainstruct("Go.", model_options=STREAM if live else None)
        got = []
        waits = iter(pauses)
        while not mot.is_computed():
            await asyncio.sleep(next(waits, 0))
            got.append(await soon(mot.astream()))
        assert "".join(got) == whole(answer)
        assert mot.value == whole(answer)

    asyncio.run(main())


@settings(max_examples=60, deadline=None)
@given(pieces, delays)
def test_the_iterator_takes_the_whole_at_any_pace(
    answer: list[str | Pause], pauses: list[float]
) -> None:
    async def main() -> None:
        mot = await MelleaSession(ScriptedBackend(answer)).ainstruct("Go.", model_options=STREAM)
        got = []
        waits = iter(pauses)
        async for piece in mot.astream():
            got.append(piece)
            await asyncio.sleep(next(waits, 0))
        assert "".join(got) == whole(answer)
        assert all(got), "no piece is empty"
        assert mot.is_computed()

    asyncio.run(main())


@settings(max_examples=40, deadline=None)
@given(pieces)
def test_the_plain_iterator_takes_the_whole(answer: list[str | Pause]) -> None:
    m = MelleaSession(ScriptedBackend(answer))
    mot = asyncio.run(m.ainstruct("Go.", model_options=STREAM))
    assert "".join(mot.stream()) == whole(answer)


chunks = st.builds(
    Chunk,
    text=st.text(max_size=4),
    thinking=st.text(max_size=4),
    finish_reason=st.none() | st.sampled_from(["stop", "length"]),
    model=st.none() | st.just("m"),
)


@given(st.lists(chunks), st.integers(0, 10))
def test_folding_in_two_steps_is_folding_in_one(given: list[Chunk], cut: int) -> None:
    at_once, first, second, joined = Fold(), Fold(), Fold(), Fold()
    for chunk in given:
        at_once.add(chunk)
    for chunk in given[:cut]:
        first.add(chunk)
    for chunk in given[cut:]:
        second.add(chunk)
    joined.add(first.take())
    joined.add(second.take())
    assert joined.peek() == at_once.peek()
    assert not first
    assert not second
