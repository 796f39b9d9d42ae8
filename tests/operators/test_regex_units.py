"""`by_regex`: units end after matches, and do not depend on the cuts of the text."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx import InvalidInputError
from mellea_rx.operators import splitter
from mellea_rx.stdlib.requirements import by_regex
from tests.operators.cuts import cut, places
from tests.operators.linear import assert_linear

DECIDED_BY_THE_NEXT_CHARACTER = [
    *(";", r";\s*", r"\n+", r"[.!?]+\s", "a+b", "ab|b", r"</a>", r"a\b", r";(?=a)", r"\n(?=a)"),
    *(r"(?<=a)b", r"(?m)^a\n", r"(?i)B\.", r"\d+(?!\.)", r"\W"),
]
"""Patterns whose match is complete, or not, by the character behind it."""

OTHERS = [
    *(
        "a(bb)?",
        "a(?!bb)",
        "a$",
        r"(?m)a$",
        "(?=b)",
        "(?=bab)",
        r"\b",
        r"\B.",
        "a.*b",
        "^a",
        "(?<!a)(?=b)",
    ),
    *("(?s)a.*?;", "b.{3}", "a|abb", "abb|a", "(ab)+", r"(a)(?=.*;)", "(?<=^a)b", r"(?<=;;;;)a"),
]
"""Patterns that look further, are greedy, or match no characters."""

texts = st.text(alphabet="aabb;; \n.</>1", max_size=40)


def units_of(pattern: str, pieces: Any, **how: Any) -> list[str]:
    into = splitter(by_regex(pattern, **how))
    return [each for piece in pieces for each in into.feed(piece)] + into.flush()


@given(
    st.sampled_from(DECIDED_BY_THE_NEXT_CHARACTER + OTHERS),
    texts,
    places,
    st.integers(1, 12) | st.just(100),
)
def test_joined_units_are_the_text_and_no_cut_changes_them(
    pattern: str, text: str, at: list[int], longest: int
) -> None:
    whole = units_of(pattern, [text], longest=longest)
    assert "".join(whole) == text
    assert all(whole)
    assert units_of(pattern, cut(text, at), longest=longest) == whole
    assert units_of(pattern, text, longest=longest) == whole


@given(st.sampled_from(DECIDED_BY_THE_NEXT_CHARACTER), texts)
def test_units_end_where_finditer_finds_a_match(pattern: str, text: str) -> None:
    ends = [match.end() for match in re.finditer(pattern, text)]
    cuts = [0, *(end for end in ends if end < len(text)), len(text)]
    expected = [text[start:end] for start, end in pairwise(cuts)]
    assert units_of(pattern, [text]) == [each for each in expected if each]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        # Each "|" is where a unit begins; it is taken out before.
        (";", "a;|b;|;|c"),
        (r";\s*", "a; |b;|c;  "),
        (r"\n---\n", "one\n---\n|two\n---\n|three"),
        (r"\n(?=# )", "# One\ntext\n|# Two\n|# Three"),
        ("(?=#)", "a|#b|#c"),
        (r"</li>(\r\n)?", "<li>a</li>|\r\n<li>b</li>"),
        ("^#", "#| a # b"),
        (r"\b", "one| |two"),
        (r"(?s)<a>.*?</a>", "<a>1</a>|<a>\n2</a>|."),
        ("a{100}", "a" * 100),
    ],
)
def test_where_units_end(pattern: str, text: str) -> None:
    expected = text.split("|")
    assert units_of(pattern, "".join(expected)) == expected


def test_a_unit_is_out_with_the_character_behind_the_match() -> None:
    into = splitter(by_regex(r";\s*"))
    assert [into.feed(each) for each in ("a;", " ", "", "b")] == [[], [], [], ["a; "]]
    assert into.flush() == ["b"]
    assert into.flush() == []


def test_a_match_that_does_not_fit_is_not_found() -> None:
    text = "<a>" + "x" * 10 + "</a>."
    assert units_of("<a>.*</a>", [text], longest=len(text) - 1) == [text]
    assert units_of("<a>.*</a>", [text], longest=len(text)) == [text[:-1], "."]


def test_the_same_pattern_is_the_same_unit() -> None:
    semicolon = by_regex(";")
    assert semicolon == by_regex(re.compile(";")) == pickle.loads(pickle.dumps(semicolon))
    assert semicolon != by_regex(";", longest=7)
    assert repr(semicolon) == "by_regex(';')"
    assert repr(by_regex(";", longest=7)) == "by_regex(';', longest=7)"


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("a*", r"'a\*' matches the empty text.*give one that needs a character"),
        ("", "matches the empty text"),
        ("$", "matches the empty text"),
        ("(a", r"'\(a' is not a regular expression: missing \)"),
        (b";", "a str or a compiled pattern of `re`, not bytes"),
        (re.compile(b";"), "b';' is for bytes"),
        (None, "not NoneType"),
        (re.Pattern, "not the class Pattern"),
    ],
)
def test_what_is_no_pattern_for_units_is_refused(pattern: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^by_regex: .*{words}"):
        by_regex(pattern)


@pytest.mark.parametrize("longest", [0, -1, True, 1.5, None])
def test_a_limit_that_is_none_is_refused_by_name(longest: Any) -> None:
    with pytest.raises(InvalidInputError, match="longest must be an int, 1 or more"):
        by_regex(";", longest=longest)


@pytest.mark.parametrize("piece", [1, 5, 10_000])
@pytest.mark.parametrize("text", ["one; two;three ", "x", ";", " "])
def test_the_time_is_linear_in_the_text(text: str, piece: int) -> None:
    def work(size: int) -> Callable[[], None]:
        pieces = cut(text * (size // len(text)), range(0, size, piece))
        return lambda: assert_all_there(units_of(r";\s*", pieces), pieces)

    assert_linear(work)


def assert_all_there(units: list[str], pieces: list[str]) -> None:
    assert sum(map(len, units)) == sum(map(len, pieces))
