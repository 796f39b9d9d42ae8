"""`Budget`: no attempt begins once it is spent, and the seconds end those that run."""

from __future__ import annotations

import asyncio
import math
import pickle
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from reactivex import operators as ops

from mellea_rx import (
    Chunk,
    GenerationFailedError,
    InvalidInputError,
    MelleaRxError,
    MelleaSession,
    ModelOption,
    NoAnswerError,
    RequirementsNotMetError,
    ScriptedBackend,
    TotalTimeoutError,
    Usage,
)
from mellea_rx.backends import Pause, Request
from mellea_rx.events import AttemptFailed, AttemptStarted
from mellea_rx.stdlib.requirements import check, simple_validate
from mellea_rx.stdlib.sampling import (
    BaseStrategy,
    BestOfN,
    Budget,
    MajorityVoting,
    MultiTurn,
    RejectionSampling,
    RepairTemplate,
    Sampler,
    SamplingResult,
    WeakThenStrong,
)
from mellea_rx.testing import run_virtual
from tests.core.hand import STREAM, soon, until

GOOD = check("good", simple_validate(lambda text: "good" in text))
ONE_BY_ONE = [RejectionSampling, RepairTemplate, MultiTurn]
LOOPS = [*ONE_BY_ONE, BestOfN, MajorityVoting]
NEVER = Pause(math.inf)


def cost(prompt: int, completion: int, text: str = "bad") -> Any:
    """An answer that costs so many tokens."""
    return [Chunk(text, usage=Usage(prompt, completion))]


class Priced(ScriptedBackend):
    """A backend whose answers report no tokens but those that are told."""

    async def _play(self, request: Request, push: Any) -> None:
        def without(chunk: Chunk) -> None:
            if chunk.text or chunk.usage is None:
                push(chunk)

        await super()._play(request, without)


def virtually(main: Callable[[], Awaitable[None]]) -> None:
    run_virtual(main())  # type: ignore[arg-type]


def now() -> float:
    return asyncio.get_running_loop().time()


async def ask(backend: Any, strategy: Any, requirements: Any = GOOD, **how: Any) -> Any:
    m = MelleaSession(backend, model_options={ModelOption.RETRIES: 0})
    return await m.ainstruct("Go.", requirements=requirements, strategy=strategy, **how)


# Tokens.


@pytest.mark.parametrize("kind", ONE_BY_ONE)
def test_no_attempt_begins_once_the_tokens_are_spent(kind: Any) -> None:
    async def main() -> None:
        backend = Priced(cost(10, 5), cost(10, 5), cost(10, 5, "good"))
        thunk = await ask(backend, kind(9, budget=Budget(tokens=30)))
        assert await thunk.avalue() == "bad"
        result = thunk.sampling
        assert (result.success, len(result.attempts), result.budget_spent) == (False, 2, "tokens")

    asyncio.run(main())


def test_a_budget_that_is_not_reached_changes_nothing() -> None:
    async def main() -> None:
        backend = Priced(cost(10, 5), cost(10, 5, "good"))
        thunk = await ask(backend, RejectionSampling(9, budget=Budget(tokens=31, seconds=60)))
        assert await thunk.avalue() == "good"
        assert (thunk.sampling.success, thunk.sampling.budget_spent) == (True, None)

    asyncio.run(main())


@pytest.mark.parametrize("last", ["good", "bad"])
def test_a_budget_that_is_spent_with_the_last_attempt_ended_nothing(last: str) -> None:
    async def main() -> None:
        backend = Priced(cost(10, 5), cost(100, 5, last))
        thunk = await ask(backend, RejectionSampling(2, budget=Budget(tokens=20)))
        assert await thunk.avalue() == last
        assert thunk.sampling.budget_spent is None

    asyncio.run(main())


def test_the_tokens_of_judges_count() -> None:
    def answer(request: Request) -> Any:
        judges = "meets a requirement" in request.prompt
        return cost(5, 1, "no") if judges else cost(10, 5)

    async def main() -> None:
        backend = Priced(answer)
        strategy = RejectionSampling(9, budget=Budget(tokens=40))
        thunk = await ask(backend, strategy, ["It is good."])
        await thunk
        assert len(thunk.sampling.attempts) == 2  # 21 tokens each

    asyncio.run(main())


