"""Values that users give to be sent as JSON: the place and the reason where that is impossible."""

from __future__ import annotations

import json
from enum import IntEnum, StrEnum
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx.core.types.validation import (
    MAX_DEPTH,
    depth_of,
    fault_in,
    lone_surrogate,
    well_formed,
)

any_text = st.text(st.characters(codec=None), max_size=8)
scalars = st.none() | st.booleans() | st.floats() | any_text | st.integers()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
)


@given(values)
def test_a_value_without_fault_goes_out_and_comes_back(value: Any) -> None:
    if not fault_in(value):
        assert json.loads(msgspec.json.encode(value)) == value


@given(values)
def test_a_value_with_a_fault_is_one_that_json_does_not_have(value: Any) -> None:
    if fault_in(value):
        text = json.dumps(value)
        big = any(len(word.strip("-")) > 18 for word in text.replace(",", " ").split())
        assert (
            "NaN" in text
            or "Infinity" in text
            or "\\ud" in text
            or big
            or "]" in text
            or "}" in text
        )


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


def test_enums_of_texts_and_ints_are_texts_and_ints() -> None:
    assert fault_in([Colour.RED, Level.LOW, True, None, {"a": (1, 2.5)}]) == ""


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_a_value_may_be_so_deep_and_no_deeper() -> None:
    assert fault_in(nested(MAX_DEPTH)) == ""
    for levels in (MAX_DEPTH + 1, 5000):
        assert f"nested more than {MAX_DEPTH} levels deep" in fault_in(nested(levels))


def test_a_value_that_contains_itself_is_too_deep() -> None:
    one: dict[str, Any] = {}
    one["self"] = [one]
    assert f"nested more than {MAX_DEPTH} levels deep" in fault_in(one)
    assert depth_of(one) > MAX_DEPTH


@given(values)
def test_the_depth_is_that_of_the_deepest(value: Any) -> None:
    def depth(each: Any) -> int:
        inner = (
            each.values() if isinstance(each, dict) else each if isinstance(each, list) else None
        )
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    assert depth_of(value) == depth(value)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (float("nan"), "nan, which JSON does not have"),
        (float("-inf"), "-inf, which JSON does not have"),
        ({"a": [1, object()]}, "at ['a'][1]: an object of type object, which JSON does not have"),
        ({"a": b"x"}, "at ['a']: an object of type bytes, which JSON does not have"),
        ({1: 2}, "1 is no name in JSON"),
        ("ab\ud83d", "a lone surrogate (U+D83D) at character 2, behind 'ab': half a character"),
        ("\udc00", "a lone surrogate (U+DC00) at character 0: half a character"),
        (2**64, "an int of more than 64 bits, which servers do not read"),
    ],
)
def test_the_fault_is_named_with_its_place(value: Any, told: str) -> None:
    assert fault_in(value) == told


@given(any_text)
def test_a_mended_text_can_be_encoded_and_a_good_one_is_the_same(text: str) -> None:
    mended = well_formed(text)
    mended.encode()
    assert lone_surrogate(mended) is None
    if lone_surrogate(text) is None:
        assert mended == text
