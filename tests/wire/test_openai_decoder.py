"""The decoder of OpenAI's events: text, thinking, usage, the end, and faults."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx import Usage
from mellea_rx.errors import GenerationFailedError, ProtocolError
from tests.wire.cuts import cut, fed, places, text_of, texts
from tests.wire.openai_frames import DONE, END, STOP, USAGE, decoder, delta, event, said


@given(st.lists(texts), st.sampled_from([b"\n", b"\r\n", b"\r"]), places)
def test_the_same_text_however_the_bytes_are_cut(
    pieces: list[str], end: bytes, at: list[int]
) -> None:
    data = (b"".join(map(said, pieces)) + END).replace(b"\n", end)
    one = decoder()
    chunks = fed(one, cut(data, at))
    assert text_of(chunks) == "".join(pieces)
    assert (chunks[-1].finish_reason, chunks[-1].usage) == ("stop", Usage(5, 2))
    assert one.done
    assert one.error is None


def test_unicode_line_separators_in_the_json_are_text() -> None:
    assert text_of(fed(decoder(), [said("a\u2028b\x85c\u2029d") + END])) == "a\u2028b\x85c\u2029d"


def test_usage_comes_in_a_chunk_after_the_finish_reason() -> None:
    (_, last) = fed(decoder(), [said("a"), STOP + USAGE + DONE])
    assert (last.usage, last.finish_reason, last.model) == (Usage(5, 2), "stop", "m")


def test_usage_may_come_with_the_finish_reason() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    chunks = fed(decoder(), [said("a") + delta(reason="length", usage=usage) + DONE])
    assert (chunks[-1].usage, chunks[-1].finish_reason) == (Usage(1, 2), "length")


def test_no_usage_is_no_error() -> None:
    assert fed(decoder(), [said("a") + STOP + DONE])[-1].usage is None


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_thinking_comes_apart_from_text(field: str) -> None:
    chunks = fed(decoder(), [delta({field: "hm"}) + said("x") + END])
    assert "".join(chunk.thinking for chunk in chunks) == "hm"
    assert text_of(chunks) == "x"


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_text_and_thinking_in_one_delta_are_both_kept(field: str) -> None:
    chunks = fed(decoder(), [delta({"content": "x", field: "hm"}) + END])
    assert text_of(chunks) == "x"
    assert "".join(chunk.thinking for chunk in chunks) == "hm"


def test_done_without_its_blank_line_is_an_end() -> None:
    one = decoder()
    assert text_of(fed(one, [said("a") + STOP + b"data: [DONE]"])) == "a"
    assert one.done


def test_a_finish_reason_without_done_is_an_end() -> None:
    one = decoder()
    chunks = fed(one, [said("a") + STOP])
    assert (one.done, chunks[-1].finish_reason) == (True, "stop")


def test_usage_after_a_finish_reason_without_done_is_kept() -> None:
    one = decoder()
    chunks = fed(one, [said("a") + STOP + USAGE])
    assert (chunks[-1].usage, chunks[-1].finish_reason) == (Usage(5, 2), "stop")


def test_neither_a_finish_reason_nor_done_is_no_end() -> None:
    one = decoder()
    assert text_of(fed(one, [said("a")])) == "a"
    assert not one.done


def test_done_alone_is_no_success() -> None:
    one = decoder()
    assert text_of(fed(one, [said("a") + DONE])) == "a"
    assert not one.done


def test_nothing_after_done_counts() -> None:
    one = decoder()
    chunks = fed(one, [said("a") + END + said("b") + DONE, said("c"), b"data: rubbish\n\n"])
    assert text_of(chunks) == "a"
    assert sum(chunk.finish_reason is not None for chunk in chunks) == 1
    assert one.error is None


def test_an_error_in_the_stream_keeps_the_text_before_it() -> None:
    one = decoder()
    chunks = fed(one, [said("half ") + said("way") + event({"error": {"message": "no memory"}})])
    assert text_of(chunks) == "half way"
    assert isinstance(one.error, GenerationFailedError)
    assert "no memory" in str(one.error)
    assert not one.done


@pytest.mark.parametrize(
    "bad",
    [
        b"[]",
        b"NaN",
        b"<html>",
        b'{"choices": 5}',
        b'{"usage": {"prompt_tokens": ' + b"9" * 5000 + b"}}",
        b"[" * 100_000,
    ],
)
def test_an_event_that_is_not_of_the_protocol_keeps_the_text_before_it(bad: bytes) -> None:
    one = decoder()
    chunks = fed(one, [said("kept") + b"data: " + bad + b"\n\n" + END])
    assert text_of(chunks) == "kept"
    assert isinstance(one.error, ProtocolError)
    assert not one.done


def test_a_page_of_html_is_no_end_and_its_beginning_is_there_to_be_shown() -> None:
    one = decoder()
    assert fed(one, [b"<!DOCTYPE html>\n<html>\n</html>\n"]) == []
    assert not one.done
    assert b"<!DOCTYPE html>" in one.stray


def test_bare_json_is_no_end_and_is_there_to_be_shown() -> None:
    one = decoder()
    assert fed(one, [json.dumps({"error": {"message": "bad key"}}).encode()]) == []
    assert not one.done
    assert b"bad key" in one.stray


def test_lone_surrogates_and_bad_bytes_are_mended() -> None:
    bad = rb'data: {"choices": [{"delta": {"content": "x\ud83d' + b"\xff" + b'"}}]}\n\n'
    assert text_of(fed(decoder(), [bad + END])) == "x\ufffd\ufffd"
