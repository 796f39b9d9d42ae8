"""The wrapping around an answer is removed while it streams, however it is cut into chunks."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx import Chunk, Usage
from mellea_rx.core.text.unwrapping import FENCE, VALUE, StreamUnwrapper, WrapperPattern


def unwrapped(wrapper: WrapperPattern, *pieces: str) -> list[str]:
    """The pieces that come out, "" for those that bring nothing left out."""
    out: list[str] = []
    unwrapper = StreamUnwrapper(wrapper, lambda chunk: out.append(chunk.text))
    for piece in pieces:
        unwrapper.push(Chunk(piece))
    unwrapper.end()
    return out


def cut(text: str, at: list[int]) -> list[str]:
    """The text in pieces."""
    ends = sorted(each % (len(text) + 1) for each in at)
    return [text[a:b] for a, b in zip([0, *ends], [*ends, len(text)], strict=True)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
).flatmap(lambda value: st.sampled_from([json.dumps(value), json.dumps(value, indent=2)]))

CUTS = st.lists(st.integers(min_value=0, max_value=200), max_size=12)


@given(JSON, CUTS, st.sampled_from(["```json\n{}\n```", "```\n{}\n```\n", " \n```JSON\n{}```  "]))
def test_a_fence_is_taken_off_wherever_it_is_cut(text: str, at: list[int], fence: str) -> None:
    assert "".join(unwrapped(FENCE, *cut(fence.replace("{}", text), at))) == text


@given(JSON, CUTS)
def test_what_follows_a_fence_is_dropped(text: str, at: list[int]) -> None:
    said = f"```json\n{text}\n```\nI hope that `this` helps!"
    assert "".join(unwrapped(FENCE, *cut(said, at))) == text


@given(JSON, CUTS, st.sampled_from(['{"value":%s}', '{"value": %s}\n', ' { "value" :\n %s\n}\n']))
def test_a_value_comes_out_of_its_object(text: str, at: list[int], form: str) -> None:
    assert "".join(unwrapped(VALUE, *cut(form.replace("%s", text), at))) == text


@given(JSON, CUTS, st.sampled_from([FENCE, VALUE]))
def test_text_without_a_wrapper_is_unchanged(
    text: str, at: list[int], wrapper: WrapperPattern
) -> None:
    if not text.startswith('{"value"'):
        assert "".join(unwrapped(wrapper, *cut(text, at))) == text


@pytest.mark.parametrize(
    ("wrapper", "said", "left"),
    [
        (FENCE, "", ""),
        (FENCE, "  \n ", ""),
        (FENCE, "``", "``"),
        (FENCE, "```", "```"),
        (FENCE, "```json\n```", ""),
        (FENCE, "```json\n{", "{"),
        (FENCE, '```{"a": "``` in a string"}```', '{"a": "``` in a string"}'),
        (FENCE, "Here you are: ```{}```", "Here you are: ```{}```"),
        (VALUE, '{"value"', '{"value"'),
        (VALUE, '{"value": "cut', '"cut'),
        (VALUE, '{"other": 1}', '{"other": 1}'),
        (VALUE, '{"value": {"value": 1}}', '{"value": 1}'),
    ],
)
def test_what_is_half_a_shell_or_none(wrapper: WrapperPattern, said: str, left: str) -> None:
    assert "".join(unwrapped(wrapper, said)) == left
    assert "".join(unwrapped(wrapper, *said)) == left


def test_the_text_comes_as_it_does_and_only_what_may_be_the_end_waits() -> None:
    pieces = ["```", "json\n", '{"a": 1,', "\n", '"b": 2}', "\n", "```"]
    assert unwrapped(FENCE, *pieces) == ['{"a": 1,', '\n"b": 2}']


def test_what_is_not_text_passes() -> None:
    out: list[Chunk] = []
    unwrapper = StreamUnwrapper(FENCE, out.append)
    last = Chunk(usage=Usage(1, 2), finish_reason="stop")
    for chunk in (Chunk(thinking="hm"), Chunk("```json\n"), Chunk("1"), Chunk("\n```"), last):
        unwrapper.push(chunk)
    unwrapper.end()
    assert out == [Chunk(thinking="hm"), Chunk("1"), last]
