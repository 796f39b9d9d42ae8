"""`Roles`: the backends that make drafts, repair them, and judge."""

from __future__ import annotations

import asyncio
import math
import pickle
from dataclasses import replace
from typing import Any

import pytest

from mellea_rx import (
    AuthenticationError,
    BlockingWaitError,
    GenerationFailedError,
    InvalidInputError,
    MelleaRxError,
    MelleaSession,
    ModelOption,
    ScriptedBackend,
)
from mellea_rx.backends import Pause, Request
from mellea_rx.stdlib.requirements import Requirement, check, simple_validate
from mellea_rx.stdlib.sampling import (
    BaseStrategy,
    BestOfN,
    MajorityVoting,
    MultiTurn,
    RejectionSampling,
    RepairTemplate,
    Roles,
    Sampler,
    SamplingResult,
    WeakThenStrong,
)
from tests.core.hand import soon, until
from tests.session.test_interfaces import Deferred, Picky

GOOD = check("good", simple_validate(lambda text: "good" in text))
JUDGED: list[Requirement | str] = ["It is kind."]

ONE_BY_ONE = [RejectionSampling, RepairTemplate, MultiTurn]
LOOPS = [*ONE_BY_ONE, BestOfN, MajorityVoting]


def script(*answers: Any, **how: Any) -> ScriptedBackend:
    return ScriptedBackend(*([each] for each in answers), **how)


def count(*backends: ScriptedBackend) -> list[int]:
    return [len(each.requests) for each in backends]


def sample(own: ScriptedBackend, strategy: Any, requirements: Any = GOOD, **options: Any) -> Any:
    retries = options.pop("retries", 3)
    m = MelleaSession(own, model_options={ModelOption.RETRIES: retries, **options})
    return m.instruct("Go.", requirements=requirements, strategy=strategy)


@pytest.mark.parametrize("kind", ONE_BY_ONE)
def test_one_backend_makes_the_draft_and_another_one_repairs_it(kind: Any) -> None:
    own, draft, repair = script("never"), script("bad"), script("bad", "good")
    thunk = sample(own, kind(3, roles=Roles(draft=draft, repair=repair)))
    assert thunk.value == "good"
    assert count(own, draft, repair) == [0, 1, 2]


@pytest.mark.parametrize("kind", ONE_BY_ONE)
def test_each_role_without_a_backend_is_the_calls_own(kind: Any) -> None:
    own, other = script("bad"), script("good")
    assert sample(own, kind(2, roles=Roles(repair=other))).value == "good"
    assert count(own, other) == [1, 1]
    own, other = script("good"), script("bad")
    assert sample(own, kind(2, roles=Roles(draft=other))).value == "good"
    assert count(own, other) == [1, 1]


@pytest.mark.parametrize("kind", [RepairTemplate, MultiTurn])
def test_the_first_round_is_drafts_and_the_others_are_repairs(kind: Any) -> None:
    own, draft, repair = script("never"), script("bad"), script("bad", "bad", "good")
    roles = Roles(draft=draft, repair=repair)
    thunk = sample(own, kind(6, max_concurrent=2, roles=roles))
    assert thunk.value == "good"
    assert count(own, draft, repair)[:2] == [0, 2]


def test_side_by_side_an_attempt_that_begins_after_a_rejection_is_a_repair() -> None:
    draft, repair = script("bad"), script("good")
    roles = Roles(draft=draft, repair=repair)
    sample(script("never"), RejectionSampling(5, max_concurrent=2, roles=roles))
    assert len(draft.requests) == 2
    assert repair.requests


def test_an_attempt_that_failed_was_not_rejected() -> None:
    crash = GenerationFailedError("crashed")
    draft, repair = ScriptedBackend([crash], [crash], ["good"]), script("never")
    strategy = RepairTemplate(4, max_concurrent=2, roles=Roles(draft=draft, repair=repair))
    assert sample(script("never"), strategy, retries=0).value == "good"
    assert repair.requests == ()


def test_what_continues_an_attempt_is_its_repair() -> None:
    calm = check("calm", stream_validate=lambda unit: "!" not in unit)
    draft, repair = script("One. Two!"), script(" Two. Three.")
    strategy = RejectionSampling(2, repair="continue", roles=Roles(draft=draft, repair=repair))
    assert sample(script("never"), strategy, calm).value == "One. Two. Three."
    assert repair.requests[0].prefill == "One."


