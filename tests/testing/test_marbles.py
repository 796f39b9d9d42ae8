"""Marble diagrams: played as answers and Observables, and drawn from notifications."""

from __future__ import annotations

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex import Observable, notification
from reactivex import operators as ops
from reactivex.observable.marbles import parse
from reactivex.testing import TestScheduler

from mellea_rx import (
    Chunk,
    GenerationFailedError,
    InvalidInputError,
    MelleaSession,
    ModelOutputThunk,
    ServerError,
    ToolCall,
)
from mellea_rx.backends import Pause
from mellea_rx.testing import Marbles, Probe, assert_marbles, draw, marbles, run_virtual
from tests.core.hand import STREAM

STORY = {"a": "Once ", "b": "upon ", "c": "a time"}


def seen(diagram: Marbles) -> list[tuple[int, str]]:
    return [(mark.frame, mark.name) for mark in diagram.marks]


@pytest.mark.parametrize(
    ("diagram", "expected", "length"),
    [
        ("", [], 0),
        ("|", [(0, "|")], 1),
        ("--#", [(2, "#")], 3),
        ("-a-b-|", [(1, "a"), (3, "b"), (5, "|")], 6),
        ("-Once--upon|", [(1, "Once"), (7, "upon"), (11, "|")], 12),
        ("-(a,b|)", [(1, "a"), (1, "b"), (1, "|")], 7),
        ("-(a,b,|)", [(1, "a"), (1, "b"), (1, "|")], 8),
        ("-(word#)", [(1, "word"), (1, "#")], 8),
        ("(Once,upon)-c", [(0, "Once"), (0, "upon"), (12, "c")], 13),
        ("-(ab)c", [(1, "ab"), (5, "c")], 6),
        ("  -a -b |", [(1, "a"), (3, "b"), (4, "|")], 5),
    ],
)
def test_a_diagram_is_read(diagram: str, expected: list[tuple[int, str]], length: int) -> None:
    assert (seen(marbles(diagram)), marbles(diagram).length) == (expected, length)


