"""Of attempts side by side, one that fails fails alone: the call fails only when all of them do."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
from typing import Any

import pytest
from reactivex import operators as ops

from mellea_rx import (
    AuthenticationError,
    CallbackError,
    GenerationFailedError,
    InvalidInputError,
    MelleaRxError,
    MelleaSession,
    ModelOption,
    NoAnswerError,
    ScriptedBackend,
    ServerError,
    ValidatorError,
)
from mellea_rx.backends import Pause
from mellea_rx.events import AttemptFailed, AttemptStarted, dump_events, load_events
from mellea_rx.stdlib.requirements import Requirement, check, simple_validate
from mellea_rx.stdlib.sampling import BestOfN, MajorityVoting, RejectionSampling
from tests.core.hand import soon, until

CRASH = ["half", GenerationFailedError("crashed")]
ONCE = {ModelOption.RETRIES: 0}

STRATEGIES = {
    "rejection": RejectionSampling(3, concurrency_budget=3),
    "best of n": BestOfN(3),
    "best of n, scored": BestOfN(3, scorer=len),
    "voting": MajorityVoting(3),
    "one at a time": BestOfN(3, concurrency_budget=1),
}


def good(text: str) -> bool:
    if text == "odd":
        raise ValueError("cannot judge this")
    return "good" in text


CHECKS: list[Requirement] = [check("good", simple_validate(good))]


def sample(*answers: Any, strategy: Any, **how: Any) -> Any:
    m = MelleaSession(ScriptedBackend(*answers), model_options=ONCE)
    return m.instruct("Go.", requirements=CHECKS, strategy=strategy, **how)


@pytest.fixture(autouse=True)
def nothing_is_left_unsaid(caplog: pytest.LogCaptureFixture) -> Any:
    """asyncio tells of each error that nobody has looked at."""
    with caplog.at_level(logging.WARNING, "asyncio"):
        yield
        gc.collect()
    assert [each.getMessage() for each in caplog.records if each.name == "asyncio"] == []


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("place", range(3))
def test_the_others_go_on(name: str, place: int) -> None:
    answers: list[Any] = [["good"], ["good"]]
    answers.insert(place, CRASH)
    thunk = sample(*answers, strategy=STRATEGIES[name])
    assert (thunk.value, thunk.sampling.success) == ("good", True)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_function_that_raises_for_one_of_them_is_its_fault_alone(name: str) -> None:
    thunk = sample(["odd"], ["odd"], ["good"], strategy=STRATEGIES[name])
    assert thunk.value == "good"
    failed = [attempt for attempt in thunk.sampling.attempts if attempt.error is not None]
    assert all(isinstance(attempt.error, ValidatorError) for attempt in failed)
    assert {attempt.text for attempt in failed} <= {"odd"}


def test_a_scorer_or_a_key_that_raises_for_one_of_them_is_its_fault_alone() -> None:
    def picky(text: str) -> int:
        if text == "good a":
            raise ValueError("not that")
        return len(text)

    for strategy in (BestOfN(3, scorer=picky), MajorityVoting(3, key=picky)):
        thunk = sample(["good a"], ["good b"], ["good b"], strategy=strategy)
        assert (thunk.value, thunk.sampling.success) == ("good b", True)
        (failed,) = [each for each in thunk.sampling.attempts if each.error is not None]
        assert isinstance(failed.error, CallbackError)
        assert (failed.text, bool(failed)) == ("good a", False)
        assert "not that" in failed.reasons[0]


def test_the_result_has_the_failed_attempt_with_its_text_and_its_error() -> None:
    thunk = sample(CRASH, ["good"], ["bad"], strategy=BestOfN(3))
    failed = next(each for each in thunk.sampling.attempts if each.error is not None)
    assert isinstance(failed.error, GenerationFailedError)
    assert (failed.text, failed.success, failed.validations) == ("half", False, ())
    assert failed.reasons == ("crashed",)
    assert len(thunk.sampling.attempts) == 3


def test_a_failed_attempt_is_never_the_value_where_another_one_ended() -> None:
    long = ["a long good text " * 10, GenerationFailedError("crashed")]
    for name in ("rejection", "best of n", "best of n, scored", "voting"):
        thunk = sample(long, ["bad"], long, strategy=STRATEGIES[name])
        assert (thunk.value, thunk.sampling.success) == ("bad", False)


def test_the_events_tell_of_it() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(CRASH, ["good"], ["good"]))
        thunk = await m.ainstruct("Go.", requirements=CHECKS, strategy=BestOfN(3))
        events = await soon(thunk.events.pipe(ops.to_list()))
        failed = [each for each in events if isinstance(each, AttemptFailed)]
        assert [(each.error, each.message) for each in failed] == [
            ("GenerationFailedError", "crashed")
        ]
        started = [each.attempt for each in events if isinstance(each, AttemptStarted)]
        assert failed[0].attempt in started
        assert load_events(dump_events(events)) == events

    asyncio.run(main())


@pytest.mark.parametrize("name", STRATEGIES)
def test_when_all_fail_in_one_way_it_is_that_error_with_all_reasons(name: str) -> None:
    errors = [[f"text {n}", GenerationFailedError(f"crash {n}")] for n in range(3)]
    with pytest.raises(GenerationFailedError) as caught:
        sample(*errors, strategy=STRATEGIES[name])
    assert all(f"crash {n}" in str(caught.value) for n in range(3))
    assert caught.value.text.startswith("text")


def test_when_all_fail_in_several_ways_the_error_has_them_all() -> None:
    answers = [CRASH, ["odd"], ServerError("down", status=500)]
    with pytest.raises(NoAnswerError) as caught:
        sample(*answers, strategy=BestOfN(3))
    kinds = {type(error) for error in caught.value.errors}
    assert kinds == {GenerationFailedError, ValidatorError, ServerError}
    assert all(words in str(caught.value) for words in ("crashed", "cannot judge this", "down"))


def test_the_result_is_there_when_all_failed() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend(CRASH))
        thunk = await m.ainstruct("Go.", requirements=CHECKS, strategy=BestOfN(2))
        with pytest.raises(GenerationFailedError):
            await soon(thunk.avalue())
        assert [attempt.text for attempt in thunk.sampling.attempts] == ["half", "half"]
        assert not thunk.sampling

    asyncio.run(main())


def test_an_error_that_each_would_meet_starts_no_more_of_them() -> None:
    backend = ScriptedBackend(AuthenticationError("wrong key", status=401))
    m = MelleaSession(backend)
    strategy = RejectionSampling(20, concurrency_budget=2)
    with pytest.raises(AuthenticationError, match="wrong key"):
        m.instruct("Go.", requirements=CHECKS, strategy=strategy)
    assert len(backend.requests) == 2


def test_wrong_input_is_the_calls_fault_and_ends_the_others() -> None:
    async def main() -> None:
        backend = ScriptedBackend(
            [Pause(math.inf)], InvalidInputError("not this"), [Pause(math.inf)]
        )
        m = MelleaSession(backend)
        thunk = await m.ainstruct("Go.", requirements=CHECKS, strategy=BestOfN(3))
        with pytest.raises(InvalidInputError, match="not this"):
            await soon(thunk.avalue())
        await until(lambda: backend.running == 0)

    asyncio.run(main())


def test_several_errors_in_one_turn_are_all_looked_at() -> None:
    wrong = InvalidInputError("not this")
    with pytest.raises(InvalidInputError):
        sample(wrong, wrong, wrong, strategy=BestOfN(3))


def test_a_bug_of_a_backend_in_one_attempt_leaves_the_others() -> None:
    thunk = sample([ZeroDivisionError("oops")], ["good"], ["good"], strategy=BestOfN(3))
    assert thunk.value == "good"


def test_cancelling_ends_them_all() -> None:
    async def main() -> None:
        backend = ScriptedBackend(CRASH, [Pause(math.inf)])
        m = MelleaSession(backend)
        thunk = await m.ainstruct("Go.", requirements=CHECKS, strategy=BestOfN(3))
        await until(lambda: len(backend.requests) == 3 and backend.running == 2)
        thunk.cancel()
        await until(lambda: backend.running == 0)
        with pytest.raises(MelleaRxError):
            await soon(thunk.avalue())

    asyncio.run(main())