@pytest.mark.parametrize("kind", [BestOfN, MajorityVoting])
@pytest.mark.parametrize("width", [None, 1])
def test_attempts_that_are_compared_are_drafts(kind: Any, width: Any) -> None:
    own, draft, repair = script("never"), script("bad"), script("never")
    roles = Roles(draft=draft, repair=repair)
    sample(own, kind(3, max_concurrent=width, roles=roles))
    assert count(own, draft, repair) == [0, 3, 0]


def test_weak_attempts_have_roles_and_the_strong_one_is_the_strong_backends() -> None:
    own, draft, repair, strong = script("never"), script("bad"), script("bad"), script("good")
    strategy = WeakThenStrong(strong, weak_budget=3, roles=Roles(draft=draft, repair=repair))
    assert sample(own, strategy).value == "good"
    assert count(own, draft, repair, strong) == [0, 1, 2, 1]


@pytest.mark.parametrize("kind", LOOPS)
def test_a_judge_of_its_own_decides_what_a_model_judges(kind: Any) -> None:
    own, judge = script("text"), script("yes")
    thunk = sample(own, kind(2, roles=Roles(judge=judge)), JUDGED)
    assert thunk.sampling.success
    assert all("meets a requirement" not in each.prompt for each in own.requests)
    assert len(judge.requests) == len(thunk.sampling.attempts)
    assert judge.requests[0].options.get(ModelOption.TEMPERATURE) == 0
    assert judge.requests[0].options.get(ModelOption.MAX_NEW_TOKENS) == 80


def test_the_judge_also_judges_the_strong_backend() -> None:
    own, strong, judge = script("weak"), script("strong"), script("no", "yes")
    strategy = WeakThenStrong(strong, weak_budget=1, roles=Roles(judge=judge))
    assert sample(own, strategy, JUDGED).value == "strong"
    assert count(own, strong, judge) == [1, 1, 2]


def test_the_judge_of_best_of_n_is_the_role() -> None:
    own, judge = script("one", "two"), script('{"score": 3}')
    strategy = BestOfN(2, judge="The shorter is better.", roles=Roles(judge=judge))
    sample(own, strategy, None)
    assert count(own, judge) == [2, 2]


def test_a_judge_gets_the_calls_options_that_hold_for_it_over_its_own() -> None:
    judge = script("yes", model_options={"top_k": 1, "top_p": 2, ModelOption.SEED: 3})
    told = {"top_k": 9, "num_ctx": 99, "seed": 5, "temperature": 1}
    sample(script("text"), RejectionSampling(roles=Roles(judge=judge)), JUDGED, **told)
    known = judge.requests[0].options
    assert known.extra == {"top_k": 9, "top_p": 2}
    assert known.get(ModelOption.CONTEXT_WINDOW) == 99
    assert known.get(ModelOption.SEED) is None
    assert known.get(ModelOption.TEMPERATURE) == 0


def test_a_judge_need_not_support_the_options_of_an_answer() -> None:
    thunk = sample(script("text"), RejectionSampling(1, roles=Roles(judge=Picky())), JUDGED, seed=7)
    assert not thunk.sampling.success
    assert "neither yes nor no: 'Quack.'" in thunk.sampling.attempts[0].reasons[0]


def test_deferred_backends_are_resolved_in_each_role() -> None:
    draft, repair, judge = script("bad"), script("good"), script("no", "yes")
    roles = Roles(draft=Deferred(draft), repair=Deferred(repair), judge=Deferred(judge))
    assert sample(script("never"), RepairTemplate(roles=roles), JUDGED).value == "good"
    assert count(draft, repair, judge) == [1, 1, 2]


def test_a_judge_that_nothing_is_asked_of_is_not_resolved() -> None:
    class Nobody(Deferred):
        async def resolve(self) -> Any:
            raise AssertionError("no model is asked")

    roles = Roles(judge=Nobody(script("yes")))
    assert sample(script("good"), RejectionSampling(roles=roles)).value == "good"


@pytest.mark.parametrize("kind", LOOPS)
def test_a_backend_for_drafts_is_asked_without_requirements_too(kind: Any) -> None:
    own, draft = script("own"), script("draft")
    assert sample(own, kind(2, roles=Roles(draft=draft)), None).value == "draft"
    assert own.requests == ()


def test_a_judge_that_fails_fails_as_the_calls_own_does() -> None:
    judge = ScriptedBackend(AuthenticationError("wrong key", status=401))
    with pytest.raises(AuthenticationError, match="wrong key") as caught:
        sample(script("text"), RejectionSampling(roles=Roles(judge=judge)), JUDGED)
    assert caught.value.text == "text"


