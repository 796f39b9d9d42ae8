"""`WaitingText`: what is taken, joined, is what was added."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mellea_rx.core.text.waiting_text import WaitingText


@given(st.lists(st.one_of(st.text(max_size=5), st.integers(0, 8))))
def test_characters_are_taken_in_order_and_once(steps: list[str | int]) -> None:
    waiting, added, taken = WaitingText(), "", ""
    for step in steps:
        if isinstance(step, str):
            waiting.add(step)
            added += step
            continue
        left = added[len(taken) :]
        got = waiting.take(step)
        assert got == left[:step]
        taken += got
    assert waiting.take(len(added) + 1) == added[len(taken) :]
