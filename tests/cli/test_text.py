"""Texts and times, formatted for one line of a terminal."""

from __future__ import annotations

import pytest

from mellea_rx.cli.terminal import escape_controls, format_seconds, one_line


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
    assert one_line(text, width) == line


@pytest.mark.parametrize("code", [*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
def test_what_turns_the_direction_of_text_is_shown_and_does_nothing(code: int) -> None:
    assert escape_controls(f"user{chr(code)}nimda") == f"user\\u{code:04x}nimda"


def test_text_of_any_direction_and_joined_signs_stay() -> None:
    for text in ("שלום עולם", "مرحبا", "👩‍💻", "a\u200db", "\ttab\n"):
        assert escape_controls(text) == text


@pytest.mark.parametrize(
    ("value", "told"), [(None, "-"), (0.123, "0.12 s"), (99.5, "99.50 s"), (100.4, "100 s")]
)
def test_a_time_for_people(value: float | None, told: str) -> None:
    assert format_seconds(value) == told
