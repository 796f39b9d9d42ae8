"""`session.usage` and `SessionBudget`: the requests and tokens of all of a session's calls."""

from __future__ import annotations

import asyncio

import pytest

from mellea_rx import (
    BudgetExceededError,
    Chunk,
    InvalidInputError,
    MelleaSession,
    Output,
    Price,
    ScriptedBackend,
    SessionBudget,
    SessionUsage,
    Usage,
    ValidationResult,
    start_session,
)
from mellea_rx.errors import ConnectionFailedError
from mellea_rx.stdlib.requirements import req


def rejected(_: Output) -> ValidationResult:
    return ValidationResult(False)


def test_a_new_session_has_used_nothing() -> None:
    usage = MelleaSession(ScriptedBackend()).usage
    assert (usage.requests, usage.tokens, usage.cost) == (0, Usage(), 0)


def test_rejected_attempts_count() -> None:
    with MelleaSession(ScriptedBackend("one two", model_id="m")) as m:
        thunk = m.instruct("Say.", requirements=[req("no", validation_fn=rejected)])
        str(thunk)
        assert thunk.sampling is not None
        assert m.usage.requests == len(thunk.sampling.attempts) == 2
        assert m.usage.models["m"].reported == 2
        assert m.usage.tokens.completion_tokens == 4


def test_judges_count() -> None:
    backend = ScriptedBackend("text", "yes", model_id="m")
    with MelleaSession(backend) as m:
        str(m.instruct("Say.", requirements=["It is short."]))
        assert m.usage.requests == len(backend.requests) >= 2


def test_a_validation_counts() -> None:
    backend = ScriptedBackend("yes")
    with MelleaSession(backend) as m:
        m.validate(["It is short."], output="text")
        assert m.usage.requests == len(backend.requests) == 1


def test_a_retry_counts_and_tokens_that_no_server_reports_do_not() -> None:
    backend = ScriptedBackend(ConnectionFailedError("gone"), "one two", model_id="m")
    with MelleaSession(backend, retries=1) as m:
        str(m.instruct("Say."))
        assert (m.usage.requests, m.usage.models["m"].reported) == (2, 1)
        assert m.usage.tokens.completion_tokens == 2


def test_a_later_report_of_a_request_replaces_the_earlier_one() -> None:
    early = Chunk("one", usage=Usage(900, 900))
    with MelleaSession(ScriptedBackend([early], model_id="m")) as m:
        str(m.instruct("Say."))
        assert m.usage.tokens.completion_tokens == 1
        assert m.usage.models["m"].reported == 1


def test_the_cost_is_that_of_the_price_table() -> None:
    prices = {"m": Price(prompt=0, completion=1_000_000)}
    with start_session("scripted", "m", prices=prices) as m:
        str(m.instruct("Say."))
        assert m.usage.cost == m.usage.tokens.completion_tokens > 0
        assert m.usage.unpriced == ()


def test_a_model_without_a_price_is_listed_and_the_cost_is_unknown() -> None:
    with MelleaSession(ScriptedBackend(model_id="m"), prices={"other": Price(1, 1)}) as m:
        str(m.instruct("Say."))
        assert m.usage.cost is None
        assert m.usage.unpriced == ("m",)


def test_a_snapshot_does_not_change() -> None:
    with MelleaSession(ScriptedBackend()) as m:
        before = m.usage
        str(m.instruct("Say."))
        assert before == SessionUsage()


def test_a_clone_spends_the_same_budget() -> None:
    with MelleaSession(ScriptedBackend("text"), budget=SessionBudget(requests=2)) as m:
        twin = m.clone()
        m.instruct("Say.")
        twin.instruct("Say.")
        assert m.usage.requests == twin.usage.requests == 2
        for each in (m, twin, twin.clone()):
            with pytest.raises(BudgetExceededError):
                each.instruct("Say.")


@pytest.mark.parametrize(
    ("budget", "prices"),
    [
        (SessionBudget(requests=1), None),
        (SessionBudget(tokens=1), None),
        (SessionBudget(cost=0.000_001), {"m": Price(10, 10)}),
    ],
)
def test_a_spent_budget_refuses_the_next_request_before_it_is_sent(
    budget: SessionBudget, prices: dict[str, Price] | None
) -> None:
    backend = ScriptedBackend("one two", model_id="m")
    with MelleaSession(backend, budget=budget, prices=prices) as m:
        assert str(m.instruct("Say.")) == "one two"
        with pytest.raises(BudgetExceededError, match="budget is spent"):
            m.instruct("Say.").wait()
        assert len(backend.requests) == m.usage.requests == 1


def test_of_20_concurrent_calls_as_many_are_sent_as_the_budget_allows() -> None:
    backend = ScriptedBackend("one two", delay=0.01)

    async def call_20_times() -> list[str | BaseException]:
        async with MelleaSession(backend, budget=SessionBudget(requests=7)) as m:
            thunks = [await m.ainstruct("Say.") for _ in range(20)]
            waits = (thunk.avalue() for thunk in thunks)
            return await asyncio.gather(*waits, return_exceptions=True)

    ended = asyncio.run(call_20_times())
    refused = [each for each in ended if isinstance(each, BudgetExceededError)]
    assert (len(refused), len(backend.requests)) == (13, 7)


def test_an_attempt_beyond_the_budget_fails_its_call() -> None:
    backend = ScriptedBackend("one two")
    no = req("no", validation_fn=rejected)
    with (
        MelleaSession(backend, budget=SessionBudget(requests=1)) as m,
        pytest.raises(BudgetExceededError),
    ):
        m.instruct("Say.", requirements=[no])
    assert len(backend.requests) == 1


def test_a_limit_of_the_cost_needs_a_price() -> None:
    backend = ScriptedBackend(model_id="m")
    with (
        MelleaSession(backend, budget=SessionBudget(cost=1)) as m,
        pytest.raises(InvalidInputError, match="has no price"),
    ):
        m.instruct("Say.").wait()
    assert not backend.requests


@pytest.mark.parametrize("limits", [{}, {"tokens": 0}, {"requests": True}, {"cost": float("nan")}])
def test_a_wrong_budget_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError):
        SessionBudget(**limits)


def test_wrong_prices_are_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match="prompt of a Price"):
        Price(prompt=-1, completion=1)
    with pytest.raises(InvalidInputError, match="'m'"):
        MelleaSession(ScriptedBackend(), prices={"m": 3})  # type: ignore[dict-item]
