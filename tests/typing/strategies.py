"""The types of sampling strategies, for users. mypy and pyright check this file; it never runs."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal, assert_type

from mellea_rx import Chunk, ScriptedBackend, Usage
from mellea_rx.stdlib.components import Template
from mellea_rx.stdlib.sampling import (
    Attempt,
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
    SamplingStrategy,
    WeakThenStrong,
    latex_key,
    number_key,
)

backend = ScriptedBackend("a")
roles = Roles(draft=backend, judge=backend, repair=backend)
budget = Budget(tokens=1000, seconds=30)


async def distance(one: str, other: str) -> float:
    return float(len(one) - len(other))


strategies: list[SamplingStrategy] = [
    RejectionSampling(3, max_concurrent=2, roles=roles, budget=budget),
    RepairTemplate(3, max_concurrent=2, roles=roles, budget=budget),
    MultiTurn(3, concurrency_budget=2, roles=roles, budget=budget),
    BestOfN(3, judge="The shorter is better.", roles=roles, budget=budget),
    BestOfN(n=3, scorer=len),
    MajorityVoting(3, key=number_key, roles=roles, budget=budget),
    MajorityVoting(3, similarity=distance, threshold=0.5),
    WeakThenStrong(backend, weak_budget=1, roles=roles, budget=budget),
    BudgetForcing(100, answer_tokens=50, min_think_tokens=10, roles=roles, budget=budget),
]

assert_type(RepairTemplate().max_concurrent, int)
assert_type(number_key("1"), Hashable)
assert_type(latex_key("1"), Hashable)


class Asks(BaseStrategy):
    always = True

    async def sample(self, sampler: Sampler) -> SamplingResult:
        attempt = await sampler.attempt(judge=backend, seconds=5)
        assert_type(attempt, Attempt)
        assert_type(attempt.score_reason, str | None)
        assert_type(await sampler.ask("Well?", schema={"type": "boolean"}), Chunk)
        await sampler.ask(Template("Well?"), backend=backend)
        assert_type(sampler.usage, Usage)
        result = SamplingResult(True, (attempt,), 0)
        assert_type(result.budget_spent, Literal["tokens", "seconds"] | None)
        return result