@pytest.mark.parametrize(
    ("diagram", "told"),
    [
        ("-a,b|", "','"),
        ("-(ab", r"'\('"),
        ("-a)-", r"'\)'"),
        ("-()-", r"'\('"),
        ("-(a-b)", r"'\('"),
        ("a|-b", r"after '\|'"),
        ("#|", "after '#'"),
    ],
)
def test_what_is_no_diagram_is_refused_with_the_place(diagram: str, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        marbles(diagram)


@pytest.mark.parametrize("diagram", ["-ab|", "-(ab|)"])
def test_letters_that_have_values_are_not_taken_for_one_item(diagram: str) -> None:
    with pytest.raises(InvalidInputError, match=r"'ab' is one item.*\(a,b\).*a-b"):
        marbles(diagram, {"a": "Once ", "b": "upon "})
    assert seen(marbles(diagram, {"ab": "Once "}))[0] == (1, "ab")


@pytest.mark.parametrize("frame", [0, -1, float("inf"), float("nan")])
def test_a_frame_of_no_time_is_refused(frame: float) -> None:
    with pytest.raises(InvalidInputError, match="frame"):
        marbles("a", frame=frame)


names = st.text("abcxyz", min_size=1, max_size=3)
tokens = st.one_of(
    st.text("-", min_size=1, max_size=4),
    names.map(lambda name: f"-{name}-"),
    st.lists(names, min_size=2, max_size=3).map(lambda group: f"({','.join(group)})"),
)
bodies = st.lists(tokens, max_size=8).map("".join)


@given(bodies, st.sampled_from(["", "|", "#"]))
def test_diagrams_are_read_as_rxpy_reads_them(body: str, end: str) -> None:
    diagram = body + end
    kinds = {"C": "|", "E": "#"}
    theirs = [
        (round(float(at)), kinds.get(note.kind) or note.value)  # type: ignore[arg-type]
        for at, note in parse(diagram)
    ]
    assert seen(marbles(diagram)) == theirs


def test_it_is_an_answer_in_its_own_time() -> None:
    pieces = list(marbles("-a--(b,c)|", STORY, frame=0.5))
    said = [Chunk("Once "), 1.5, Chunk("upon "), Chunk("a time"), 2.5]
    assert pieces == [0.5, *said]
    assert [type(each) for each in pieces[:2]] == [Pause, Chunk]


def test_without_an_end_the_answer_never_ends() -> None:
    assert list(marbles("a--"))[-1] == float("inf")


def test_an_error_is_the_one_that_was_given_or_a_fresh_one() -> None:
    given_error = ServerError("it broke", status=500)
    assert list(marbles("#", error=given_error)) == [given_error]
    first, second = (next(iter(marbles("#"))) for _ in range(2))
    assert type(first) is type(second) is GenerationFailedError
    assert first is not second


def test_values_may_be_whole_chunks() -> None:
    call = Chunk(tool_calls=(ToolCall("add", {"a": 1}),), finish_reason="tool_calls")
    assert next(iter(marbles("a|", {"a": call}))) is call


def test_a_backend_plays_it_for_every_request() -> None:
    async def main() -> None:
        m = MelleaSession(marbles("-a--b-|", STORY, frame=30).backend(model_id="m"))
        for _ in range(2):
            thunk = await m.ainstruct("Go.", model_options=STREAM)
            await assert_marbles(thunk, "-a--b-|", STORY, frame=30)
            assert (thunk.text, thunk.duration, thunk.model) == ("Once upon ", 180.0, "m")

    run_virtual(main())


def test_a_failing_backend_fails_in_its_frame() -> None:
    async def main() -> ModelOutputThunk[str]:
        m = MelleaSession(marbles("-a-#", STORY).backend())
        thunk = await m.ainstruct("Go.", model_options=STREAM)
        await assert_marbles(thunk, "-a-#", STORY, error=GenerationFailedError)
        return thunk

    thunk = run_virtual(main())
    assert (thunk.text, thunk.duration) == ("Once ", 3.0)


def test_a_cold_one_begins_anew_a_hot_one_goes_on() -> None:
    async def main() -> None:
        cold, hot = marbles("-a-b-|").cold(), marbles("-a-b-|").hot()
        first = rx.concat(cold, cold)
        await assert_marbles(first, "-a-b--a-b-|")
        await assert_marbles(hot, "|")  # by now it has ended

    run_virtual(main())


def test_who_subscribes_late_to_a_hot_one_misses_what_was() -> None:
    scheduler = TestScheduler()
    hot = marbles("-a-b-|").hot(scheduler)
    probe: Probe[Chunk] = Probe(scheduler)
    scheduler.schedule_relative(2, lambda *_: probe.to(hot) and None)
    scheduler.start()
    assert str(probe.marbles()) == "-b-|"


def test_it_runs_on_rxpys_own_virtual_time_too() -> None:
    scheduler = TestScheduler()
    probe: Probe[Chunk] = Probe(scheduler)
    probe.to(marbles("-a-(b,c)#").cold())
    scheduler.start()
    probe.assert_marbles("-a-(b,c)#", error=GenerationFailedError)


def test_disposing_a_cold_one_stops_it() -> None:
    scheduler = TestScheduler()
    probe: Probe[Chunk] = Probe(scheduler)
    subscription = probe.to(marbles("-a-b-|").cold(scheduler))
    scheduler.schedule_relative(2, lambda *_: subscription.dispose())
    scheduler.start()
    assert str(probe.marbles()) == "-a"


moments = st.lists(
    st.tuples(st.integers(1, 3), st.lists(st.sampled_from("abc"), min_size=1, max_size=3)),
    max_size=5,
)


@given(moments, st.sampled_from(["", "|", "#"]), st.sampled_from([0.1, 1.0, 60.0]))
def test_what_is_played_is_what_is_drawn(
    moments: list[tuple[int, list[str]]], end: str, frame: float
) -> None:
    body = "".join("-" * gap + f"({','.join(group)})" for gap, group in moments)
    written = marbles(body + end, frame=frame)

    async def main() -> None:
        await assert_marbles(written.cold(), written)
        probe: Probe[Chunk] = Probe()
        probe.to(written.cold())
        await probe.end((written.length + 1) * frame)
        drawn = probe.marbles(frame=frame)
        assert drawn.marks == written.marks
        again = marbles(str(drawn), drawn.values, frame=frame)
        assert again.marks == drawn.marks

    run_virtual(main(), limit=1e9)


def told(*items: tuple[float, object]) -> list[tuple[float, notification.Notification[object]]]:
    return [(at, notification.OnNext(item)) for at, item in items]


def test_items_are_drawn_by_their_names_their_text_or_the_next_letter() -> None:
    drawn = draw(told((1, "Once "), (3, Chunk("x")), (5, "upon a"), (7, "Once ")), {"o": "upon a"})
    assert str(drawn) == "-a-x-o-a"
    assert dict(drawn.values) == {"o": "upon a", "a": "Once "}


def test_items_side_by_side_are_kept_apart() -> None:
    assert str(draw(told((0, "a"), (1, "b"), (4, "word")))) == "a(b)word"
    assert seen(draw(told((0, "a"), (1, "b")))) == [(0, "a"), (1, "b")]
    assert seen(draw(told((0, "a"), (1, "word")))) == [(0, "a"), (1, "word")]


def test_chunks_without_content_are_not_drawn() -> None:
    assert str(draw(told((0, Chunk(finish_reason="stop")), (1, Chunk("a"))))) == "-a"


def test_what_has_no_room_is_refused_with_what_to_do() -> None:
    with pytest.raises(InvalidInputError, match=r"no room.*one letter.*smaller frame"):
        draw(told((0, "word"), (1, "a")))
    assert str(draw(told((0, "word"), (1, "a")), frame=0.1)) == "word------a"


def test_any_item_can_be_drawn() -> None:
    source: Observable[list[int]] = (
        marbles("a-b-|")
        .cold()
        .pipe(
            ops.map(str), ops.buffer_with_count(2), ops.map(lambda texts: [len(t) for t in texts])
        )
    )

    async def main() -> None:
        await assert_marbles(source, "--x-|", {"x": [1, 1]})

    run_virtual(main())
