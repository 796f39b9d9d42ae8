"""Streamed text is wrapped between words, however it is divided into pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from mellea_rx.cli.terminal import WordWrap

TEXTS = st.text(st.sampled_from("ab,\n  日é"), max_size=80)


def wrapped(text: str, width: int, cuts: set[int] | None = None) -> str:
    wrap = WordWrap(lambda: width)
    places = sorted({0, len(text), *(cuts or ())} & set(range(len(text) + 1)))
    pieces = [text[a:b] for a, b in pairwise(places)]
    return "".join(map(wrap.feed, pieces)) + wrap.end()


@given(TEXTS, st.integers(2, 12))
def test_no_line_is_too_long_and_no_word_is_lost(text: str, width: int) -> None:
    shown = wrapped(text, width)
    assert all(cell_len(line.rstrip()) <= width for line in shown.split("\n"))
    assert "".join(shown.split()) == "".join(text.split())


@given(TEXTS, st.integers(2, 12), st.sets(st.integers(0, 80)))
def test_the_pieces_make_no_difference(text: str, width: int, cuts: set[int]) -> None:
    assert wrapped(text, width, cuts) == wrapped(text, width)


@given(st.lists(st.text("abc", min_size=1, max_size=6), min_size=1), st.integers(6, 20))
def test_a_word_that_fits_is_never_cut(words: list[str], width: int) -> None:
    assert wrapped(" ".join(words), width).split() == words


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("one two three", 8, "one two\nthree"),
        ("abcdefgh", 3, "abc\ndef\ngh"),
        ("a\n\n  b c", 9, "a\n\n  b c"),
        ("日本語です", 4, "日本\n語で\nす"),
        ("exact fit", 9, "exact fit"),
    ],
)
def test_lines_as_a_reader_expects_them(text: str, width: int, shown: str) -> None:
    assert wrapped(text, width) == shown
