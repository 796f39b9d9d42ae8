"""Server-sent events, by the standard and in the variants of model servers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx.errors import ResponseTooLargeError
from mellea_rx.wire.sse import SseDecoder
from tests.wire.cuts import cut, places

field_lines = st.sampled_from(
    [b"data: a", b"data:b", b"data:  two spaces", b"data", b": comment", b"event: x", b"id: 7", b""]
)
line_ends = st.sampled_from([b"\n", b"\r", b"\r\n"])


def events_of(blocks: list[bytes]) -> list[bytes]:
    decoder = SseDecoder()
    return [event for block in blocks for event in decoder.feed(block)] + decoder.flush()


@given(st.lists(st.tuples(field_lines, line_ends)), places)
def test_the_same_events_however_the_bytes_are_cut(
    lines: list[tuple[bytes, bytes]], at: list[int]
) -> None:
    data = b"".join(line + end for line, end in lines)
    assert events_of(cut(data, at)) == events_of([data])


@given(st.binary(max_size=60), places)
def test_any_bytes_give_the_same_events_however_they_are_cut(data: bytes, at: list[int]) -> None:
    assert events_of(cut(data, at)) == events_of([data])


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_lines_end_in_cr_lf_or_crlf(end: bytes) -> None:
    data = b"data: one" + end + end + b"data: two" + end + end
    assert events_of([data]) == [b"one", b"two"]
    assert events_of([data[i : i + 1] for i in range(len(data))]) == [b"one", b"two"]


def test_an_event_whose_lines_end_in_cr_comes_without_waiting_for_the_next_one() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: one\r\r") == [b"one"]
    assert decoder.feed(b"\ndata: two\r\n\r\n") == [b"two"]


def test_the_data_lines_of_one_event_are_joined_by_lf() -> None:
    assert events_of([b"data: a\ndata:\ndata: b\n\n"]) == [b"a\n\nb"]


def test_only_the_first_space_after_the_colon_goes() -> None:
    assert events_of([b"data:a\n\ndata: a\n\ndata:  a\n\n"]) == [b"a", b"a", b" a"]


def test_comments_and_other_fields_are_no_events() -> None:
    data = b": OPENROUTER PROCESSING\n\nevent: ping\nid: 1\nretry: 10\n\ndata: x\n\n"
    assert events_of([data]) == [b"x"]


def test_one_leading_bom_is_dropped() -> None:
    assert events_of([b"\xef\xbb\xbfdata: x\n\n"]) == [b"x"]
    assert events_of([b"\xef", b"\xbb", b"\xbfdata: x\n\n"]) == [b"x"]


def test_a_bom_later_on_is_text() -> None:
    assert events_of([b"data: \xef\xbb\xbfx\n\n"]) == [b"\xef\xbb\xbfx"]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_unicode_line_separators_are_text(separator: str) -> None:
    assert events_of([f"data: a{separator}b\n\n".encode()]) == [f"a{separator}b".encode()]


def test_an_unfinished_event_at_the_end_is_dropped() -> None:
    assert events_of([b"data: one\n\ndata: half"]) == [b"one"]
    assert events_of([b"data: one\n\ndata: no blank line\n"]) == [b"one"]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r"])
def test_a_last_done_needs_no_blank_line(end: bytes) -> None:
    assert events_of([b"data: x\n\ndata: [DONE]" + end]) == [b"x", b"[DONE]"]


def test_what_is_no_event_is_kept_to_be_shown() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"<!DOCTYPE html>\n<p>502 Bad Gateway</p>\n") == []
    assert decoder.flush() == []
    assert b"<!DOCTYPE html>" in decoder.stray


def test_what_is_no_event_is_not_kept_without_limit() -> None:
    decoder = SseDecoder()
    for _ in range(1000):
        decoder.feed(b"<p>again and again</p>\n")
    assert len(decoder.stray) < 1000


def test_an_error_field_is_data() -> None:
    (event,) = events_of([b'error: {"code": 500, "message": "no slot"}\n\n'])
    assert b"no slot" in event


@pytest.mark.parametrize("line", [b"data: " + b"x" * 90 + b"\n", b"data\n", b"error: 5\n"])
def test_an_event_over_the_cap_is_refused_though_its_lines_are_below_it(line: bytes) -> None:
    with pytest.raises(ResponseTooLargeError, match="an event of more than"):
        SseDecoder(20_000).feed((line + b": a comment\n" * 3) * 30_000)


def test_events_below_the_cap_are_taken_however_many() -> None:
    decoder = SseDecoder(100)
    for _ in range(50):
        assert decoder.feed(b"data: " + b"x" * 40 + b"\ndata: y\n\n") == [b"x" * 40 + b"\ny"]


def test_an_event_of_exactly_the_cap_is_taken_again_and_again() -> None:
    event = b"data: ab\ndata: cd\n\n"  # the name of a field counts, except in the first line
    assert SseDecoder(11).feed(event * 3) == [b"ab\ncd"] * 3
    decoder = SseDecoder(10)
    assert decoder.feed(b"data: a\ndata: b\n\n") == [b"a\nb"]
    with pytest.raises(ResponseTooLargeError):
        decoder.feed(event)


def test_only_the_lf_right_after_a_cr_goes_with_it() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\r") == []
    assert decoder.feed(b"\ndata: b") == []
    assert decoder.feed(b"\n\n") == [b"a\nb"]


def test_nothing_is_kept_of_a_stream_that_has_only_events() -> None:
    decoder = SseDecoder()
    decoder.feed(b"event: x\nid: 1\nretry: 2\n: ping\ndata: a\n\n")
    assert decoder.stray == b""
    decoder.feed(b"<html>\n")
    assert decoder.stray == b"<html>\n"


@pytest.mark.parametrize("cut", [0, 9, 10])
def test_a_bom_after_the_first_line_is_text_however_the_bytes_are_cut(cut: int) -> None:
    data = b"data: a\n\n\xef\xbb\xbfdata: b\n\n"
    decoder = SseDecoder()
    assert decoder.feed(data[:cut]) + decoder.feed(data[cut:]) == [b"a"]
    assert decoder.stray.startswith(b"\xef\xbb\xbfdata")


def test_400_bytes_are_kept_of_what_is_no_event() -> None:
    decoder = SseDecoder()
    decoder.feed(b"x" * 300 + b"\n" + b"y" * 300 + b"\n" + b"z\n")
    assert decoder.stray == b"x" * 300 + b"\n" + b"y" * 99 + b"\n"
    full = SseDecoder()
    full.feed(b"x" * 399 + b"\n" + b"y\n")
    assert full.stray == b"x" * 399 + b"\n"
