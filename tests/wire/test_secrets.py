"""Keys are taken out of a text, however a server echoes them."""

from __future__ import annotations

import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx.wire.secrets import Redactor, Secret

KEY = 'sk-Zz/"0123 456+secret=='


@pytest.mark.parametrize(
    "echo",
    [
        KEY,
        json.dumps(KEY)[1:-1],
        json.dumps(KEY)[1:-1].replace("/", "\\/"),
        quote(KEY),
        quote(KEY, safe=""),
        quote_plus(KEY),
        quote(KEY, safe="").replace("%2F", "%2f").replace("%3D", "%3d").replace("%2B", "%2b"),
    ],
)
def test_a_key_is_found_in_every_form(echo: str) -> None:
    assert Redactor([KEY])(f"no {echo} here") == "no *** here"


@pytest.mark.parametrize("piece", ["0123 456", KEY[:8], KEY[-8:], KEY[3:20], KEY[:-1]])
def test_a_piece_of_eight_characters_is_found(piece: str) -> None:
    assert Redactor([KEY])(f"'{piece}'") == "'***'"
    assert Redactor([KEY])(piece) == "***"
    assert Redactor([KEY])(f"{piece}, {piece}") == "***, ***"


def test_seven_characters_of_a_long_key_are_no_piece_of_it() -> None:
    assert Redactor(["0123456789"])("1234567") == "1234567"
    assert Redactor(["0123456789"])("0123456x456789") == "0123456x456789"


def test_what_is_as_long_as_a_piece_is_found_also_within_other_text() -> None:
    assert Redactor(["01234567"])("x01234567y") == "x***y"


def test_a_short_key_is_found_whole_only() -> None:
    redact = Redactor(["a/b"])
    assert redact("a/b a%2Fb a%2fb a\\/b a b") == "*** *** *** *** a b"


def test_a_short_key_is_found_in_every_form_of_its_signs() -> None:
    redact = Redactor(["a/ b"])
    assert redact("a%2F%20b a/%20b a%2F+b a\\/ b") == "*** *** *** ***"


def test_no_key_and_an_empty_key_change_nothing() -> None:
    assert Redactor([])("text") == "text"
    assert Redactor([""])("text") == "text"


def test_the_longer_of_two_short_keys_goes_first() -> None:
    assert Redactor(["ab", "abcd"])("abcd ab") == "*** ***"
    assert Redactor(["b", "ab"])("ab b") == "*** ***"


def test_neither_shows_what_it_keeps() -> None:
    assert repr(Redactor([KEY])) == "<Redactor>"
    assert repr(Secret(KEY)) == "'***'"
    assert str(Secret(KEY)) == KEY
    # What is made of a secret is no secret any more, and a key may come as one.
    assert Redactor([Secret(KEY)])(KEY) == "***"


@given(
    key=st.text('abcDEF/+=%\\" é', min_size=8, max_size=30),
    before=st.text("abcDEF/ ", max_size=30),
    after=st.text("abcDEF/ ", max_size=30),
)
def test_no_piece_of_a_key_is_left_in_any_text(key: str, before: str, after: str) -> None:
    said = Redactor([key])(before + key + after)
    pieces = {key[at : at + 8] for at in range(len(key) - 7)}
    assert not [piece for piece in pieces if piece in said]