def test_the_tokens_of_a_judge_that_scores_count() -> None:
    def answer(request: Request) -> Any:
        judges = "Criterion:" in request.prompt
        return cost(5, 1, '{"score": 3}') if judges else cost(10, 5)

    async def main() -> None:
        strategy = BestOfN(9, judge="Any.", max_concurrent=1, budget=Budget(tokens=40))
        thunk = await ask(Priced(answer), strategy, None)
        await thunk
        result = thunk.sampling
        assert (len(result.attempts), result.budget_spent, result.success) == (2, "tokens", True)

    asyncio.run(main())


def test_tokens_that_no_server_reports_do_not_count() -> None:
    async def main() -> None:
        thunk = await ask(Priced(["bad"]), RejectionSampling(5, budget=Budget(tokens=1)))
        await thunk
        assert (len(thunk.sampling.attempts), thunk.sampling.budget_spent) == (5, None)

    asyncio.run(main())


@pytest.mark.parametrize("kind", [RejectionSampling, RepairTemplate, MultiTurn])
def test_attempts_that_have_begun_go_on_when_the_tokens_are_spent(kind: Any) -> None:
    async def main() -> None:
        backend = Priced(cost(10, 5))
        thunk = await ask(backend, kind(9, max_concurrent=3, budget=Budget(tokens=1)))
        await thunk
        assert len(backend.requests) == 3
        assert len(thunk.sampling.attempts) == 3
        assert thunk.sampling.budget_spent == "tokens"

    asyncio.run(main())


def test_a_spent_budget_is_an_error_where_the_requirements_are_required() -> None:
    async def main() -> None:
        strategy = RejectionSampling(9, budget=Budget(tokens=1))
        thunk = await ask(Priced(cost(1, 1)), strategy, require=True)
        with pytest.raises(RequirementsNotMetError, match="in 1 attempts"):
            await thunk
        assert thunk.sampling.budget_spent == "tokens"

    asyncio.run(main())


# Seconds.


@pytest.mark.parametrize("kind", ONE_BY_ONE)
def test_an_attempt_that_runs_when_the_seconds_are_over_is_ended(kind: Any) -> None:
    async def main() -> None:
        backend = ScriptedBackend([Pause(2), "bad"], ["half ", NEVER])
        thunk = await ask(backend, kind(9, budget=Budget(seconds=5)))
        assert await thunk.avalue() == "bad"
        assert (now(), backend.running) == (5, 0)
        result = thunk.sampling
        assert (result.success, result.chosen, result.budget_spent) == (False, 0, "seconds")
        ended = result.attempts[1]
        assert (ended.text, type(ended.error)) == ("half ", TotalTimeoutError)
        assert "the 5 s of the strategy's budget are over" in ended.reasons[0]

    virtually(main)


@pytest.mark.parametrize("kind", ONE_BY_ONE)
def test_no_attempt_begins_when_the_seconds_are_over(kind: Any) -> None:
    async def main() -> None:
        async def slow(text: str) -> bool:
            await asyncio.sleep(3)
            return False

        backend = ScriptedBackend([Pause(2), "bad"])
        strategy = kind(9, budget=Budget(seconds=5))
        thunk = await ask(backend, strategy, check("no", simple_validate(slow)))
        with pytest.raises(TotalTimeoutError) as caught:
            await thunk
        assert caught.value.text == "bad"
        assert len(backend.requests) == 1

    virtually(main)


@pytest.mark.parametrize("kind", LOOPS)
def test_where_no_attempt_has_ended_it_is_an_error_with_the_text_so_far(kind: Any) -> None:
    async def main() -> None:
        backend = ScriptedBackend(["half ", NEVER])
        thunk = await ask(backend, kind(3, budget=Budget(seconds=5)))
        with pytest.raises(TotalTimeoutError, match="the 5 s of the strategy's budget") as caught:
            await thunk
        assert caught.value.text == "half "
        assert (now(), backend.running) == (5, 0)
        assert thunk.sampling.budget_spent == "seconds"

    virtually(main)


@pytest.mark.parametrize("kind", [RejectionSampling, RepairTemplate, MultiTurn])
def test_all_attempts_side_by_side_are_ended(kind: Any) -> None:
    async def main() -> None:
        backend = ScriptedBackend(["bad"], ["a ", NEVER], ["b ", NEVER])
        thunk = await ask(backend, kind(9, max_concurrent=3, budget=Budget(seconds=5)))
        assert await thunk.avalue() == "bad"
        assert (now(), backend.running) == (5, 0)
        assert thunk.sampling.budget_spent == "seconds"

    virtually(main)


