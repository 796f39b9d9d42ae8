"""Each strategy is cancelled at each of its await points in turn: nothing is left running."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from mellea_rx import Chunk, GenerationCancelledError, MelleaSession, ScriptedBackend
from mellea_rx.backends import Request
from mellea_rx.stdlib.requirements import Requirement, check, simple_validate
from mellea_rx.stdlib.sampling import (
    BaseStrategy,
    BestOfN,
    Budget,
    BudgetForcing,
    MajorityVoting,
    MultiTurn,
    RejectionSampling,
    RepairTemplate,
    Roles,
    Sampler,
    SamplingResult,
    WeakThenStrong,
)
from tests.chaos.test_cancel_everywhere import Stepped
from tests.chaos.trial import engine_tasks, logged
from tests.core.hand import PATIENCE, until_blocking


def answer(request: Request) -> Any:
    """An answer of any role, whose thinking is always cut off."""
    if "Criterion:" in request.prompt:
        return ['{"score": ', "3}"]
    if "meets a requirement" in request.prompt:
        return ["n", "o"]
    if request.prefill:
        return ["a", "b"]
    return [Chunk(thinking="hm"), "a", Chunk("b", finish_reason="length")]


def alike(one: str, other: str) -> bool:
    return one == other


OTHER = ScriptedBackend(answer, delay=0.001)
ROLES = Roles(draft=OTHER, judge=OTHER, repair=OTHER)
LIMIT = Budget(tokens=10_000, seconds=60)

STRATEGIES: dict[str, Any] = {
    "rejection": RejectionSampling(3, budget=LIMIT),
    "rejection, side by side": RejectionSampling(4, max_concurrent=2, roles=ROLES, budget=LIMIT),
    "repair": RepairTemplate(3, roles=ROLES),
    "repair in rounds": RepairTemplate(4, max_concurrent=2, budget=LIMIT),
    "turns in rounds": MultiTurn(4, max_concurrent=2, roles=ROLES),
    "best of n by a judge": BestOfN(3, judge="Any.", roles=ROLES, budget=LIMIT),
    "votes by similarity": MajorityVoting(3, similarity=alike, budget=LIMIT),
    "weak, then strong": WeakThenStrong(OTHER, weak_budget=1, roles=ROLES, budget=LIMIT),
    "budget forcing": BudgetForcing(3, min_think_tokens=2, loop_budget=2, budget=LIMIT),
}

CHECKS: list[Requirement | str] = [
    "It is kind.",
    check("no", simple_validate(lambda text: False)),
    check("any", stream_validate=lambda word: None, unit="word"),
]


class Interrupted(BaseStrategy):
    """A strategy that is cancelled at one of its await points."""

    always = True

    def __init__(self, inner: Any, at: int) -> None:
        self.inner, self.at, self.reached = inner, at, False

    async def sample(self, sampler: Sampler) -> SamplingResult:
        results: list[SamplingResult] = []

        async def work() -> None:
            results.append(await self.inner.sample(sampler))

        stepped = Stepped(work(), self.at)
        try:
            await stepped
        finally:
            self.reached = stepped.reached
        return results[0]


@pytest.mark.parametrize("name", STRATEGIES)
def test_at_each_step_of_a_strategy(name: str) -> None:
    backend = ScriptedBackend(answer, delay=0.001)
    tasks = engine_tasks()
    with logged() as lines:
        step, reached = 1, True
        while reached:
            strategy = Interrupted(STRATEGIES[name], step)
            m = MelleaSession(backend)
            thunk = asyncio.run(m.ainstruct("Go.", requirements=CHECKS, strategy=strategy))
            try:
                thunk.wait(PATIENCE)
            except GenerationCancelledError:
                assert strategy.reached
            assert (backend.running, OTHER.running) == (0, 0)
            until_blocking(lambda: engine_tasks() <= tasks, PATIENCE)
            step, reached = step + 1, strategy.reached
        gc.collect()
    assert step > 3
    assert not [line for line in lines if "never" in line or "unclosed" in line.lower()]
