"""Splitters of the user's: what they return is checked against the text, as early as possible."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex.testing import TestScheduler

from mellea_rx import InvalidInputError
from mellea_rx.errors import CallbackError
from mellea_rx.operators import by_unit, splitter
from tests.operators.cuts import cut, places, texts
from tests.operators.linear import assert_linear
from tests.operators.virtual import END, cold, seen


class Pairs:
    """Two characters at a time; a generator, and an empty unit at the end."""

    def __init__(self) -> None:
        self.rest = ""

    def feed(self, text: str) -> Iterator[str]:
        self.rest += text
        while len(self.rest) >= 2:
            yield self.rest[:2]
            self.rest = self.rest[2:]

    def flush(self) -> list[str]:
        return [self.rest]


class Plays:
    """Returns what it is told to, whatever the text."""

    def __init__(self, *returned: Any) -> None:
        self.returned = list(returned)

    def feed(self, text: str) -> Any:
        return self.returned.pop(0)

    def flush(self) -> Any:
        return self.returned.pop(0)


@given(texts, places)
def test_units_of_an_own_splitter_come_as_they_are_without_empty_ones(
    text: str, at: list[int]
) -> None:
    into = splitter(Pairs)
    units = [each for piece in cut(text, at) for each in into.feed(piece)] + into.flush()
    assert units == [text[at : at + 2] for at in range(0, len(text), 2)]


@given(texts, places, st.integers(0, 200), st.sampled_from(["lose", "add", "change"]))
def test_a_difference_is_found_with_the_unit_that_has_it_and_its_place(
    text: str, at: list[int], place: int, how: str
) -> None:
    """Whatever is wrong at one character, each unit before it is out, and the place is said."""
    text += "end."
    place %= len(text)
    wrong = {
        "lose": text[:place] + text[place + 1 :],
        "add": text[:place] + "\0" + text[place:],
        "change": text[:place] + "\0" + text[place + 1 :],
    }[how]

    class Wrong(Pairs):
        def flush(self) -> Any:
            return [wrong[index : index + 2] for index in range(0, len(wrong), 2)]

        def feed(self, text: str) -> Any:
            return ()

    into = splitter(Wrong)
    for piece in cut(text, at):
        assert into.feed(piece) == []
    same = next(
        (i for i, (a, b) in enumerate(zip(text, wrong, strict=False)) if a != b),
        min(len(text), len(wrong)),
    )
    with pytest.raises(CallbackError, match=rf"'Wrong': .* at character {same}, "):
        into.flush()


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ([["One."], [" Two"]], r"at character 8, '\.' is in no unit, and the text has ended"),
        ([["One."], ["Two."]], r"at character 4, expected ' Two\.', not 'Two\.'"),
        ([["One. ", "two."], []], r"at character 5, expected 'Two\.', not 'two\.'"),
        ([["One. Two. Three"], []], r"at character 9, expected no more text yet, not ' Three'"),
        ([["x" * 50], []], r"at character 0, expected 'One\. Two\.', not 'x{30}…'"),
        (["One. Two.", []], "feed returned str, and not an iterable of str"),
        ([None, []], "feed returned NoneType, and not an iterable of str"),
        ([[1], []], "feed returned an iterable of int, and not of str"),
        ([b"One", []], "feed returned an iterable of int, and not of str"),
        ([[], None], "flush returned NoneType, and not an iterable of str"),
    ],
)
def test_what_is_wrong_is_said_with_the_place(returned: list[Any], words: str) -> None:
    into = splitter(lambda: Plays(*returned))
    with pytest.raises(CallbackError, match=f"^the splitter '<lambda>': .*{words}"):
        print(into.feed("One. Two."), into.flush())


def test_text_without_end_is_stopped_at_the_first_unit_too_many() -> None:
    def endless() -> Iterator[str]:
        while True:
            yield "a"

    with pytest.raises(CallbackError, match="at character 2, expected no more text yet"):
        splitter(lambda: Plays(endless())).feed("aa")


def test_each_text_has_its_own_splitter() -> None:
    one, other = splitter(Pairs), splitter(Pairs)
    assert (one.feed("abc"), other.feed("x"), one.flush(), other.flush()) == (
        *(["ab"], []),
        *(["c"], ["x"]),
    )


def no_function(first: str) -> Pairs:
    raise AssertionError("it is not called without its argument")


async def later() -> Pairs:
    return Pairs()


class Async(Pairs):
    async def feed(self, text: str) -> Any:  # type: ignore[override]
        return [text]


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        ("page", "there is no unit 'page'; there are 'word', .* and splitter factories: by_regex"),
        (7, "there is no unit 7; .* a function that makes a splitter"),
        (None, "there is no unit None"),
        (["word"], r"there is no unit \['word'\]"),
        (
            Pairs(),
            r"a Pairs is a splitter for one text, .* give .* Pairs or lambda: Pairs\(\.\.\.\)",
        ),
        (splitter("word"), "a Cutter is a splitter for one text"),
        (later, "'later' is async: give a function that returns a splitter at once"),
        (Async, "the splitter of 'Async' is async: its feed and flush have to return"),
        (lambda: 7, "'<lambda>' made no splitter, but int: a splitter has the methods feed"),
        (dict, "'dict' made no splitter, but dict"),
        (no_function, r"'no_function' raised TypeError \(.*'first'\): .* takes no arguments"),
        (str, "'str' made no splitter, but str"),
    ],
)
def test_what_is_no_unit_is_refused_with_what_to_give(unit: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        by_unit(unit)


def test_by_unit_emits_each_unit_when_it_is_complete() -> None:
    time = TestScheduler()
    source = cold(time, t1="a", t2="bcd", t5="e", t6=END)
    log = seen(time, source.pipe(by_unit(Pairs)))
    assert list(zip(log.times, log.items, strict=False)) == [(2, "ab"), (2, "cd"), (6, "e")]
    assert log.terminals == ["completed"]


def test_what_an_own_splitter_raises_ends_the_stream() -> None:
    class Broken(Pairs):
        def feed(self, text: str) -> Any:
            yield text
            raise ValueError("it broke")

    def raises_later() -> Callable[[], Any]:
        made: list[Pairs] = []

        def make() -> Pairs:
            if made:
                raise ValueError("no more")
            made.append(Pairs())
            return made[-1]

        return make

    for unit, words in ((Broken, "it broke"), (raises_later(), "no more")):
        log = seen(TestScheduler(), rx.of("a", "b").pipe(by_unit(unit)))
        assert log.terminals == ["error"]
        assert words in str(log.error)


@pytest.mark.parametrize("piece", [1, 7])
def test_the_check_is_linear_however_much_a_splitter_holds_back(piece: int) -> None:
    class Late(Pairs):
        """Is always half of the text behind."""

        def __init__(self) -> None:
            self.text: list[str] = []
            self.count = 0

        def feed(self, text: str) -> Any:
            self.text.append(text)
            if len(self.text) % 2:
                return ()
            self.count += 1
            return [self.text[self.count - 1]]

        def flush(self) -> Any:
            return self.text[self.count :]

    def work(size: int) -> Callable[[], None]:
        pieces = cut("x" * size, range(0, size, piece))

        def run() -> None:
            into = splitter(Late)
            units = [each for piece in pieces for each in into.feed(piece)] + into.flush()
            assert sum(map(len, units)) == size

        return run

    assert_linear(work)
