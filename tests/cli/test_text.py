"""Texts and times, made fit for one line."""

from __future__ import annotations

import pytest

from mellea_rx.cli.text import first_line, seconds


@pytest.mark.parametrize(
    ("text", "width", "line"),
    [
        ("short", 5, "short"),
        (" two\n lines\t", 20, "two lines"),
        ("Write a poem\nabout mountains.", 20, "Write a po…ountains."),
        ("abcdef", 5, "ab…ef"),
        ("abcdef", 4, "ab…f"),
        ("abcdef", 1, "…"),
        ("a\x1bb", 9, "a␛b"),
    ],
)
def test_a_text_on_one_line_keeps_both_its_ends(text: str, width: int, line: str) -> None:
    assert first_line(text, width) == line


@pytest.mark.parametrize(
    ("value", "told"), [(None, "-"), (0.123, "0.12 s"), (99.5, "99.50 s"), (100.4, "100 s")]
)
def test_a_time_for_people(value: float | None, told: str) -> None:
    assert seconds(value) == told
