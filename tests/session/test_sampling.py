"""Rejection sampling: try again until it is right, and show nobody what was rejected."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mellea_rx import GenerationFailedError, InvalidInputError, MelleaSession, ScriptedBackend
from mellea_rx.stdlib.requirements import Requirement, req, simple_validate
from mellea_rx.stdlib.sampling import RejectionSampling, SamplingResult
from tests.core.hand import STREAM, Recorder, soon, until


def has(*words: str) -> list[Requirement]:
    """Requirements, one for each word that the text must have."""
    return [req(f"has {w}", simple_validate(lambda text, w=w: w in text)) for w in words]


def sampled(answers: list[str], *words: str, **how: Any) -> Any:
    backend = ScriptedBackend(*([answer] for answer in answers))
    thunk = MelleaSession(backend).instruct("Go.", requirements=has(*words), **how)
    return thunk, len(backend.requests)


def test_the_first_attempt_that_is_right_is_the_value() -> None:
    thunk, attempts = sampled(["bad", "good", "never asked"], "good")
    assert (thunk.value, attempts) == ("good", 2)
    result = thunk.sampling
    assert isinstance(result, SamplingResult)
    assert (result.success, result.chosen) == (True, 1)
    assert [attempt.text for attempt in result.attempts] == ["bad", "good"]


def test_an_attempt_that_is_right_at_once_is_the_only_one() -> None:
    assert sampled(["good"], "good")[1] == 1


def test_two_attempts_are_made_by_default() -> None:
    thunk, attempts = sampled(["bad", "worse"], "good")
    assert attempts == 2
    assert not thunk.sampling.success


@pytest.mark.parametrize("budget", [1, 2, 5])
def test_the_budget_is_kept(budget: int) -> None:
    _, attempts = sampled(["bad"], "good", strategy=RejectionSampling(loop_budget=budget))
    assert attempts == budget


def test_when_the_budget_is_spent_the_best_failure_is_the_value() -> None:
    thunk, _ = sampled(["a", "a b", "c"], "a", "b", "c", strategy=RejectionSampling(loop_budget=3))
    assert thunk.value == "a b"
    assert (thunk.sampling.success, thunk.sampling.chosen) == (False, 1)


def test_a_result_and_an_attempt_are_true_only_where_they_succeeded() -> None:
    thunk, _ = sampled(["bad", "good"], "good")
    assert bool(thunk.sampling) is True
    assert [bool(attempt) for attempt in thunk.sampling.attempts] == [False, True]
    assert bool(sampled(["bad"], "good")[0].sampling) is False


def test_of_equal_failures_the_latest_is_the_value() -> None:
    thunk, _ = sampled(["a", "b"], "a", "b")
    assert thunk.value == "b"


@pytest.mark.parametrize("budget", [0, -1, 1.5, True, "2", None])
def test_a_budget_that_is_no_budget_is_refused(budget: Any) -> None:
    with pytest.raises(InvalidInputError, match="loop_budget"):
        RejectionSampling(loop_budget=budget)


def test_requirements_without_a_strategy_are_refused() -> None:
    backend = ScriptedBackend()
    with pytest.raises(InvalidInputError, match="strategy"):
        MelleaSession(backend).instruct("Go.", requirements=["fine"], strategy=None)
    assert backend.requests == ()


def test_no_strategy_is_fine_without_requirements() -> None:
    assert MelleaSession(ScriptedBackend("a")).instruct("Go.", strategy=None).value == "a"


@pytest.mark.parametrize("options", [{}, STREAM])
def test_nobody_sees_text_of_a_rejected_attempt(options: dict[Any, bool]) -> None:
    async def main() -> None:
        backend = ScriptedBackend(["bad ", "text"], ["good ", "text"], delay=0.002)
        m = MelleaSession(backend)
        thunk = await m.ainstruct("Go.", requirements=has("good"), model_options=options)
        recorder, texts = Recorder(), set()
        recorder.to(thunk)
        pieces = []
        reader = asyncio.create_task(_read(thunk, pieces))
        while not reader.done():
            texts.add(thunk.text)
            await asyncio.sleep(0.0005)
        await until(lambda: recorder.terminals)
        assert "".join(pieces) == recorder.text == "good text"
        assert texts <= {"", "good text"}
        assert len(backend.requests) == 2

    asyncio.run(main())


async def _read(thunk: Any, pieces: list[str]) -> None:
    pieces.extend([piece async for piece in thunk.astream()])


def test_the_value_carries_what_its_own_attempt_cost_and_why_it_ended() -> None:
    thunk, _ = sampled(["bad one", "good"], "good")
    assert thunk.finish_reason == "stop"
    assert thunk.usage is not None
    assert thunk.usage == thunk.sampling.attempts[1].usage


def test_an_attempt_that_fails_fails_the_call() -> None:
    backend = ScriptedBackend(["bad"], ["half ", GenerationFailedError("crashed")])
    with pytest.raises(GenerationFailedError, match="crashed") as caught:
        MelleaSession(backend).instruct("Go.", requirements=has("good"))
    assert caught.value.text == "half "


def test_cancelling_in_the_second_attempt_ends_it() -> None:
    async def main() -> None:
        backend = ScriptedBackend(["bad"], ["never", "ends"] * 1000, delay=0.005)
        m = MelleaSession(backend)
        thunk = await m.ainstruct("Go.", requirements=has("good"))
        await until(lambda: len(backend.requests) == 2)
        thunk.cancel()
        await until(lambda: backend.running == 0)
        assert thunk.cancelled

    asyncio.run(main())


def test_a_strategy_of_the_users_own_decides() -> None:
    class Thrice:
        async def sample(self, sampler: Any) -> SamplingResult:
            attempts = tuple([await sampler.attempt() for _ in range(3)])
            return SamplingResult(True, attempts, 1)

    thunk, attempts = sampled(["1", "2", "3"], "x", strategy=Thrice())
    assert (thunk.value, attempts) == ("2", 3)


def test_parallel_calls_with_requirements_run_at_once() -> None:
    async def main() -> None:
        backend = ScriptedBackend(["a", "b"], delay=0.05)
        m = MelleaSession(backend)
        thunks = [await m.ainstruct(f"{n}", requirements=has("ab")) for n in range(10)]
        await until(lambda: backend.running == 10)
        assert [await soon(thunk.avalue()) for thunk in thunks] == ["ab"] * 10

    asyncio.run(main())
