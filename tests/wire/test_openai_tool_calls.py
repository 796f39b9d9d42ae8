"""Tool calls arrive in pieces, and their indexes are not reliable."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx import ToolCall
from mellea_rx.errors import ProtocolError
from tests.wire.cuts import cut, fed, places
from tests.wire.openai_frames import CALLED, DONE, call, decoder, delta, said

ADD = ToolCall("add", {"x": 1}, "c1")
SUB = ToolCall("sub", {"y": 2}, "c2")


def calls_of(*frames: bytes) -> list[ToolCall]:
    one = decoder()
    found = [each for chunk in fed(one, frames) for each in chunk.tool_calls]
    assert one.error is None
    assert one.done
    return found


def test_pieces_with_an_index_are_put_together() -> None:
    frames = [
        call(0, "c1", name="add", arguments=""),
        call(0, arguments='{"x":'),
        call(1, "c2", name="sub", arguments='{"y"'),
        call(0, arguments=" 1}"),
        call(1, arguments=": 2}"),
        CALLED,
    ]
    assert calls_of(*frames) == [ADD, SUB]


def test_a_missing_index_goes_on_with_the_latest_call() -> None:
    frames = [
        call(None, "c1", name="add", arguments=""),
        call(None, arguments='{"x": 1}'),
        call(None, "c2", name="sub", arguments='{"y":'),
        call(None, arguments=" 2}"),
        CALLED,
    ]
    assert calls_of(*frames) == [ADD, SUB]


def test_a_repeated_index_with_another_id_is_another_call() -> None:
    frames = [
        call(0, "c1", name="add", arguments='{"x": 1}'),
        call(0, "c2", name="sub", arguments='{"y": 2}'),
        CALLED,
    ]
    assert calls_of(*frames) == [ADD, SUB]


def test_pieces_without_id_after_a_repeated_index_belong_to_the_latest_call() -> None:
    frames = [
        call(0, "c1", name="add", arguments='{"x": 1}'),
        call(0, "c2", name="sub", arguments='{"y":'),
        call(0, arguments=" 2}"),
        CALLED,
    ]
    assert calls_of(*frames) == [ADD, SUB]


def test_whole_calls_without_index_and_id_are_told_apart_by_their_names() -> None:
    frames = [
        call(None, name="add", arguments='{"x": 1}'),
        call(None, name="sub", arguments='{"y": 2}'),
        CALLED,
    ]
    assert [each.name for each in calls_of(*frames)] == ["add", "sub"]


def test_a_first_index_above_zero_is_fine() -> None:
    frames = [call(3, "c1", name="add", arguments='{"x":'), call(3, arguments=" 1}"), CALLED]
    assert calls_of(*frames) == [ADD]


def test_a_call_without_arguments_has_none() -> None:
    assert calls_of(call(0, "c", name="now"), CALLED) == [ToolCall("now", {}, "c")]


def test_several_calls_in_one_delta() -> None:
    parts = [
        {"index": 0, "id": "c1", "function": {"name": "add", "arguments": '{"x": 1}'}},
        {"index": 1, "id": "c2", "function": {"name": "sub", "arguments": '{"y": 2}'}},
    ]
    assert calls_of(delta({"content": None, "tool_calls": parts}), CALLED) == [ADD, SUB]


def test_text_and_a_tool_call_in_one_delta_are_both_kept() -> None:
    part = {"index": 0, "id": "c1", "function": {"name": "add", "arguments": '{"x": 1}'}}
    one = decoder()
    chunks = fed(one, [delta({"content": "let me see", "tool_calls": [part]}) + CALLED])
    assert "".join(chunk.text for chunk in chunks) == "let me see"
    assert [each for chunk in chunks for each in chunk.tool_calls] == [ADD]


@pytest.mark.parametrize("arguments", ["not json", '{"x": 1', "[1]", '"text"', "5"])
def test_arguments_that_are_no_object_are_an_error_that_names_the_tool(arguments: str) -> None:
    one = decoder()
    chunks = fed(one, [said("kept"), call(0, "c", name="add", arguments=arguments) + CALLED])
    assert isinstance(one.error, ProtocolError)
    assert "add" in str(one.error)
    assert not [each for chunk in chunks for each in chunk.tool_calls]
    assert "".join(chunk.text for chunk in chunks) == "kept"


def test_a_call_that_was_cut_off_by_its_length_never_comes() -> None:
    one = decoder()
    cut_off = call(0, "c", name="add", arguments='{"x": 1') + delta(reason="length") + DONE
    chunks = fed(one, [cut_off])
    assert not [each for chunk in chunks for each in chunk.tool_calls]
    assert "cut off by its length" in str(one.error)


arguments = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3)


@given(st.lists(arguments, min_size=1, max_size=3), places, places)
def test_the_same_calls_however_their_arguments_and_the_bytes_are_cut(
    given_calls: list[dict[str, object]], within: list[int], at: list[int]
) -> None:
    frames = []
    for index, values in enumerate(given_calls):
        frames.append(call(index, f"c{index}", name=f"f{index}", arguments=""))
        raw = json.dumps(values).encode()
        frames += [call(index, arguments=part.decode()) for part in cut(raw, within)]
    expected = [ToolCall(f"f{i}", values, f"c{i}") for i, values in enumerate(given_calls)]
    assert calls_of(*cut(b"".join(frames) + CALLED, at)) == expected
