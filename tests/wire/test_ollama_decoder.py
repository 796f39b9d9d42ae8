"""The decoder of Ollama's lines."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx import ToolCall, Usage
from mellea_rx.backends.ollama import OllamaDecoder
from mellea_rx.errors import GenerationFailedError, ProtocolError
from tests.wire.cuts import cut, fed, places, text_of, texts


def line(content: str = "", *, ascii_only: bool = False, **more: Any) -> bytes:
    message = {"role": "assistant", "content": content, **more.pop("message", {})}
    body = {"model": "m", "message": message, "done": False, **more}
    return json.dumps(body, ensure_ascii=ascii_only).encode() + b"\n"


DONE = line(done=True, done_reason="stop", prompt_eval_count=5, eval_count=2)


def decoder() -> OllamaDecoder:
    return OllamaDecoder("http://server")


@given(st.lists(texts), st.booleans(), places)
def test_the_same_text_however_the_bytes_are_cut(
    pieces: list[str], ascii_only: bool, at: list[int]
) -> None:
    data = b"".join(line(piece, ascii_only=ascii_only) for piece in pieces) + DONE
    one = decoder()
    chunks = fed(one, cut(data, at))
    assert text_of(chunks) == "".join(pieces)
    assert (chunks[-1].finish_reason, chunks[-1].usage) == ("stop", Usage(5, 2))
    assert one.done
    assert one.error is None


def test_each_byte_on_its_own_gives_the_same_text() -> None:
    data = line("Hé\u2028llo 😀\x85") + DONE
    chunks = fed(decoder(), [data[i : i + 1] for i in range(len(data))])
    assert text_of(chunks) == "Hé\u2028llo 😀\x85"


def test_the_done_line_may_carry_content_and_leave_out_its_reason() -> None:
    (chunk,) = fed(decoder(), [line("all", done=True)])
    assert (chunk.text, chunk.finish_reason) == ("all", "stop")


def test_the_reason_length_is_passed_on() -> None:
    assert (
        fed(decoder(), [line("a", done=True, done_reason="length")])[-1].finish_reason == "length"
    )


def test_a_last_line_without_lf_counts() -> None:
    one = decoder()
    chunks = fed(one, [line("a"), DONE.rstrip(b"\n")])
    assert one.done
    assert text_of(chunks) == "a"
    assert chunks[-1].usage == Usage(5, 2)


def test_thinking_comes_apart_from_text() -> None:
    data = line(message={"thinking": "hm, "}) + line(message={"thinking": "so"}) + line("x") + DONE
    chunks = fed(decoder(), [data])
    assert "".join(chunk.thinking for chunk in chunks) == "hm, so"
    assert text_of(chunks) == "x"


def test_text_and_thinking_in_one_line_are_both_kept() -> None:
    (chunk,) = fed(decoder(), [line("x", message={"thinking": "hm"})])
    assert (chunk.text, chunk.thinking) == ("x", "hm")


def test_tool_calls_come_whole() -> None:
    call = {"function": {"name": "add", "arguments": {"x": 1, "deep": {"y": [2]}}}}
    chunks = fed(decoder(), [line(message={"tool_calls": [call, call]}), DONE])
    calls = [each for chunk in chunks for each in chunk.tool_calls]
    assert calls == [ToolCall("add", {"x": 1, "deep": {"y": [2]}})] * 2


def test_an_error_line_keeps_the_text_before_it() -> None:
    one = decoder()
    chunks = fed(one, [line("half ") + line("way") + b'{"error": "out of memory"}\n'])
    assert text_of(chunks) == "half way"
    assert isinstance(one.error, GenerationFailedError)
    assert "out of memory" in str(one.error)
    assert not one.done


@pytest.mark.parametrize(
    "bad",
    [
        b"[]\n",
        b"NaN\n",
        b"<html>\n",
        b'{"message": {"content": 5}}\n',
        b'{"eval_count": ' + b"9" * 5000 + b"}\n",
        b"[" * 100_000 + b"\n",
    ],
)
def test_a_line_that_is_not_of_the_protocol_keeps_the_text_before_it(bad: bytes) -> None:
    one = decoder()
    chunks = fed(one, [line("kept") + bad])
    assert text_of(chunks) == "kept"
    assert isinstance(one.error, ProtocolError)


def test_nothing_after_the_done_line_counts() -> None:
    one = decoder()
    chunks = fed(one, [line("a") + DONE + line("b") + DONE, line("c") + b"rubbish\n"])
    assert text_of(chunks) == "a"
    assert sum(chunk.finish_reason is not None for chunk in chunks) == 1
    assert one.error is None


def test_blank_lines_are_nothing() -> None:
    assert text_of(fed(decoder(), [b"\n\r\n" + line("a") + b"\n" + DONE])) == "a"


def test_an_end_without_a_done_line_is_no_end() -> None:
    one = decoder()
    fed(one, [line("a")])
    assert not one.done


WRONG = [7, 7.5, True, [], [1], {}, {"a": 1}, None, "word"]
ABOUT = ["model", "created_at", "remote_model", "context", "logprobs"]
ABOUT += ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("field", [*ABOUT, "done_reason", "prompt_eval_count", "eval_count"])
def test_an_optional_field_of_a_wrong_type_costs_no_answer(field: str, wrong: Any) -> None:
    one = decoder()
    end = line(**{"done": True, "done_reason": "stop", field: wrong})
    chunks = fed(one, [line("kept", **{field: wrong}) + end])
    assert one.error is None
    assert text_of(chunks) == "kept"
    assert chunks[-1].finish_reason == (
        wrong if (field, wrong) == ("done_reason", "word") else "stop"
    )


@pytest.mark.parametrize("wrong", [7, True, [], ["hm"], {"a": 1}, None])
@pytest.mark.parametrize("field", ["thinking", "tool_name", "role", "images"])
def test_an_optional_field_of_a_message_costs_no_answer(field: str, wrong: Any) -> None:
    one = decoder()
    chunks = fed(one, [line("kept", message={field: wrong}) + DONE])
    assert one.error is None
    assert (text_of(chunks), chunks[-1].thinking) == ("kept", "")


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({"prompt_eval_count": 5.0, "eval_count": "2"}, Usage(5, 2)),
        ({"prompt_eval_count": None, "eval_count": 2}, Usage(0, 2)),
        ({"prompt_eval_count": -1, "eval_count": [2]}, Usage(0, 0)),
    ],
)
def test_of_counts_what_can_be_read_is_read(counts: dict[str, Any], usage: Usage) -> None:
    assert fed(decoder(), [line("a") + line(done=True, **counts)])[-1].usage == usage


def test_a_done_of_null_is_no_end_and_no_error() -> None:
    one = decoder()
    assert text_of(fed(one, [line("a", done=None) + DONE])) == "a"
    assert one.done


def test_a_call_without_arguments_is_one() -> None:
    calls = [{"id": 7, "function": {"name": "f", "arguments": None}}]
    chunks = fed(decoder(), [line(message={"tool_calls": calls}) + DONE])
    assert chunks[-1].tool_calls == (ToolCall("f", {}),)


@pytest.mark.parametrize("nothing", ["", {}, [], False])
def test_an_error_that_is_empty_is_none(nothing: Any) -> None:
    one = decoder()
    assert text_of(fed(one, [line("kept", error=nothing) + DONE])) == "kept"
    assert (one.done, one.error) == (True, None)
