"""Incremental splitting: the units joined are the text, and do not depend on its cuts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx import InvalidInputError
from mellea_rx.core.types.unit import UnitName
from mellea_rx.operators import splitter
from tests.operators.cuts import cut, places, texts
from tests.operators.linear import assert_linear

UNITS: tuple[UnitName, ...] = get_args(UnitName)
units = st.sampled_from(UNITS)


def split(unit: UnitName, *pieces: str) -> list[str]:
    """Return all units of a text in these pieces."""
    into = splitter(unit)
    return [each for piece in pieces for each in into.feed(piece)] + into.flush()


@given(units, texts, places)
def test_joined_units_are_the_text(unit: UnitName, text: str, at: list[int]) -> None:
    assert "".join(split(unit, *cut(text, at))) == text


@given(units, texts, places)
def test_no_cut_changes_the_units(unit: UnitName, text: str, at: list[int]) -> None:
    assert split(unit, *cut(text, at)) == split(unit, *text) == split(unit, text)


@given(units, texts)
def test_no_unit_is_empty_and_only_a_whole_text_is_white_space(unit: UnitName, text: str) -> None:
    found = split(unit, text)
    assert all(found)
    if unit != "line" and len(found) > 1:
        assert all(each.strip() for each in found)


@given(units, texts)
def test_a_unit_keeps_the_white_space_after_it(unit: UnitName, text: str) -> None:
    for each in split(unit, text)[1:]:
        if unit in ("word", "sentence"):
            assert not each[0].isspace()


@given(units, texts, texts)
def test_flush_leaves_nothing_behind(unit: UnitName, text: str, more: str) -> None:
    into = splitter(unit)
    into.feed(text)
    into.flush()
    assert into.flush() == []


@pytest.mark.parametrize(
    ("unit", "text", "expected"),
    [
        ("word", "  one two\n\nthree ", ["  one ", "two\n\n", "three "]),
        ("word", "one", ["one"]),
        ("word", "\u3000好 的", ["\u3000好 ", "的"]),
        ("line", "one\r\n\ntwo\rx\u2028y\x85z", ["one\r\n", "\n", "two\rx\u2028y\x85z"]),
        ("paragraph", "a\nb\n\n\nc\n \t\nd", ["a\nb\n\n\n", "c\n \t\n", "d"]),
        ("paragraph", "\n\na\n\n    code\n", ["\n\na\n\n", "    code\n"]),
        ("paragraph", "a\r\n\r\nb", ["a\r\n\r\n", "b"]),
    ],
)
def test_words_lines_and_paragraphs(unit: UnitName, text: str, expected: list[str]) -> None:
    assert split(unit, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        # Each "/" is where a sentence begins; it is taken out before.
        "One. /Two! /Three? /Four",
        "Mr. Poe met Dr. Who. /They, e.g. Dr. Who, i.e. he, spoke of pens, ink, etc. and left.",
        "It costs $3.14 or 3.50. /A .5 is fine. /So is 1.000.000 in Berlin.",
        "J. R. R. Tolkien wrote it in the U.S. Army's library, with a Ph.D. Degree at all.",
        "At 5 p.m. /She left at 9 a.m. and came back. /So did I. /We waited.",
        "Wait... what? /Well... /Then go… /And so on… and on.",
        "What?! /No!! /Really?!? /Yes.",
        '"Come in." /He did. /"Why?" she asked. /(He knew.) /[So did she.] /Next.',
        "“Fine.” /»Ja.« /„So.“ /‘Yes.’ /Next.",
        "*Bold.* /__More.__ /Plain.",
        "他走了。/她来了！/真的吗？/「好。」/『是』。/完",
        "他说。/“好”。/然后（完）。）/完了",
        "好。 /Good. /好！/Good",
        "A title\n\n/The text begins.\n/And goes on\nin the next line.",
        "Steps:\n1. Wash it.\n/2. Dry it.\n/3. Fold it.",
        "- One\n- Two\n\n/After the list.",
        "See Fig. 3, Eq. 4, No. 5 and Smith et al. for more. /It was 1999. /Then 2000.",
        "No. /I do not. /Wait a sec. /Do a rep. /So it is, Rep. Smith, No. 7.",
        "Visit example.com or read a.b.c now. /Call foo.bar() twice.",
        "Yahoo! is a name. /So is Who?",
        "क्या हाल है। /अच्छा।",
        "Over.   \n  /Next.",
    ],
)
def test_sentences(text: str) -> None:
    expected = text.split("/")
    assert split("sentence", "".join(expected)) == expected


@pytest.mark.parametrize(
    ("unit", "before", "telling", "complete"),
    [
        ("word", "one ", "t", "one "),
        ("sentence", "One. ", "T", "One. "),
        ("sentence", "好。", "好", "好。"),
        ("sentence", "One.)”\n", "T", "One.)”\n"),
        ("line", "one", "\n", "one\n"),
        ("paragraph", "one\n\n  ", "t", "one\n\n"),
    ],
)
def test_a_unit_is_out_with_the_character_that_proves_it(
    unit: UnitName, before: str, telling: str, complete: str
) -> None:
    into = splitter(unit)
    assert [each for character in before for each in into.feed(character)] == []
    assert into.feed(telling) == [complete]


@pytest.mark.parametrize("unknown", ["words", "", None, 3, ["word"]])
def test_an_unknown_unit_is_refused_by_name(unknown: Any) -> None:
    with pytest.raises(InvalidInputError, match="'word', 'sentence', 'line', 'paragraph'"):
        splitter(unknown)


PROSE = "It was 3.14 p.m. when Mr. Poe said: “No!” Then he left.\n\n"
HARD = {
    "no end": "a",
    "only gaps": " ",
    "only stops": ".",
    "only quotes after a full stop": "」",
    "only newlines": "\n",
}


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        *(pytest.param(unit, PROSE, id=f"{unit}-prose") for unit in UNITS),
        *(pytest.param("sentence", text, id=f"sentence-{name}") for name, text in HARD.items()),
        pytest.param("paragraph", HARD["only newlines"], id="paragraph-newlines"),
        pytest.param("line", HARD["no end"], id="line-no end"),
    ],
)
def test_the_time_is_linear_in_the_text(unit: UnitName, text: str) -> None:
    def work(size: int) -> Callable[[], None]:
        pieces = cut("。" + text * (size // len(text)), range(0, size, 5))

        def run() -> None:
            split(unit, *pieces)

        return run

    assert_linear(work)
