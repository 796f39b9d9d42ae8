"""Laws of the reader: whatever the chunks and the delays, the pieces' join is the whole."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mellea_rx import Chunk, MelleaSession, ScriptedBackend, ToolCall, Usage
from mellea_rx.backends import Pause
from mellea_rx.core.streams.buffers import ChunkAccumulator
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


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "text": st.text(max_size=4),
    "thinking": st.text(max_size=4),
    "tool_calls": st.sampled_from(
        [(), (ToolCall("f", {}),), (ToolCall("g", {}), ToolCall("h", {}))]
    ),
    "usage": st.none() | st.builds(Usage, st.integers(0, 3), st.integers(0, 3)),
    "finish_reason": st.sampled_from([None, "", "stop", "length"]),
    "model": st.sampled_from([None, "", "m", "n"]),
}
one_field = st.sampled_from(sorted(FIELDS)).flatmap(
    lambda name: FIELDS[name].map(lambda value: Chunk(**{name: value}))
)
chunks = one_field | st.builds(Chunk, **FIELDS)


@given(st.lists(chunks))
def test_the_sum_of_chunks_has_all_text_all_calls_and_the_latest_of_other_fields(
    given: list[Chunk],
) -> None:
    accumulator = ChunkAccumulator()
    for chunk in given:
        accumulator.add(chunk)

    def last(name: str) -> Any:
        return next((v for c in reversed(given) if (v := getattr(c, name)) is not None), None)

    assert bool(accumulator) == bool(given)
    assert accumulator.take() == Chunk(
        "".join(chunk.text for chunk in given),
        "".join(chunk.thinking for chunk in given),
        tuple(call for chunk in given for call in chunk.tool_calls),
        last("usage"),
        last("finish_reason"),
        last("model"),
    )
    assert not accumulator
    assert accumulator.snapshot() == Chunk()


@given(st.lists(chunks), st.integers(0, 10))
def test_adding_chunks_in_two_steps_is_adding_them_in_one(given: list[Chunk], cut: int) -> None:
    at_once, first, second, joined = (
        ChunkAccumulator(),
        ChunkAccumulator(),
        ChunkAccumulator(),
        ChunkAccumulator(),
    )
    for chunk in given:
        at_once.add(chunk)
    for chunk in given[:cut]:
        first.add(chunk)
    for chunk in given[cut:]:
        second.add(chunk)
    joined.add(first.take())
    joined.add(second.take())
    assert joined.snapshot() == at_once.snapshot()
    assert not first
    assert not second