@pytest.mark.parametrize("kind", [BestOfN, MajorityVoting])
def test_the_best_of_the_attempts_that_ended_is_the_value(kind: Any) -> None:
    async def main() -> None:
        backend = ScriptedBackend(["good"], ["good"], ["longer good", NEVER])
        thunk = await ask(backend, kind(3, budget=Budget(seconds=5)))
        assert await thunk.avalue() == "good"
        assert now() == 5
        result = thunk.sampling
        assert (result.success, len(result.attempts), result.budget_spent) == (True, 3, "seconds")

    virtually(main)


def test_an_attempt_whose_score_comes_too_late_is_one_without_a_score() -> None:
    def answer(request: Request) -> Any:
        if "Criterion:" not in request.prompt:
            return ["answer"]
        return [NEVER]

    async def main() -> None:
        backend = ScriptedBackend(answer)
        strategy = BestOfN(2, judge="Any.", budget=Budget(seconds=5))
        thunk = await ask(backend, strategy, None)
        assert await thunk.avalue() == "answer"
        assert (now(), backend.running) == (5, 0)
        for attempt in thunk.sampling.attempts:
            assert (attempt.score, attempt.error) == (None, None)
            assert (
                attempt.score_reason == "no score: the seconds of the strategy's budget were over"
            )
        assert thunk.sampling.budget_spent == "seconds"

    virtually(main)


def test_the_weak_backend_may_spend_the_seconds_of_the_strong_one() -> None:
    async def main() -> None:
        weak, strong = ScriptedBackend([Pause(3), "bad"]), ScriptedBackend(["good"])
        strategy = WeakThenStrong(strong, weak_budget=2, budget=Budget(seconds=5))
        thunk = await ask(weak, strategy)
        assert await thunk.avalue() == "bad"
        assert (now(), strong.requests) == (5, ())

    virtually(main)


def test_the_seconds_hold_for_the_one_attempt_of_a_call_without_requirements() -> None:
    async def main() -> None:
        thunk = await ask(
            ScriptedBackend(["half ", NEVER]), RejectionSampling(budget=Budget(seconds=5)), None
        )
        with pytest.raises(TotalTimeoutError):
            await thunk
        assert now() == 5

    virtually(main)


def test_what_the_prompt_waits_for_does_not_count() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend([Pause(60), "first"], [Pause(4), "good"]))
        first = await m.ainstruct("First.")
        strategy = RejectionSampling(budget=Budget(seconds=5))
        thunk = await m.ainstruct(
            "Then {{first}}.",
            user_variables={"first": first},
            requirements=[GOOD],
            strategy=strategy,
        )
        assert await thunk.avalue() == "good"

    virtually(main)


def test_the_total_timeout_of_the_call_is_another_limit() -> None:
    async def main() -> None:
        strategy = RejectionSampling(budget=Budget(seconds=50))
        options = {ModelOption.TOTAL_TIMEOUT: 5}
        thunk = await ask(ScriptedBackend([NEVER]), strategy, model_options=options)
        with pytest.raises(TotalTimeoutError, match="TOTAL_TIMEOUT"):
            await thunk
        assert now() == 5

    virtually(main)


def test_a_backends_own_timeout_is_not_the_budgets() -> None:
    async def main() -> None:
        backend = ScriptedBackend(TotalTimeoutError("the backend's"))
        thunk = await ask(backend, RejectionSampling(budget=Budget(seconds=5)))
        with pytest.raises(TotalTimeoutError, match="the backend's"):
            await thunk

    virtually(main)


def test_other_errors_beside_those_of_the_budget_are_told() -> None:
    async def main() -> None:
        backend = ScriptedBackend([GenerationFailedError("crashed")], ["half ", NEVER])
        thunk = await ask(backend, BestOfN(2, budget=Budget(seconds=5)))
        with pytest.raises(NoAnswerError) as caught:
            await thunk
        kinds = {type(error) for error in caught.value.errors}
        assert kinds == {GenerationFailedError, TotalTimeoutError}

    virtually(main)


def test_the_events_tell_of_the_attempt_that_was_ended() -> None:
    async def main() -> None:
        backend = ScriptedBackend(["bad"], ["half ", NEVER])
        thunk = await ask(backend, RejectionSampling(9, budget=Budget(seconds=5)))
        await thunk
        events = await thunk.events.pipe(ops.to_list())
        (failed,) = [each for each in events if isinstance(each, AttemptFailed)]
        assert (failed.attempt, failed.error) == (1, "TotalTimeoutError")
        assert len([each for each in events if isinstance(each, AttemptStarted)]) == 2

    virtually(main)


