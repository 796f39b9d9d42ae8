"""Texts of a server in messages: short, on one line, and never a reason to fail."""

from __future__ import annotations

import pytest

from mellea_rx.wire.error_text import error_message, excerpt, message_of, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no such model", "no such model"),
        ("two\nlines\t", r"two\nlines\t"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("\ud800", r"\ud800"),
        ("Grüße ✓", "Grüße ✓"),
        ("", ""),
    ],
)
def test_what_cannot_be_seen_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_text_is_cut_after_its_limit_and_says_so() -> None:
    assert printable("abcd", 4) == "abcd"
    assert printable("abcde", 4) == "abcd…"
    assert printable("a" * 2000) == "a" * 2000
    assert printable("a" * 2001) == "a" * 2000 + "…"


def test_an_excerpt_of_bytes_is_text_whatever_they_are() -> None:
    assert excerpt(b"<html>\xff\x00") == "<html>�\\x00"
    assert excerpt("ü".encode() * 200) == "ü" * 200
    assert excerpt("ü".encode() * 201) == "ü" * 200 + "…"
    assert excerpt(b"abc", 2) == "ab…"
    # A character has at most four bytes, so the limit is one of characters.
    assert excerpt("😀".encode() * 3, 3) == "😀" * 3


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"error": "busy"}, "busy"),
        ({"message": "busy"}, "busy"),
        ({"detail": "busy"}, "busy"),
        ({"error": {"message": "busy", "code": 1}}, "busy"),
        ({"error": {"detail": "busy"}}, "busy"),
        ({"error": None, "message": "busy"}, "busy"),
        ("busy\n", r"busy\n"),
        ({"code": 1}, '{"code": 1}'),
        ({"detail": [{"loc": "größe"}]}, '[{"loc": "größe"}]'),
        ({"error": {"code": 1}}, '{"code": 1}'),
        (17, "17"),
        (None, "null"),
    ],
)
def test_an_error_says_what_it_says_however_it_is_wrapped(error: object, words: str) -> None:
    assert message_of(error) == words


def test_an_error_without_words_is_shown_in_part() -> None:
    assert message_of(["a" * 300]) == '["' + "a" * 198 + "…"


def test_an_error_that_no_json_can_show_does_not_fail() -> None:
    circle: list[object] = []
    circle.append(circle)
    assert message_of(circle) == "something that cannot be shown"


def test_a_body_that_is_no_json_is_shown_as_it_is() -> None:
    assert error_message(b'{"error": "busy"}') == "busy"
    assert error_message(b"<html>busy</html>") == "<html>busy</html>"
    assert error_message(b"[" * 5000) == "[" * 200 + "…"
    assert error_message(b"") == ""
