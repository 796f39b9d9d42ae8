"""JSON payloads: invalid characters are replaced, everything else that is wrong is an error."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx.errors import ProtocolError
from mellea_rx.wire.error_text import excerpt
from mellea_rx.wire.json_payload import PayloadDecoder, as_count


class Payload(msgspec.Struct):
    text: str = ""
    count: int = 0


def decode(payload: bytes) -> Payload:
    return PayloadDecoder(Payload, "the server").decode(payload)


@given(st.text(st.characters(codec="utf-8")))
def test_text_goes_through_as_it_is(text: str) -> None:
    assert decode(msgspec.json.encode({"text": text})).text == text


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (rb'{"text": "half \ud83d"}', "half \ufffd"),
        (rb'{"text": "\udc00 low"}', "\ufffd low"),
        (rb'{"text": "whole \ud83d\ude00"}', "whole \U0001f600"),
        (b'{"text": "bad \xff byte"}', "bad \ufffd byte"),
        (b'{"text": "cut \xf0\x9f\x98"}', "cut \ufffd"),
        (rb'{"text": "nul \u0000 char"}', "nul \x00 char"),
        ('{"text": "a\u2028b\x85c"}'.encode(), "a\u2028b\x85c"),
    ],
)
def test_bad_characters_do_not_lose_the_answer(payload: bytes, text: str) -> None:
    found = decode(payload).text
    assert found == text
    found.encode()  # any text can be printed


@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b"null",
        b'"text"',
        b"NaN",
        b'{"count": NaN}',
        b'{"count": Infinity}',
        # Also if invalid characters next to it were replaced.
        b'{"text": "bad \xff byte", "other": NaN}',
        b'{"text": "bad \xff byte", "other": [-Infinity]}',
        b'{"count": ' + b"9" * 5000 + b"}",
        b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" * 100_000,
        b"<html><body>502</body></html>",
        b'{"text": 5}',
        b'{"text": "cut off',
        b"",
        b"\xff\xfe",
    ],
)
def test_what_is_not_of_the_protocol_is_told(payload: bytes) -> None:
    with pytest.raises(ProtocolError, match="sent JSON that its protocol does not define"):
        decode(payload)


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b"<html>", "JSONDecodeError"),
        (b'{"text": 5}', "ValidationError"),
        (b"[" * 100_000, "RecursionError"),
    ],
)
def test_the_message_says_what_is_wrong(payload: bytes, kind: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(payload)
    assert str(caught.value) == (
        f"the server sent JSON that its protocol does not define ({kind}): {excerpt(payload)}"
    )


def test_the_message_shows_the_beginning_only() -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(b"<html>" + b"x" * 100_000)
    assert "<html>" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_control_characters_in_an_excerpt_are_escaped() -> None:
    assert excerpt(b"\x1b[2J<p>\n") == r"\x1b[2J<p>\n"


def test_a_count_has_a_limit() -> None:
    assert as_count(2**53) == 2**53
    assert as_count(2**53 + 1) is None
