"""Requirements that a strategy brings with it."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import replace
from typing import Any

import pytest

from mellea_rx import BlockingWaitError, InvalidInputError, MelleaSession, Output, ScriptedBackend
from mellea_rx import generative as generative_function
from mellea_rx.stdlib.components import Instruction
from mellea_rx.stdlib.requirements import Requirement, check, req, simple_validate
from mellea_rx.stdlib.sampling import (
    BaseStrategy,
    BestOfN,
    Budget,
    BudgetForcing,
    MajorityVoting,
    MultiTurn,
    RejectionSampling,
    RepairTemplate,
    Sampler,
    SamplingResult,
    WeakThenStrong,
)

short = req("Short.", simple_validate(lambda text: len(text) < 5))
calm = check("Calm.", simple_validate(lambda text: "!" not in text))


def strategies(requirements: Any) -> list[Any]:
    return [
        RejectionSampling(requirements=requirements),
        RepairTemplate(requirements=requirements),
        MultiTurn(requirements=requirements),
        BestOfN(2, requirements=requirements),
        MajorityVoting(2, requirements=requirements),
        WeakThenStrong(ScriptedBackend("ok"), requirements=requirements),
        BudgetForcing(100, requirements=requirements),
    ]


NAMES = [type(each).__name__ for each in strategies(())]
EVERY = pytest.mark.parametrize("index", range(len(NAMES)), ids=NAMES)


@EVERY
def test_they_are_stated_and_checked(index: int) -> None:
    backend = ScriptedBackend(["ok!"])
    strategy = strategies([short, calm])[index]
    thunk = MelleaSession(backend).instruct("Go.", strategy=strategy)
    for attempt in thunk.sampling.attempts:
        assert [requirement for requirement, _ in attempt.validations] == [short, calm]
    prompt = backend.requests[0].messages[-1].content
    assert "- Short." in prompt
    assert "Calm" not in prompt


@EVERY
def test_they_are_added_to_those_of_the_call_and_none_twice(index: int) -> None:
    backend = ScriptedBackend(["yes"])
    strategy = strategies([short, "Polite.", calm, calm])[index]
    thunk = MelleaSession(backend).instruct("Go.", requirements=["Polite."], strategy=strategy)
    decided = [requirement for requirement, _ in thunk.sampling.attempts[0].validations]
    assert decided == [Requirement("Polite."), short, calm]
    assert backend.requests[0].messages[-1].content.count("Polite.") == 1


@EVERY
@pytest.mark.parametrize("wrong", [5, [5], [""], [lambda text: True]])
def test_what_is_no_requirement_is_refused_by_the_strategy(index: int, wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="requirement"):
        strategies(wrong)[index]


@EVERY
def test_they_are_a_part_of_the_strategys_value(index: int) -> None:
    one, other, without = (strategies(each)[index] for each in (["a"], "a", ()))
    assert one.requirements == (Requirement("a"),)
    if NAMES[index] != "WeakThenStrong":
        assert one == other != without
        assert pickle.loads(pickle.dumps(one)) == one


@EVERY
def test_a_copy_with_other_parameters_keeps_them(index: int) -> None:
    strategy = strategies(["a", calm])[index]
    assert replace(strategy, budget=Budget(tokens=9)).requirements == (Requirement("a"), calm)
    assert replace(strategy, requirements=short).requirements == (short,)


def test_the_model_scores_only_what_they_leave() -> None:
    backend = ScriptedBackend("far too long", '{"score": 9}', "ok", '{"score": 1}')
    strategy = BestOfN(2, judge="The longer the better.", max_concurrent=1, requirements=short)
    assert MelleaSession(backend).instruct("Go.", strategy=strategy).value == "ok"


def test_an_attempt_goes_on_from_the_units_that_their_methods_validated() -> None:
    class Calm(Requirement):
        def validate_unit(self, unit: str) -> bool:
            return "!" not in unit

    session = MelleaSession(ScriptedBackend(["One. ", "Two! ", "3."], ["Two."]))
    units = RejectionSampling(requirements=Calm("Calm."), on_reject="continue")
    thunk = session.instruct("Go.", strategy=units)
    assert thunk.value == "One. Two."


def test_a_component_is_checked_by_them_and_does_not_state_them() -> None:
    backend = ScriptedBackend("too long", "ok")
    strategy = RejectionSampling(requirements=[short])
    assert MelleaSession(backend).act(Instruction("Go."), strategy=strategy).value == "ok"
    assert "Short." not in backend.requests[0].messages[-1].content


def test_a_generative_function_has_them() -> None:
    @generative_function
    def word(text: str) -> str:
        """Say a word."""
        raise NotImplementedError

    backend = ScriptedBackend("too long", "ok")
    using = word.using(strategy=RejectionSampling(requirements=[short]))
    assert using(MelleaSession(backend), "a") == "ok"
    assert "- Short." in backend.requests[0].messages[-1].content


def test_require_counts_them_as_requirements() -> None:
    thunk = MelleaSession(ScriptedBackend("ok")).instruct(
        "Go.", strategy=RejectionSampling(requirements=short), require=True
    )
    assert thunk.sampling.success


def test_a_wait_of_the_loop_that_they_need_is_refused() -> None:
    async def slow(output: Output) -> bool:
        return True

    async def main() -> None:
        strategy = RejectionSampling(requirements=[req("x", simple_validate(slow))])
        with pytest.raises(BlockingWaitError):
            MelleaSession(ScriptedBackend("a")).instruct("Go.", strategy=strategy)

    asyncio.run(main())


class Twice(BaseStrategy):
    """A strategy of the user's, with requirements of its own."""

    requirements = ("Polite.", short)

    async def sample(self, sampler: Sampler) -> SamplingResult:
        attempts = [await sampler.attempt() for _ in range(2)]
        return SamplingResult(attempts[1].success, tuple(attempts), 1)


