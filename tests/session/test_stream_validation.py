"""Requirements that are decided while the answer streams."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellea_rx import InvalidInputError, MelleaSession, ScriptedBackend, ValidatorError
from mellea_rx.backends import Capabilities
from mellea_rx.stdlib.requirements import UnitVerdict, check, req, simple_validate
from mellea_rx.stdlib.sampling import RejectionSampling
from tests.core.hand import STREAM, Hand, soon, until

ENDLESS = ["And so on. "] * 10_000


def sentences(*words: str) -> list[str]:
    """A chunk for each sentence."""
    return [f"{word}. " for word in words]


def no(word: str, **how: Any) -> Any:
    """A requirement that fails in the first unit that has `word`."""
    return check(f"no {word}", stream_validate=lambda unit: word not in unit, **how)


async def pieces_of(thunk: Any) -> list[str]:
    return [piece async for piece in thunk.astream() if piece]


def test_the_first_unit_that_fails_ends_the_request_and_the_next_attempt_starts() -> None:
    async def main() -> None:
        backend = ScriptedBackend(
            [*sentences("One", "Two", "Bad"), *ENDLESS], sentences("Good"), delay=0.001
        )
        thunk = await MelleaSession(backend).ainstruct("Go.", requirements=[no("Bad")])
        assert await soon(thunk.avalue()) == "Good. "
        await until(lambda: backend.running == 0)
        first, second = thunk.sampling.attempts
        assert len(first.text) < 2_000
        assert first.reasons == ("no Bad: sentence 3 ('Bad.') does not",)
        assert first.kept == "One. Two. "
        assert second.success

    asyncio.run(main())


def test_no_unit_after_a_rejected_one_is_given_to_the_function() -> None:
    for _ in range(50):  # it would need a thread that is still awake
        seen: list[str] = []

        def good(unit: str, seen: list[str] = seen) -> bool:
            seen.append(unit)
            return "Bad" not in unit

        backend = ScriptedBackend("One. Bad. Two. Three. ", "Good. ")
        requirements = [check("good", stream_validate=good)]
        assert MelleaSession(backend).instruct("Go.", requirements=requirements).value == "Good. "
        assert seen == ["One. ", "Bad. ", "Good. "]


def test_no_unit_after_one_whose_function_raised_is_given_to_it() -> None:
    for _ in range(50):
        seen: list[str] = []

        def failing(unit: str, seen: list[str] = seen) -> bool:
            seen.append(unit)
            raise ZeroDivisionError("no")

        session = MelleaSession(ScriptedBackend("One. Two. Three. "))
        with pytest.raises(ValidatorError, match="sentence 1 of attempt 1"):
            session.instruct("Go.", requirements=[check("good", stream_validate=failing)])
        assert seen == ["One. "]


def test_with_restart_readers_see_nothing_of_the_rejected_attempt() -> None:
    async def main() -> None:
        backend = ScriptedBackend(sentences("One", "Two", "Bad", "x"), sentences("Good", "end"))
        m = MelleaSession(backend)
        thunk = await m.ainstruct("Go.", requirements=[no("Bad")], model_options=STREAM)
        assert "".join(await pieces_of(thunk)) == "Good. end. "

    asyncio.run(main())


CONTINUE = RejectionSampling(loop_budget=3, repair="continue")


def test_continue_goes_on_from_the_last_accepted_unit() -> None:
    async def main() -> None:
        backend = ScriptedBackend(
            sentences("One", "Two", "Bad", "x"), [" Three. ", "Four."], delay=0.001
        )
        m = MelleaSession(backend)
        thunk = await m.ainstruct(
            "Go.", requirements=[no("Bad")], strategy=CONTINUE, model_options=STREAM
        )
        assert "".join(await pieces_of(thunk)) == "One. Two. Three. Four."
        assert thunk.value == thunk.sampling.attempts[1].text == "One. Two. Three. Four."
        first, second = (request.messages for request in backend.requests)
        assert second[:-1] == first
        assert (second[-1].role, second[-1].content) == ("assistant", "One. Two.")

    asyncio.run(main())


def test_continue_gives_readers_each_unit_as_soon_as_it_is_validated() -> None:
    async def main() -> None:
        hand = Hand()
        hand.capabilities = Capabilities(prefill=True)  # type: ignore[attr-defined]
        m = MelleaSession(hand)
        thunk = await m.ainstruct(
            "Go.", requirements=[no("Bad")], strategy=CONTINUE, model_options=STREAM
        )
        await asyncio.to_thread(hand.answers[0].asked.wait, 5)
        reader = thunk.astream()
        hand.answers[0].say("One. ", "Two. Thr")
        assert await soon(anext(reader)) in ("One. ", "One. Two. ")
        await until(lambda: thunk.text == "One. Two. ")
        hand.answers[0].say("ee.")
        hand.answers[0].end()
        assert await soon(thunk.avalue()) == "One. Two. Three."

    asyncio.run(main())


def test_when_the_budget_is_spent_all_that_was_accepted_is_the_value() -> None:
    backend = ScriptedBackend(sentences("One", "Bad"), sentences("Two", "Bad"))
    strategy = RejectionSampling(2, repair="continue")
    thunk = MelleaSession(backend).instruct("Go.", requirements=[no("Bad")], strategy=strategy)
    assert thunk.value == "One. Two. "
    assert not thunk.sampling.success
    assert thunk.sampling.attempts[-1].text.startswith("One. Two. Bad")


def test_continue_is_refused_where_the_backend_cannot_go_on() -> None:
    backend = ScriptedBackend(sentences("One", "Bad"))
    backend.capabilities = Capabilities()  # type: ignore[misc]
    with pytest.raises(InvalidInputError, match=r"repair='continue' needs.*'scripted' does not"):
        MelleaSession(backend).instruct("Go.", requirements=[no("Bad")], strategy=CONTINUE)


def test_what_is_left_open_is_judged_at_the_end() -> None:
    seen: list[str] = []

    def whole(text: str) -> bool:
        seen.append(text)
        return True

    wait = req("fine", simple_validate(whole), stream_validate=lambda unit: "unknown")
    backend = ScriptedBackend(sentences("One", "Two"))
    thunk = MelleaSession(backend).instruct("Go.", requirements=[wait])
    assert thunk.sampling.success
    assert seen == ["One. Two. "]


def test_what_every_unit_met_is_not_judged_again() -> None:
    def whole(text: str) -> bool:
        raise AssertionError("judged again")

    met = req("fine", simple_validate(whole), stream_validate=lambda unit: True)
    thunk = MelleaSession(ScriptedBackend("One. Two.")).instruct("Go.", requirements=[met])
    assert thunk.sampling.success


def test_a_unit_goes_out_only_when_every_requirement_has_validated_it() -> None:
    async def main() -> None:
        hand = Hand()
        hand.capabilities = Capabilities(prefill=True)  # type: ignore[attr-defined]
        checks = [no("Bad", unit="word"), no("Worse", unit="paragraph")]
        m = MelleaSession(hand)
        thunk = await m.ainstruct(
            "Go.", requirements=checks, strategy=CONTINUE, model_options=STREAM
        )
        await asyncio.to_thread(hand.answers[0].asked.wait, 5)
        units: list[str] = []
        thunk.events.subscribe(lambda event: units.append(getattr(event, "unit", "")))
        hand.answers[0].say("One two. ")
        await until(lambda: "One " in units)
        assert thunk.text == ""
        hand.answers[0].say("\n\nNext")
        await until(lambda: thunk.text == "One two. \n\n")
        hand.answers[0].end()
        assert await soon(thunk.avalue()) == "One two. \n\nNext"

    asyncio.run(main())


def test_a_requirement_that_is_judged_at_the_end_holds_everything_back() -> None:
    async def main() -> None:
        hand = Hand()
        hand.capabilities = Capabilities(prefill=True)  # type: ignore[attr-defined]
        checks = [no("Bad"), req("long", simple_validate(lambda text: len(text) > 3))]
        m = MelleaSession(hand)
        thunk = await m.ainstruct(
            "Go.", requirements=checks, strategy=CONTINUE, model_options=STREAM
        )
        await asyncio.to_thread(hand.answers[0].asked.wait, 5)
        decided: list[Any] = []
        thunk.events.subscribe(decided.append)
        hand.answers[0].say("One. Two. ")
        await until(lambda: any(getattr(each, "unit", "") for each in decided))
        assert thunk.text == ""
        hand.answers[0].end()
        assert await soon(thunk.avalue()) == "One. Two. "

    asyncio.run(main())


@pytest.mark.parametrize("unit", ["word", "sentence", "line", "paragraph"])
def test_units_are_what_the_requirement_says(unit: Any) -> None:
    seen: list[str] = []
    text = "One two. Three\nfour.\n\nFive six."
    look = check("look", stream_validate=lambda each: seen.append(each) or True, unit=unit)
    MelleaSession(ScriptedBackend(text)).instruct("Go.", requirements=[look])
    assert "".join(seen) == text
    assert len(seen) == {"word": 6, "sentence": 3, "line": 4, "paragraph": 2}[unit]


def test_a_unit_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match="page"):
        check("x", stream_validate=bool, unit="page")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("returned", "result"),
    [
        (True, True),
        (False, False),
        (None, None),
        ("pass", True),
        ("fail", False),
        ("unknown", None),
        (("fail", "rude"), False),
        ((None, "too early"), None),
        (UnitVerdict(True), True),
    ],
)
def test_what_a_streaming_validation_may_return(returned: Any, result: bool | None) -> None:
    look = req("x", simple_validate(lambda _: True), stream_validate=lambda _: returned)
    thunk = MelleaSession(ScriptedBackend("One.")).instruct(
        "Go.", requirements=[look], strategy=RejectionSampling(1)
    )
    assert thunk.sampling.success is (result is not False)


@pytest.mark.parametrize(("result", "truth"), [(True, True), (False, False), (None, False)])
def test_a_verdict_is_true_only_where_the_unit_is_fine(result: bool | None, truth: bool) -> None:
    assert bool(UnitVerdict(result, "because")) is truth


def test_what_is_no_verdict_is_said_with_the_unit_and_the_attempt() -> None:
    first = {"One. ": True}
    look = req("x", stream_validate=lambda unit: first.get(unit, 7))
    m = MelleaSession(ScriptedBackend("One. Two."))
    with pytest.raises(ValidatorError, match=r"sentence 2 of attempt 1: .* not 7") as caught:
        m.instruct("Go.", requirements=[look])
    assert caught.value.text == "One. Two."


def test_an_async_streaming_validation_runs_on_the_callers_loop() -> None:
    loops: set[Any] = set()

    async def look(unit: str) -> bool:
        loops.add(asyncio.get_running_loop())
        return True

    async def main() -> None:
        m = MelleaSession(ScriptedBackend("One. Two."))
        thunk = await m.ainstruct("Go.", requirements=[check("x", stream_validate=look)])
        await soon(thunk.avalue())
        assert loops == {asyncio.get_running_loop()}

    asyncio.run(main())


@given(
    st.lists(st.sampled_from(["One. ", "Two! ", "Bad. ", "thr", "ee. ", "\n"]), max_size=12),
    st.integers(1, 4),
)
def test_readers_see_what_becomes_the_value_however_often_it_is_repaired(
    chunks: list[str], budget: int
) -> None:
    async def main() -> None:
        backend = ScriptedBackend(chunks, ["Fine. ", *chunks], ["End."])
        strategy = RejectionSampling(budget, repair="continue")
        m = MelleaSession(backend)
        thunk = await m.ainstruct(
            "Go.", requirements=[no("Bad")], strategy=strategy, model_options=STREAM
        )
        pieces = await pieces_of(thunk)
        last = thunk.sampling.attempts[-1]
        assert "".join(pieces) == thunk.value == last.kept
        assert last.kept == last.text or not last.success
        assert "Bad" not in last.kept

    asyncio.run(main())
