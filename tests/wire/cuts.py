"""Divides data into blocks at any places, for tests that a decoder's result does not depend on
them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """`data` divided into blocks at `places` (modulo its length)."""
    at = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(at)] or [b""]


places = st.lists(st.integers(0, 10_000), max_size=12)
"""A strategy for places to divide data at."""

texts = st.text(st.characters(codec="utf-8"), max_size=12)
"""A strategy for text of a model: any character that UTF-8 can encode."""


def fed(decoder: Any, blocks: Sequence[bytes]) -> list[Any]:
    """All chunks that a stream decoder returns for these blocks and its flush."""
    chunks = [decoder.feed(block) for block in blocks]
    chunks.append(decoder.flush())
    return [chunk for chunk in chunks if chunk is not None]


def text_of(chunks: Sequence[Any]) -> str:
    """The joined text of the chunks."""
    return "".join(chunk.text for chunk in chunks)
