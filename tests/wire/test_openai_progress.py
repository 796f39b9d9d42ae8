"""Progress without text: each block reports the size of the tool-call arguments in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mellea_rx import Chunk, ToolCall
from mellea_rx.core.streams.buffers import ChunkAccumulator
from tests.wire.cuts import cut, fed, places
from tests.wire.openai_frames import CALLED, call, decoder, delta, said


def test_each_piece_of_a_calls_arguments_is_a_chunk_with_its_size() -> None:
    one = decoder()
    assert one.feed(call(id="a", name="f", arguments="")) == Chunk()
    assert one.feed(call(arguments='{"x": ')) == Chunk(arguments_size=6)
    assert one.feed(call(arguments="1}")) == Chunk(arguments_size=2)
    last = one.feed(CALLED)
    assert last is not None
    assert last.tool_calls == (ToolCall("f", {"x": 1}, "a"),)


def test_text_and_arguments_in_one_block_are_one_chunk() -> None:
    assert decoder().feed(said("hm") + call(name="f", arguments="{}")) == Chunk(
        "hm", arguments_size=2
    )


def test_reasoning_that_is_not_shown_is_a_chunk_without_content() -> None:
    hidden = delta({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]})
    assert decoder().feed(hidden) == Chunk()


def test_comments_and_empty_deltas_are_no_progress() -> None:
    one = decoder()
    for idle in (b": ping\n\n", delta({}), delta({"role": "assistant", "content": ""}), delta()):
        assert one.feed(idle) is None


@given(st.lists(st.text("abc", max_size=5)), places)
def test_the_sizes_add_up_however_the_bytes_are_cut(pieces: list[str], at: list[int]) -> None:
    written = ['{"x": "', *pieces, '"}']
    data = b"".join(call(name="f", arguments=piece) for piece in written)
    whole = ChunkAccumulator()
    for chunk in fed(decoder(), cut(data + CALLED, at)):
        whole.add(chunk)
    assert whole.snapshot().arguments_size == len("".join(written))


def test_what_is_being_written_is_nothing_to_show() -> None:
    assert not Chunk(arguments_size=5)
