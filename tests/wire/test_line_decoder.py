"""The line decoder: only LF ends a line, and the division into blocks changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx.errors import ResponseTooLargeError
from mellea_rx.wire.line_decoder import LineDecoder
from tests.wire.cuts import cut, places

line_bytes = st.binary(max_size=20).map(lambda b: b.replace(b"\n", b"").rstrip(b"\r"))


def lines_of(decoder: LineDecoder, blocks: list[bytes]) -> list[bytes]:
    return [line for block in blocks for line in decoder.feed(block)] + decoder.flush()


@given(st.lists(line_bytes), st.sampled_from([b"\n", b"\r\n"]), places)
def test_the_same_lines_however_the_bytes_are_cut(
    lines: list[bytes], end: bytes, at: list[int]
) -> None:
    data = b"".join(line + end for line in lines)
    assert lines_of(LineDecoder(), cut(data, at)) == lines


@given(st.binary(max_size=60), places)
def test_any_bytes_give_the_same_lines_however_they_are_cut(data: bytes, at: list[int]) -> None:
    assert lines_of(LineDecoder(), cut(data, at)) == lines_of(LineDecoder(), [data])


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_unicode_line_separators_are_text(separator: str) -> None:
    line = f'{{"content": "a{separator}b"}}'.encode()
    assert LineDecoder().feed(line + b"\n") == [line]


def test_one_cr_goes_with_its_lf_wherever_the_bytes_are_cut() -> None:
    data = b"one\r\r\ntwo\r\n"
    for at in range(len(data) + 1):
        assert lines_of(LineDecoder(), [data[:at], data[at:]]) == [b"one\r", b"two"]


def test_a_last_line_without_its_end_comes_with_the_flush_once() -> None:
    decoder = LineDecoder()
    assert decoder.feed(b"one\ntwo\r") == [b"one"]
    assert decoder.flush() == [b"two"]
    assert decoder.flush() == []


def test_a_long_line_is_taken_up_to_the_cap() -> None:
    line = b"x" * 1000
    assert LineDecoder(1000).feed(line + b"\n") == [line]


@pytest.mark.parametrize("blocks", [[b"x" * 1001], [b"x" * 600, b"x" * 600], [b"x" * 1001 + b"\n"]])
def test_a_line_over_the_cap_is_refused(blocks: list[bytes]) -> None:
    decoder = LineDecoder(1000)
    with pytest.raises(ResponseTooLargeError, match="1,000 bytes"):
        lines_of(decoder, blocks)


def test_a_line_that_ends_over_the_cap_is_refused_when_its_parts_were_under_it() -> None:
    decoder = LineDecoder(1000)
    decoder.feed(b"x" * 999)
    with pytest.raises(ResponseTooLargeError):
        decoder.feed(b"xx\n")


def test_ten_megabytes_in_one_line_take_linear_time_in_small_blocks() -> None:
    decoder = LineDecoder()
    block = b"x" * 1024
    for _ in range(10 * 1024):
        assert decoder.feed(block) == []
    (line,) = decoder.feed(b"\n")
    assert len(line) == 10 * 1024 * 1024


def test_a_line_of_exactly_the_cap_is_taken_again_and_again() -> None:
    lines = LineDecoder(max_line=4)
    assert lines.feed(b"abcd") == []
    assert lines.feed(b"\nab") == [b"abcd"]
    assert lines.feed(b"cd\n") == [b"abcd"]
    assert lines.feed(b"abcd\nabcd\n") == [b"abcd", b"abcd"]
    assert lines.feed(b"abcd") == []
    assert lines.flush() == [b"abcd"]
    assert lines.feed(b"abcd") == []
    assert lines.feed(b"\n") == [b"abcd"]
