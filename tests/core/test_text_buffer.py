"""Text that grows: all of it, whatever it is, and not much more than it."""

from __future__ import annotations

import tracemalloc

from hypothesis import example, given
from hypothesis import strategies as st

from mellea_rx.core.streams.buffers import TextBuffer

ANY_TEXT = st.text(st.characters(codec=None))  # halves of surrogate pairs too


@given(st.lists(ANY_TEXT))
@example(["\ud83d", "a", "\ude00"])
@example(["a", "\ud83d"])
def test_it_is_its_pieces(pieces: list[str]) -> None:
    buffer = TextBuffer()
    for count, piece in enumerate(pieces, 1):
        buffer.add(piece)
        assert str(buffer) == "".join(pieces[:count])


def test_many_small_pieces_weigh_little_more_than_their_text() -> None:
    count = 20_000
    tracemalloc.start()
    try:
        buffer = TextBuffer()
        for index in range(count):
            buffer.add(f"{index % 10_000:04d} ")
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(str(buffer)) == 5 * count
    assert grown < 2 * 5 * count
