"""OpenAI's protocol besides text: refusals, other choices, optional fields of a wrong type."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx import Chunk, ToolCall, Usage
from mellea_rx.core.streams.buffers import ChunkAccumulator
from mellea_rx.errors import ProtocolError
from tests.wire.cuts import cut, fed, places
from tests.wire.openai_frames import CALLED, DONE, END, STOP, call, decoder, delta, event, said


def whole(*frames: bytes, at: tuple[int, ...] = ()) -> Chunk:
    """The chunks of these frames, as one answer."""
    one = decoder()
    accumulator = ChunkAccumulator()
    for chunk in fed(one, cut(b"".join(frames), at)):
        accumulator.add(chunk)
    assert one.error is None, one.error
    assert one.done
    return accumulator.snapshot()


@given(st.lists(st.text("I can't.", max_size=6), min_size=1), places)
def test_a_refusal_is_the_answer_and_its_reason(pieces: list[str], at: list[int]) -> None:
    frames = [delta({"content": None, "refusal": piece}) for piece in pieces]
    answer = whole(*frames, END, at=tuple(at))
    assert answer.text == "".join(pieces)
    assert answer.finish_reason == ("refusal" if answer.text else "stop")


def test_a_refusal_after_some_text_comes_after_it() -> None:
    answer = whole(said("Well. "), delta({"refusal": "No."}), END)
    assert (answer.text, answer.finish_reason) == ("Well. No.", "refusal")


def test_a_refusal_whose_end_has_another_reason_keeps_that_it_is_one() -> None:
    answer = whole(delta({"refusal": "No"}), delta(reason="content_filter"), DONE)
    assert answer.finish_reason == "refusal"


def test_a_null_or_empty_refusal_is_none() -> None:
    for nothing in (None, "", [], {}, 0):
        answer = whole(delta({"content": "a", "refusal": nothing}), END)
        assert (answer.text, answer.finish_reason) == ("a", "stop")


def test_a_filter_of_the_servers_says_so() -> None:
    answer = whole(said("Once "), delta(reason="content_filter"), DONE)
    assert (answer.text, answer.finish_reason) == ("Once ", "content_filter")


@pytest.mark.parametrize(
    ("reason", "why"), [("length", "its length"), ("content_filter", "the server's content filter")]
)
def test_a_call_that_was_cut_off_says_by_what(reason: str, why: str) -> None:
    one = decoder()
    fed(one, [call(name="f", arguments='{"x": ') + delta(reason=reason) + DONE])
    assert f"no JSON object (it was cut off by {why})" in str(one.error)


def choice(index: Any, text: str = "", reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": {"content": text}, "finish_reason": reason}


def test_of_several_choices_only_the_first_is_read() -> None:
    mixed = [event({"choices": [choice(index, text)]}) for text in "ABC" for index in (0, 1)]
    ends = [event({"choices": [choice(index, reason="stop")]}) for index in (1, 0)]
    assert whole(*mixed, *ends, DONE).text == "ABC"


def test_of_several_choices_in_one_event_only_the_first_is_read() -> None:
    both = event({"choices": [choice(1, "no", "length"), choice(0, "yes")]})
    answer = whole(both, event({"choices": [choice(1, "no"), choice(0, "", "stop")]}), DONE)
    assert (answer.text, answer.finish_reason) == ("yes", "stop")


def test_the_end_of_another_choice_is_no_end() -> None:
    one = decoder()
    fed(one, [said("a") + event({"choices": [choice(1, "", "stop")]}) + DONE])
    assert not one.done


def test_usage_beside_another_choice_is_kept() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    answer = whole(said("a"), event({"choices": [choice(1, "b")], "usage": usage}), STOP, DONE)
    assert (answer.text, answer.usage) == ("a", Usage(3, 4))


def test_an_index_that_is_missing_or_null_is_the_first() -> None:
    bare = event({"choices": [{"delta": {"content": "a"}}]})
    assert whole(bare, event({"choices": [choice(None, "b")]}), STOP, DONE).text == "ab"


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 2}, Usage(5, 2)),
        ({"prompt_tokens": None, "completion_tokens": 2}, Usage(0, 2)),
        ({"prompt_tokens": 5.0, "completion_tokens": 2.0}, Usage(5, 2)),
        ({"prompt_tokens": "5", "completion_tokens": " 2 "}, Usage(5, 2)),
        ({"prompt_tokens": [], "completion_tokens": 2}, Usage(0, 2)),
        ({"prompt_tokens": -1, "completion_tokens": 2}, Usage(0, 2)),
        ({"prompt_tokens": "many", "completion_tokens": True}, None),
        ({"prompt_tokens": None, "completion_tokens": None}, None),
        ({}, None),
        (None, None),
        (7, None),
        ("7", None),
        ([1, 2], None),
        ({"prompt_tokens": 5, "completion_tokens_details": "x", "queue_time": []}, Usage(5, 0)),
        ({"prompt_tokens": "9" * 5000, "completion_tokens": 1e300}, None),
    ],
)
@pytest.mark.parametrize("beside", ["a choice", "nothing"])
def test_of_usage_what_can_be_read_is_read(usage: Any, read: Usage | None, beside: str) -> None:
    end = (
        delta(reason="stop", usage=usage)
        if beside == "a choice"
        else STOP + event({"choices": [], "usage": usage})
    )
    answer = whole(said("kept"), end, DONE)
    assert (answer.text, answer.usage) == ("kept", read)


WRONG = [7, 7.5, True, [], [1], {}, {"a": 1}, None]
OPTIONAL = ["id", "object", "created", "model", "usage", "timings", "system_fingerprint", "message"]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("field", OPTIONAL)
def test_an_optional_field_of_a_wrong_type_costs_no_answer(field: str, wrong: Any) -> None:
    frames = [
        event({"choices": [choice(0, "kept")], field: wrong}),
        event({"choices": [choice(0, "", "stop")], field: wrong}),
        event({"choices": [], field: wrong}),
    ]
    answer = whole(*frames, DONE)
    assert (answer.text, answer.finish_reason) == ("kept", "stop")


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("field", ["reasoning", "reasoning_content", "refusal", "role", "name"])
def test_an_optional_field_of_a_delta_costs_no_answer(field: str, wrong: Any) -> None:
    answer = whole(delta({"content": "kept", field: wrong}), END)
    assert (answer.text, answer.thinking, answer.finish_reason) == ("kept", "", "stop")


@pytest.mark.parametrize("wrong", [7, 1.5, ["stop"], {"type": "stop"}, True])
def test_an_end_whose_reason_is_no_word_is_an_end(wrong: Any) -> None:
    assert whole(said("kept"), delta(reason=wrong), DONE).finish_reason == "unknown"


@pytest.mark.parametrize("index", ["0", 0.0, None, "first", [0]])
@pytest.mark.parametrize("name", [7, None])
def test_a_tool_call_whose_index_and_id_are_of_a_wrong_type_is_one(index: Any, name: Any) -> None:
    head = {"index": index, "id": name, "type": 7, "function": {"name": "f", "arguments": "{"}}
    tail = {"index": index, "function": {"name": None, "arguments": "}"}}
    answer = whole(delta({"tool_calls": [head]}), delta({"tool_calls": [tail]}), CALLED)
    assert answer.tool_calls == (ToolCall("f", {}, "" if name is None else str(name)),)


def test_arguments_that_come_as_an_object_are_taken() -> None:
    piece = {"index": 0, "function": {"name": "f", "arguments": {"x": [1]}}}
    answer = whole(delta({"tool_calls": [piece]}), CALLED)
    assert answer.tool_calls == (ToolCall("f", {"x": [1]}),)


@pytest.mark.parametrize("bad", [{"content": 5}, {"content": ["x"]}, {"tool_calls": 5}])
def test_content_of_a_wrong_type_is_still_told(bad: Any) -> None:
    one = decoder()
    fed(one, [said("kept") + delta(bad) + call(name="f") + END])
    assert isinstance(one.error, ProtocolError)
