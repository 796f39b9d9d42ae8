"""Text that is taken back: each kind of reader and subscriber has the text that stands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx import Chunk, ModelOutputThunk, Retracted, RetractedError
from mellea_rx.testing import run_virtual

Step = str | float | Retracted
"""Text that comes, seconds that pass, or text that is taken back."""


def void(characters: int, reason: str = "no") -> Retracted:
    return Retracted(characters=characters, reason=reason)


def taking_back(*steps: Step, is_marked: bool = True) -> ModelOutputThunk[str]:
    """A thunk whose text comes in these steps."""

    async def pipeline(generation: Any) -> None:
        for step in steps:
            if isinstance(step, str):
                generation.push(Chunk(step))
            elif isinstance(step, Retracted):
                error = RetractedError("void", characters=step.characters, reason=step.reason)
                generation.retract(step, error, is_marked=is_marked)
            else:
                await asyncio.sleep(step)

    return ModelOutputThunk(pipeline, live=True)


def virtually(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    async def inside() -> Any:
        return await main()  # a thunk that is made in virtual time runs in it

    return run_virtual(inside())


async def items_of(thunk: ModelOutputThunk[str], *, pause: float = 0) -> list[Any]:
    """The items of a reader that is told of retractions, and pauses after each."""
    items = []
    async for item in thunk.astream(retractions=True):
        items.append((item.characters, item.reason) if isinstance(item, Retracted) else item)
        await asyncio.sleep(pause)
    return items


STEPS: tuple[Step, ...] = ("ab", 1, "cd", 1, void(3), 1, "xy")


def test_a_reader_that_keeps_up_is_told_of_all_that_is_void() -> None:
    items = virtually(lambda: items_of(taking_back(*STEPS)))
    assert items == ["ab", "cd", (3, "no"), "xy"]


def test_a_slow_reader_is_told_of_what_it_has_read_only() -> None:
    items = virtually(lambda: items_of(taking_back(*STEPS), pause=2.5))
    assert items == ["ab", (1, "no"), "xy"]


def test_text_that_was_not_read_goes_without_a_word() -> None:
    items = virtually(lambda: items_of(taking_back("ab", 1, "cd", void(1), 1, "x"), pause=5))
    assert items == ["ab", "cx"]


def test_one_character_that_was_read_is_told() -> None:
    assert virtually(lambda: items_of(taking_back("ab", 1, void(1)))) == ["ab", (1, "no")]


def test_retractions_before_the_next_read_are_one() -> None:
    steps = ("abcd", 1, void(1, "one"), void(2, "two"), "x")
    assert virtually(lambda: items_of(taking_back(*steps), pause=5)) == ["abcd", (3, "two"), "x"]


def test_the_reader_that_is_awaited_is_told_as_well_and_ends_with_an_empty_text() -> None:
    async def main() -> None:
        stream = taking_back("ab", 1, void(1)).astream(retractions=True)
        assert await stream == "ab"
        assert await stream == void(1)
        assert await stream == ""
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    virtually(main)


def test_a_blocking_reader_is_told_as_well() -> None:
    thunk = taking_back("ab", 0.05, void(1), "x")
    shown = ""
    for item in thunk.stream(retractions=True):
        if isinstance(item, Retracted):
            shown = shown[: len(shown) - item.characters]
        else:
            shown += item
    assert shown == "ax"


@pytest.mark.parametrize("is_marked", [True, False])
def test_a_plain_reader_fails_where_it_has_read_some_of_it(is_marked: bool) -> None:
    async def main() -> None:
        thunk = taking_back(*STEPS, is_marked=is_marked)
        reader = thunk.astream()
        assert [await anext(reader), await anext(reader)] == ["ab", "cd"]
        with pytest.raises(RetractedError) as caught:
            await anext(reader)
        assert caught.value.characters == 3
        assert [piece async for piece in thunk.astream()] == ["a", "xy"]
        assert await thunk.avalue() == "axy"

    virtually(main)


def test_a_plain_reader_that_has_read_none_of_it_goes_on() -> None:
    async def main() -> None:
        thunk = taking_back("ab", 1, "cd", void(2), 1, "x")
        pieces = []
        async for piece in thunk.astream():
            pieces.append(piece)
            await asyncio.sleep(1.5)
        assert pieces == ["ab", "x"]

    virtually(main)


# Subscribers.


async def delivered(thunk: ModelOutputThunk[str]) -> tuple[list[Any], list[Exception]]:
    """What a subscriber gets: texts and retractions, and its error."""
    items: list[Any] = []
    errors: list[Exception] = []
    thunk.subscribe(
        lambda chunk: items.append(
            (chunk.characters, chunk.reason) if isinstance(chunk, Retracted) else chunk.text
        ),
        errors.append,
    )
    await thunk.avalue()
    await asyncio.sleep(0.01)
    return items, errors


def test_a_subscriber_is_told_by_an_item() -> None:
    assert virtually(lambda: delivered(taking_back(*STEPS))) == (["ab", "cd", (3, "no"), "xy"], [])


def test_a_subscriber_is_not_told_of_text_that_it_never_got() -> None:
    steps = ("ab", 1, "cd", void(3), "x", 1)
    assert virtually(lambda: delivered(taking_back(*steps))) == (["ab", (1, "no"), "x"], [])
    steps = ("ab", 1, "cd", void(2), "x", 1)
    assert virtually(lambda: delivered(taking_back(*steps))) == (["ab", "x"], [])


def test_retractions_that_were_not_delivered_are_one() -> None:
    steps = ("abcd", 1, void(1, "one"), void(2, "two"), "x", 1)
    assert virtually(lambda: delivered(taking_back(*steps))) == (["abcd", (3, "two"), "x"], [])


@pytest.mark.parametrize("characters", [1, 2])
def test_a_subscriber_that_cannot_be_told_fails(characters: int) -> None:
    steps = ("ab", 1, void(characters), "x", 1)
    items, errors = virtually(lambda: delivered(taking_back(*steps, is_marked=False)))
    assert items == ["ab"]
    assert [type(each) for each in errors] == [RetractedError]


def test_a_subscriber_that_cannot_be_told_and_has_got_nothing_goes_on() -> None:
    steps = ("ab", void(2), "x", 1)
    assert virtually(lambda: delivered(taking_back(*steps, is_marked=False))) == (["x"], [])
    steps = ("ab", 1, "cd", void(2), "x", 1)
    assert virtually(lambda: delivered(taking_back(*steps, is_marked=False))) == (["ab", "x"], [])


def test_a_subscriber_that_comes_late_gets_the_text_that_stands() -> None:
    async def main() -> Any:
        thunk = taking_back(*STEPS)
        await asyncio.sleep(2.5)
        return await delivered(thunk)

    assert virtually(main) == (["a", "xy"], [])


# The law.


@given(
    texts=st.lists(
        st.tuples(st.text("ab", min_size=1, max_size=3), st.sampled_from([0, 1])), max_size=6
    ),
    taken=st.lists(st.integers(0, 6), max_size=6),
    pause=st.sampled_from([0, 0.5, 1.5, 9]),
)
def test_what_stands_is_the_text_whoever_reads_however_late(
    texts: list[tuple[str, int]], taken: list[int], pause: float
) -> None:
    steps: list[Step] = []
    stands = ""
    for index, (text, seconds) in enumerate(texts):
        steps += [text, float(seconds)]
        stands += text
        back = min(taken[index] if index < len(taken) else 0, len(stands))
        if back:
            steps.append(void(back))
            stands = stands[:-back]

    async def main() -> None:
        thunk = taking_back(*steps)
        shown = ""
        subscribed = asyncio.ensure_future(delivered(thunk))
        for item in await items_of(thunk, pause=pause):
            shown = shown[: len(shown) - item[0]] if isinstance(item, tuple) else shown + item
        seen = ""
        for item in (await subscribed)[0]:
            seen = seen[: len(seen) - item[0]] if isinstance(item, tuple) else seen + item
        assert (shown, seen, thunk.text) == (stands, stands, stands)

    virtually(main)
