"""Repair in rounds: attempts side by side from one request; the best one of a round is repaired."""

from __future__ import annotations

import asyncio
import math
import pickle
from dataclasses import replace
from typing import Any

import pytest

from mellea_rx import (
    AuthenticationError,
    GenerationFailedError,
    InvalidInputError,
    MelleaRxError,
    MelleaSession,
    ModelOption,
    ScriptedBackend,
)
from mellea_rx.backends import Pause, Request
from mellea_rx.stdlib.requirements import Requirement, check, simple_validate
from mellea_rx.stdlib.sampling import MultiTurn, RepairTemplate
from tests.core.hand import soon, until

ONCE = {ModelOption.RETRIES: 0}
CRASH = ["half", GenerationFailedError("crashed")]
NEVER = [Pause(math.inf)]


def has(*words: str) -> list[Requirement]:
    return [check(f"has {w}", simple_validate(lambda text, w=w: w in text)) for w in words]


def sample(backend: ScriptedBackend, strategy: Any, *words: str) -> Any:
    m = MelleaSession(backend, model_options=ONCE)
    return m.instruct("Go.", requirements=has(*words), strategy=strategy)


def last(request: Request) -> str:
    return request.messages[-1].content


@pytest.mark.parametrize("kind", [RepairTemplate, MultiTurn])
def test_a_round_has_one_request_and_the_next_one_repairs_its_best_attempt(kind: Any) -> None:
    backend = ScriptedBackend(["a"], ["a b"], ["x"], ["d"], ["a b c"])
    thunk = sample(backend, kind(6, max_concurrent=3), "a", "b", "c")
    assert thunk.value == "a b c"
    first, second = backend.requests[:3], backend.requests[3:]
    assert len({last(each) for each in first}) == len({last(each) for each in second}) == 1
    assert "- has c\n" in last(second[0])
    assert "- has a\n" not in last(second[0])


def test_of_equal_attempts_of_a_round_the_latest_is_repaired() -> None:
    backend = ScriptedBackend([Pause(0.02), "late"], ["early"], ["good"])
    sample(backend, MultiTurn(3, max_concurrent=2), "good")
    assert [message.content for message in backend.requests[2].messages][1] == "late"


def test_a_conversation_has_the_best_attempt_of_each_round() -> None:
    backend = ScriptedBackend(["a"], ["-"], ["-"], ["a b"], ["a b c"])
    sample(backend, MultiTurn(5, max_concurrent=2), "a", "b", "c")
    roles = [message.role for message in backend.requests[4].messages]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    assert [backend.requests[4].messages[n].content for n in (1, 3)] == ["a", "a b"]


@pytest.mark.parametrize("kind", [RepairTemplate, MultiTurn])
@pytest.mark.parametrize(("budget", "width"), [(1, 3), (5, 2), (6, 3), (7, 3)])
def test_the_budget_counts_the_attempts_of_all_rounds(kind: Any, budget: int, width: int) -> None:
    most = 0

    def answer(_: Request) -> Any:
        nonlocal most
        most = max(most, backend.running)
        return ["bad"]

    backend = ScriptedBackend(answer, delay=0.002)
    thunk = sample(backend, kind(budget, max_concurrent=width), "good")
    assert (len(backend.requests), most) == (budget, min(width, budget))
    assert len(thunk.sampling.attempts) == budget
    assert (thunk.value, thunk.sampling.success) == ("bad", False)


@pytest.mark.parametrize("kind", [RepairTemplate, MultiTurn])
def test_the_first_that_succeeds_ends_its_round_on_the_server(kind: Any) -> None:
    async def main() -> None:
        backend = ScriptedBackend(["bad"], ["bad"], NEVER, ["good"], NEVER)
        m = MelleaSession(backend)
        strategy = kind(4, max_concurrent=2)
        thunk = await m.ainstruct("Go.", requirements=has("good"), strategy=strategy)
        assert await soon(thunk.avalue()) == "good"
        assert backend.running == 0
        assert len(backend.requests) == 4

    asyncio.run(main())