def test_cancelling_ends_the_request_of_each_role() -> None:
    async def main() -> None:
        never = [Pause(math.inf)]
        for roles, others in (
            (Roles(draft=ScriptedBackend(never)), script("never")),
            (Roles(judge=ScriptedBackend(never)), script("text")),
            (Roles(repair=ScriptedBackend(never), judge=script("no")), script("bad")),
        ):
            m = MelleaSession(others)
            strategy = RejectionSampling(roles=roles)
            thunk = await m.ainstruct("Go.", requirements=JUDGED, strategy=strategy)
            running = [each for each in roles.backends if isinstance(each, ScriptedBackend)]
            await until(lambda running=running: any(each.running for each in running))
            thunk.cancel()
            await until(lambda running=running: not any(each.running for each in running))
            with pytest.raises(MelleaRxError):
                await soon(thunk.avalue())

    asyncio.run(main())


class OnALoop(ScriptedBackend):
    """A backend whose requests need an event loop of the user's."""

    loops: tuple[asyncio.AbstractEventLoop, ...] = ()


@pytest.mark.parametrize("role", ["draft", "judge", "repair", "strong"])
def test_a_blocking_wait_on_the_loop_of_a_role_is_refused(role: str) -> None:
    async def main() -> None:
        backend = OnALoop("yes")
        backend.loops = (asyncio.get_running_loop(),)
        strategy: Any = WeakThenStrong(backend)
        if role != "strong":
            strategy = RejectionSampling(roles=Roles(**{role: backend}))
        with pytest.raises(BlockingWaitError):
            MelleaSession(script("text")).instruct("Go.", requirements=GOOD, strategy=strategy)

    asyncio.run(main())


@pytest.mark.parametrize("role", ["draft", "judge", "repair"])
def test_what_is_no_backend_is_refused_by_name(role: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"Roles\({role}=...\) needs a backend, not str"):
        Roles(**{role: "gpt"})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [*LOOPS, WeakThenStrong])
@pytest.mark.parametrize("roles", ["gpt", {"draft": None}, ScriptedBackend(), Roles])
def test_what_are_no_roles_is_refused(kind: Any, roles: Any) -> None:
    first = (ScriptedBackend(),) if kind is WeakThenStrong else ()
    with pytest.raises(InvalidInputError, match="roles must be a Roles"):
        kind(*first, roles=roles)


def test_roles_are_values() -> None:
    draft = script("a")
    roles = Roles(draft=draft)
    assert roles == Roles(draft=draft)
    assert roles.backends == (draft,)
    assert replace(roles, draft=None) == Roles()
    strategy = RejectionSampling(roles=roles)
    assert replace(strategy, loop_budget=5).roles is roles
    assert RejectionSampling(roles=None) == RejectionSampling() == RejectionSampling(roles=Roles())
    assert pickle.loads(pickle.dumps(RejectionSampling())) == RejectionSampling()
    strong = WeakThenStrong(draft, roles=roles)
    assert replace(strong, weak_budget=5).backends == (draft, draft)


# A strategy of the user's.


class JudgedBy(BaseStrategy):
    """One attempt, with a judge that is given to the attempt."""

    def __init__(self, judge: Any) -> None:
        self.judge = judge

    async def sample(self, sampler: Sampler) -> SamplingResult:
        attempt = await sampler.attempt(judge=self.judge)
        return SamplingResult(attempt.success, (attempt,), 0)


def test_a_strategy_gives_a_judge_to_an_attempt() -> None:
    own, judge = script("text"), script("yes")
    assert sample(own, JudgedBy(judge), JUDGED).sampling.success
    assert count(own, judge) == [1, 1]
    assert sample(script("text", "yes"), JudgedBy(None), JUDGED).sampling.success


def test_a_judge_that_is_no_backend_is_refused_whether_it_is_needed_or_not() -> None:
    for requirements in (JUDGED, GOOD):
        with pytest.raises(InvalidInputError, match=r"attempt\(judge=...\) needs a backend"):
            sample(script("text"), JudgedBy("gpt"), requirements)


def test_a_judge_that_is_the_calls_own_backend_has_the_calls_options() -> None:
    def answer(request: Request) -> Any:
        return ["yes"]

    own = ScriptedBackend(answer)
    assert sample(own, JudgedBy(own), JUDGED, num_ctx=99).sampling.success
    assert [each.options.get(ModelOption.CONTEXT_WINDOW) for each in own.requests] == [99, 99]
