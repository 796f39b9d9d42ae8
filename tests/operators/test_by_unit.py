"""Operators from chunks to their text and its units."""

from __future__ import annotations

from typing import Any

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as ops
from reactivex.testing import TestScheduler

from mellea_rx import Chunk, Usage
from mellea_rx.operators import (
    Unit,
    accumulate,
    by_line,
    by_paragraph,
    by_sentence,
    by_word,
    splitter,
    text,
)
from tests.operators.cuts import cut, places, texts
from tests.operators.virtual import cold, seen

BY: dict[Unit, Any] = {
    "word": by_word,
    "sentence": by_sentence,
    "line": by_line,
    "paragraph": by_paragraph,
}


@given(st.sampled_from(sorted(BY)), texts, places)
def test_joined_units_are_the_text_whatever_the_chunks(
    unit: Unit, whole: str, at: list[int]
) -> None:
    chunks = [Chunk(piece) for piece in cut(whole, at)]
    log = seen(TestScheduler(), rx.from_iterable(chunks).pipe(BY[unit]()))
    assert log.text == whole
    into = splitter(unit)
    assert log.items == into.feed(whole) + into.flush()
    assert log.terminals == ["completed"]


def test_a_unit_comes_when_it_is_complete_and_the_rest_at_the_end() -> None:
    time = TestScheduler()
    source = cold(time, t1="One. Two.", t2=" ", t3="T", t4="hree. F", t9=ValueError("it broke"))
    log = seen(time, source.pipe(by_sentence()))
    assert list(zip(log.times, log.items, strict=False)) == [
        (1, "One. "),
        (3, "Two. "),
        (4, "Three. "),
        (9, "F"),
    ]
    assert log.terminals == ["error"]


def test_text_leaves_out_what_has_none() -> None:
    said = [Chunk(), Chunk("a"), Chunk(thinking="hm"), Chunk("b", usage=Usage(1, 2)), "", "c"]
    assert rx.of(*said).pipe(text(), ops.to_list()).run() == ["a", "b", "c"]


@given(st.lists(st.text(max_size=3)))
def test_accumulate_gives_every_prefix_that_was_there(pieces: list[str]) -> None:
    log = seen(TestScheduler(), rx.from_iterable(pieces).pipe(accumulate()))
    said = [piece for piece in pieces if piece]
    assert log.items == ["".join(said[: count + 1]) for count in range(len(said))]


@pytest.mark.parametrize("operator", [by_word, by_sentence, by_line, by_paragraph])
def test_a_chunk_without_text_changes_nothing(operator: Any) -> None:
    source = rx.of(Chunk("a. B"), Chunk(thinking="hm"), Chunk("c", finish_reason="stop"))
    assert seen(TestScheduler(), source.pipe(operator())).text == "a. Bc"
