"""Bytes, cut anywhere: what every decoder must not notice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """`data` in blocks, cut at `places` (taken modulo its length)."""
    at = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(at)] or [b""]


places = st.lists(st.integers(0, 10_000), max_size=12)
"""Where to cut."""

texts = st.text(st.characters(codec="utf-8"), max_size=12)
"""What a model may say: any character that has a UTF-8."""


def fed(decoder: Any, blocks: Sequence[bytes]) -> list[Any]:
    """All chunks of a stream decoder for these blocks, its flush included."""
    chunks = [decoder.feed(block) for block in blocks]
    chunks.append(decoder.flush())
    return [chunk for chunk in chunks if chunk is not None]


def text_of(chunks: Sequence[Any]) -> str:
    """The join of the chunks' text."""
    return "".join(chunk.text for chunk in chunks)