def test_what_continues_fails_where_readers_have_a_part_of_the_attempt_that_is_ended() -> None:
    async def main() -> None:
        calm = check("calm", stream_validate=lambda unit: "!" not in unit)
        backend = ScriptedBackend(["One. Two! "], ["Three. Four", NEVER])
        strategy = RejectionSampling(5, repair="continue", budget=Budget(seconds=5))
        thunk = await ask(backend, strategy, calm, model_options=STREAM)
        pieces: list[str] = []
        thunk.subscribe(lambda chunk: pieces.append(chunk.text), lambda _: None)
        with pytest.raises(TotalTimeoutError) as caught:
            await thunk
        await asyncio.sleep(0)
        assert "".join(pieces).startswith("One. ")
        assert caught.value.text.startswith("One. Three.")
        assert backend.running == 0

    virtually(main)


def test_cancelling_a_call_with_a_budget_ends_it() -> None:
    async def main() -> None:
        backend = ScriptedBackend([NEVER])
        thunk = await ask(backend, RepairTemplate(4, max_concurrent=2, budget=Budget(seconds=99)))
        await until(lambda: backend.running == 2)
        thunk.cancel()
        await until(lambda: backend.running == 0)
        with pytest.raises(MelleaRxError):
            await soon(thunk.avalue())
        assert thunk.cancelled

    asyncio.run(main())


# Values.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "a Budget needs a limit"),
        ({"tokens": 0}, "tokens must be an int, 1 or more, not 0"),
        ({"tokens": 1.5}, "tokens must be an int, 1 or more, not 1.5"),
        ({"tokens": True}, "tokens must be an int"),
        ({"seconds": 0}, "seconds must be a number of seconds above 0, not 0"),
        ({"seconds": math.inf}, "seconds must be a number of seconds"),
        ({"seconds": "5"}, "seconds must be a number of seconds, not '5'"),
    ],
)
def test_a_budget_that_is_none_is_refused(arguments: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        Budget(**arguments)


@pytest.mark.parametrize("kind", [*LOOPS, WeakThenStrong])
@pytest.mark.parametrize("budget", [5, {"tokens": 5}, Budget])
def test_what_is_no_budget_is_refused_by_name(kind: Any, budget: Any) -> None:
    first = (ScriptedBackend(),) if kind is WeakThenStrong else ()
    with pytest.raises(InvalidInputError, match="budget must be a Budget"):
        kind(*first, budget=budget)


@pytest.mark.parametrize("kind", LOOPS)
def test_a_strategy_with_a_budget_is_a_value(kind: Any) -> None:
    strategy = kind(4, budget=Budget(tokens=5))
    assert pickle.loads(pickle.dumps(strategy)) == strategy
    assert replace(strategy, loop_budget=5).budget == Budget(5)
    assert strategy != kind(4)


def test_a_result_that_a_budget_ended_is_pickled() -> None:
    async def main() -> None:
        thunk = await ask(Priced(cost(1, 1)), RejectionSampling(9, budget=Budget(tokens=1)))
        await thunk
        assert pickle.loads(pickle.dumps(thunk)).sampling.budget_spent == "tokens"

    asyncio.run(main())


# A strategy of the user's.


class Timed(BaseStrategy):
    """An attempt with a time limit, and the tokens used until then."""

    always = True

    def __init__(self, seconds: Any) -> None:
        self.seconds = seconds
        self.usage: list[Usage] = []

    async def sample(self, sampler: Sampler) -> SamplingResult:
        self.usage.append(sampler.usage)
        attempt = await sampler.attempt(seconds=self.seconds)
        await sampler.ask("Well?")
        self.usage.append(sampler.usage)
        return SamplingResult(True, (attempt,), 0)


def test_a_strategy_limits_an_attempt_and_sees_what_was_used() -> None:
    async def main() -> None:
        strategy = Timed(5)
        assert await (await ask(Priced(cost(3, 4), cost(1, 1)), strategy, None)) == "bad"
        assert strategy.usage == [Usage(0, 0), Usage(4, 5)]
        thunk = await ask(ScriptedBackend(["half ", NEVER]), Timed(5), None)
        with pytest.raises(TotalTimeoutError, match="the attempt took longer than 5 s") as caught:
            await thunk
        assert caught.value.text == "half "

    virtually(main)


@pytest.mark.parametrize("seconds", ["5", math.nan, True])
def test_a_time_limit_that_is_no_number_is_refused(seconds: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"attempt\(seconds=...\) must be a finite number"):
        MelleaSession(ScriptedBackend("a")).instruct("Go.", strategy=Timed(seconds))
