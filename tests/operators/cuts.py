"""Hypothesis strategies for texts, and for cutting a text into pieces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import strategies as st


def cut(text: str, places: Sequence[int]) -> list[str]:
    """`text` in pieces, cut at `places` (taken modulo its length)."""
    at = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(at)]


places = st.lists(st.integers(0, 10_000), max_size=12)
"""Positions at which to cut a text."""

_CHARACTERS = "aBé好١. .!?…。！？\"'”)」*(  \n\n\t\r\u2028\u00a0"
_TELLING = [*_CHARACTERS, "Mr.", "e.g.", "U.S.", "3.14", "1. ", "No. 5", "\n\n", "..."]

texts = st.lists(st.sampled_from(_TELLING) | st.text(max_size=3), max_size=30).map("".join)
"""Any text; most of them have something to split."""
