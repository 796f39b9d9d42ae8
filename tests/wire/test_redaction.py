"""Keys are removed from a text, in whatever form a server echoes them."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx.errors import InvalidInputError
from mellea_rx.wire.redaction import (
    Address,
    Redactor,
    Secret,
    as_key,
    credentials,
    shielded,
    without_login,
)

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


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.mark.parametrize("around", ["{}", "Bearer {}", "me:{}", "{}:", "x{}yz", "{}\n", "ab{}cdef"])
@pytest.mark.parametrize("alphabet", [str, lambda text: text.translate({43: "-", 47: "_"})])
def test_a_key_in_base64_is_found_whatever_is_encoded_with_it(around: str, alphabet: Any) -> None:
    for key in (KEY, "sk-???>>>~~~0123456789", "ключ-ключ-ключ"):
        said = alphabet(encoded(around.format(key)))
        for spelling in (said, said.rstrip("="), quote(said, safe=""), said.replace("/", "\\/")):
            shown = Redactor([key])(f"Authorization: Basic {spelling} is wrong")
            assert shown.startswith("Authorization: Basic ")
            assert shown.endswith(" is wrong")
            left = shown.removeprefix("Authorization: Basic ").removesuffix(" is wrong")
            left = left.replace("***", "").replace("%3D", "").replace("=", "")
            # Some bits of its first and last bytes share a character with the bytes around it.
            assert len(left) <= len(encoded(around.format("")).rstrip("=")) + 2, shown


@pytest.mark.parametrize("key", ["abc", "a/b", "abcd", "abcde"])
def test_a_short_key_in_base64_is_found_whole(key: str) -> None:
    assert Redactor([key])(f"({encoded(key)})") == "(***)"
    assert Redactor([key])(f"({encoded(key).rstrip('=')})") == "(***)"


@pytest.mark.parametrize("before", ["", "~", "~~"])
@pytest.mark.parametrize("key", ["sk-01234", "sk-0123456789"])
def test_a_key_in_base64_is_found_to_its_first_and_last_bit(before: str, key: str) -> None:
    said = encoded(f"{before}{key}~~~")
    # A character has six bits. Those that share bits with a byte around the key stay.
    start, end = -(-len(before) * 8 // 6), (len(before) + len(key)) * 8 // 6
    assert Redactor([key])(said) == f"{said[:start]}***{said[end:]}"


def test_a_login_is_taken_out_of_an_address() -> None:
    for address, bare, login in [
        ("http://me:pw@here:1/v1", "http://here:1/v1", "me:pw"),
        ("https://tok@here", "https://here", "tok:"),
        ("https://me:p%40w%2F@here/a@b", "https://here/a@b", "me:p@w/"),
        ("https://me:p@w@here", "https://here", "me:p@w"),
        ("https://here/a@b?c=d@e", "https://here/a@b?c=d@e", None),
        ("http://@here", "http://here", None),
        ("here", "here", None),
        ("ftp://a:b@here", "ftp://here", "a:b"),
    ]:
        assert without_login(address) == (bare, login)
    not_an_address: Any = 5
    assert without_login(not_an_address) == (5, None)
    assert "pw" not in repr(without_login("//me:pw@here"))


def test_credentials_are_a_header_and_what_not_to_show() -> None:
    login = credentials(None, Secret("me:hunter2-hunter2"))
    assert dict(login.headers) == {"Authorization": f"Basic {encoded('me:hunter2-hunter2')}"}
    token = credentials(None, Secret("token-token:"))
    key = credentials(Secret(KEY), Secret("me:pw"))
    # The client refuses such a password, by its name: so the header must be made first.
    assert credentials(None, Secret("me:\udc80")).secrets[1] == "\udc80"
    assert credentials(None, Secret("me:p:w")).secrets[1] == "p:w"
    assert key.headers["Authorization"] == f"Bearer {KEY}"
    assert dict(credentials(None, None).headers) == {}
    for each, hidden, shown in [
        (login, ["hunter2-hunter2", encoded("me:hunter2-hunter2")], ["me"]),
        (token, ["token-token", encoded("token-token:"), encoded("token-token")], []),
        (key, [KEY, "pw", encoded("me:pw")], ["me"]),
    ]:
        redact = Redactor(each.secrets)
        assert [redact(text) for text in hidden] == ["***"] * len(hidden)
        assert [redact(text) for text in shown] == shown
        assert "***" in repr(each.headers)
        assert not [text for text in hidden if text in repr(each)]


def test_an_address_shows_no_login() -> None:
    address = Address("http://me:hunter2@here/v1")
    assert address == "http://me:hunter2@here/v1"
    assert repr(address) == "'http://***@here/v1'"
    assert repr(Address("http://here")) == "'http://here'"
    assert repr(Address("http://me:hunt/er2@here")) == "'http://***@here'"
    assert repr(Address("http://me:hunt\ner2@here")) == "'http://***@here'"


def test_what_looks_like_a_key_among_arguments_is_kept_as_one() -> None:
    given = {"api_key": KEY, "hf_token": KEY, "base_url": "http://a:b@c", "parallel": 2, "x": "y"}
    held = shielded(given)
    assert held == given
    assert KEY not in repr(held)
    assert "a:b" not in repr(held)
    assert "'parallel': 2, 'x': 'y'" in repr(held)


def test_a_key_in_a_dict_among_arguments_is_kept_as_one() -> None:
    given = {"max_tokens": 7, "more": {"headers": {"Authorization": KEY, "x": "y"}, "tokens": [1]}}
    held = shielded(given)
    assert held == given
    assert KEY not in repr(held)
    assert repr(held["more"]["headers"]) == "{'Authorization': '***', 'x': 'y'}"


@pytest.mark.parametrize("value", [7, b"key", ["key"]])
def test_a_key_that_is_no_text_is_refused_and_not_shown(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^api_key must be a str, not [a-z]+$"):
        as_key(value)
    assert as_key(None) is None
    assert as_key("") is None


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
    # An operation on a secret returns a plain str, and a key may be passed as one.
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
