"""`by_json_member`: members of a JSON answer as units, whatever stands around them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx.operators import splitter
from mellea_rx.stdlib.requirements import by_json_member
from tests.operators.cuts import cut, places
from tests.operators.linear import assert_linear

SCALARS = st.none() | st.booleans() | st.integers(-9, 99) | st.floats(0, 9)
VALUES = st.recursive(
    SCALARS | st.text('a"\\,]}{: ', max_size=4),
    lambda of: st.lists(of, max_size=3) | st.dictionaries(st.text(max_size=2), of, max_size=3),
    max_leaves=5,
)
MEMBERS = st.lists(VALUES, max_size=5) | st.dictionaries(st.text(max_size=3), VALUES, max_size=5)
AROUND = st.text("ab \n`.", max_size=5)

anything = st.lists(
    st.sampled_from([*'{}[]:,"\\ a1-', '"a"', '"a": ', "null", "1.5", "true", ", ", "\n", "\\u"]),
    max_size=25,
).map("".join)
"""Any text; much of it is nearly JSON."""


def units_of(*pieces: str) -> list[str]:
    into = splitter(by_json_member())
    return [each for piece in pieces for each in into.feed(piece)] + into.flush()


@given(anything, places)
def test_joined_units_are_the_text_and_no_cut_changes_them(text: str, at: list[int]) -> None:
    whole = units_of(text)
    assert "".join(whole) == text
    assert all(whole)
    assert units_of(*cut(text, at)) == units_of(*text) == whole


@given(MEMBERS, AROUND, AROUND, st.sampled_from([None, 1, 2]), st.booleans())
def test_there_is_a_unit_for_each_member_and_it_has_its_text(
    value: Any, before: str, after: str, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    units = units_of(before + text + after)
    assert len(units) == max(1, len(value))
    units[0] = units[0][len(before) + 1 :]
    units[-1] = units[-1][: len(units[-1]) - len(after)].rstrip()[:-1]
    bare = [unit.strip().removesuffix(",") for unit in units if value]
    if isinstance(value, dict):
        assert [json.loads(f"{{{each}}}") for each in bare] == [{k: v} for k, v in value.items()]
    else:
        assert [json.loads(each) for each in bare] == value


@pytest.mark.parametrize(
    "text",
    [
        # Each "|" is where a unit begins; it is taken out before.
        '{"a": 1, |"b": {"c": [1, 2]},\n |"d": "x, y"}',
        '```json\n[\n  {"a": 1},\n  |{"a": 2}\n]\n```\n',
        '["one",|"two"] and then ["three", "four"]',
        "[1, |2, |3",
        "[]",
        "",
        "No JSON, at all.",
        "As [Smith, 1999] says, {so} it is.",
        "{name}, {place}",
        "[1, |2, ]",
        "[1, |2 3, 4]",
        '{"a": 1, |"b" 2, "c": 3}',
        '{"a": 1, b: 2, "c": 3}',
        '{"a": NaN, "b": 2}',
    ],
)
def test_where_units_end(text: str) -> None:
    expected = text.split("|")
    assert units_of("".join(expected)) == [each for each in expected if each]


def test_a_member_is_out_when_the_next_one_begins() -> None:
    into = splitter(by_json_member())
    pieces = ['Here: {"a": "x"', ", ", '"', 'b": 12', "}", " Done."]
    assert [into.feed(each) for each in pieces] == [[], [], ['Here: {"a": "x", '], [], [], []]
    assert into.flush() == ['"b": 12} Done.']


def test_half_characters_and_deep_nesting_are_text_like_any_other() -> None:
    half = '["\ud83d", 2]'
    assert "".join(units_of(half)) == half
    deep = "[" + "[" * 5_000 + "]" * 5_000 + ", 2]"
    assert "".join(units_of(deep)) == deep


def test_it_is_one_value() -> None:
    assert by_json_member() == by_json_member() == pickle.loads(pickle.dumps(by_json_member()))
    assert repr(by_json_member()) == "by_json_member()"


@pytest.mark.parametrize("text", ['{"a": "b"}, ', "1, ", "x", '"', "[", "{"])
def test_the_time_is_linear_in_the_text(text: str) -> None:
    def work(size: int) -> Callable[[], None]:
        pieces = cut("[" + text * (size // len(text)), range(0, size, 5))

        def run() -> None:
            units_of(*pieces)

        return run

    assert_linear(work)