class Duck:
    """A strategy of any class that has the member too."""

    def __init__(self) -> None:
        self.requirements = ["Polite.", short]

    async def sample(self, sampler: Sampler) -> SamplingResult:
        return SamplingResult(True, (await sampler.attempt(),), 0)


@pytest.mark.parametrize("strategy", [Twice(), Duck()])
def test_a_strategy_of_the_users_may_have_some(strategy: Any) -> None:
    m = MelleaSession(ScriptedBackend(["yes"]))
    thunk = m.instruct("Go.", strategy=strategy)
    decided = [requirement for requirement, _ in thunk.sampling.attempts[0].validations]
    assert decided == [Requirement("Polite."), short]


def test_one_with_wrong_requirements_is_refused_by_the_call() -> None:
    class Wrong(Twice):
        requirements = (5,)  # type: ignore[assignment]

    with pytest.raises(InvalidInputError, match="a requirement is a str or a Requirement, not int"):
        MelleaSession(ScriptedBackend("a")).instruct("Go.", strategy=Wrong())


def test_a_strategys_class_is_still_told_to_be_no_strategy() -> None:
    with pytest.raises(InvalidInputError, match="the class RejectionSampling: make an object"):
        MelleaSession(ScriptedBackend("a")).instruct("Go.", strategy=RejectionSampling)  # type: ignore[call-overload]


# The judge's own words.


@pytest.mark.parametrize("strategy", [RepairTemplate(), MultiTurn()])
def test_a_repair_tells_the_judges_own_words(strategy: Any) -> None:
    judged = '{"verdict": "no", "reason": "The second line is rude."}'
    backend = ScriptedBackend(["You!"], [judged], ["Dear you,"], ["yes"])
    thunk = MelleaSession(backend).instruct("Write.", requirements="Polite.", strategy=strategy)
    assert thunk.sampling.attempts[0].reasons == ("Polite.: The second line is rude.",)
    assert "- Polite.: The second line is rude." in backend.requests[2].messages[-1].content
    assert thunk.value == "Dear you,"