def test_an_attempt_that_fails_in_a_round_fails_alone() -> None:
    backend = ScriptedBackend(CRASH, ["a"], ["a b"])
    thunk = sample(backend, RepairTemplate(3, max_concurrent=2), "a", "b")
    assert thunk.value == "a b"
    assert "- has b\n" in last(backend.requests[2])
    assert [str(each.error) for each in thunk.sampling.attempts if each.error] == ["crashed"]


@pytest.mark.parametrize("kind", [RepairTemplate, MultiTurn])
def test_a_round_that_fails_as_a_whole_is_repeated_with_its_request(kind: Any) -> None:
    backend = ScriptedBackend(["bad"], ["bad"], CRASH, CRASH, ["good"])
    thunk = sample(backend, kind(6, max_concurrent=2), "good")
    assert thunk.value == "good"
    assert backend.requests[4].messages == backend.requests[2].messages


def test_an_error_that_each_would_meet_begins_no_further_round() -> None:
    backend = ScriptedBackend(AuthenticationError("wrong key", status=401))
    with pytest.raises(AuthenticationError, match="wrong key"):
        sample(backend, RepairTemplate(20, max_concurrent=2), "good")
    assert len(backend.requests) == 2


def test_one_after_the_other_an_attempt_that_fails_ends_the_call() -> None:
    backend = ScriptedBackend(["bad"], CRASH, ["good"])
    with pytest.raises(GenerationFailedError, match="crashed"):
        sample(backend, RepairTemplate(3), "good")
    assert len(backend.requests) == 2


def test_wrong_input_ends_the_round_and_the_call() -> None:
    async def main() -> None:
        backend = ScriptedBackend(NEVER, InvalidInputError("not this"))
        m = MelleaSession(backend)
        strategy = RepairTemplate(2, max_concurrent=2)
        thunk = await m.ainstruct("Go.", requirements=has("x"), strategy=strategy)
        with pytest.raises(InvalidInputError, match="not this"):
            await soon(thunk.avalue())
        assert backend.running == 0

    asyncio.run(main())


@pytest.mark.parametrize("begun", [2, 4])
def test_cancelling_in_a_round_ends_it_on_the_server(begun: int) -> None:
    async def main() -> None:
        answers = [["bad"], ["bad"], NEVER] if begun == 4 else [NEVER]
        backend = ScriptedBackend(*answers)
        m = MelleaSession(backend)
        strategy = MultiTurn(4, max_concurrent=2)
        thunk = await m.ainstruct("Go.", requirements=has("good"), strategy=strategy)
        await until(lambda: len(backend.requests) == begun and backend.running == 2)
        thunk.cancel()
        await until(lambda: backend.running == 0)
        with pytest.raises(MelleaRxError):
            await soon(thunk.avalue())

    asyncio.run(main())


@pytest.mark.parametrize("kind", [RepairTemplate, MultiTurn])
def test_the_strategies_are_values(kind: Any) -> None:
    one, other = kind(4, max_concurrent=2), kind(4, concurrency_budget=2)
    assert one == other
    assert hash(one) == hash(other)
    assert one.concurrency_budget == 2
    assert replace(one, loop_budget=5) == kind(5, max_concurrent=2)
    assert pickle.loads(pickle.dumps(one)) == other
    assert repr(one).startswith(f"{kind.__name__}(loop_budget=4, max_concurrent=2, ")
    assert kind() == kind(2, max_concurrent=1)
    assert RepairTemplate() != MultiTurn()


@pytest.mark.parametrize("kind", [RepairTemplate, MultiTurn])
@pytest.mark.parametrize("name", ["loop_budget", "max_concurrent", "concurrency_budget"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
def test_a_number_that_is_no_number_of_attempts_is_refused(
    kind: Any, name: str, value: Any
) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} must be an int, 1 or more, not"):
        kind(**{name: value})


@pytest.mark.parametrize("kind", [RepairTemplate, MultiTurn])
def test_both_names_of_one_parameter_are_refused(kind: Any) -> None:
    with pytest.raises(InvalidInputError, match="concurrency_budget= is another name of"):
        kind(max_concurrent=2, concurrency_budget=2)
