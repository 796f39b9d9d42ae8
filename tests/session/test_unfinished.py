"""The error of a time limit names the user's functions and judges that had not returned."""

from __future__ import annotations

import asyncio
import copy
import math
import pickle
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mellea_rx import MelleaSession, ModelOption, ScriptedBackend, TotalTimeoutError
from mellea_rx.backends import Pause, Request
from mellea_rx.stdlib.requirements import check, req, simple_validate, stream_judge
from mellea_rx.stdlib.sampling import BestOfN, Budget, RejectionSampling
from mellea_rx.testing import run_virtual
from tests.core.hand import PATIENCE

NEVER = Pause(math.inf)
LIMIT = {ModelOption.TOTAL_TIMEOUT: 5, ModelOption.RETRIES: 0}
BRIEF = {ModelOption.TOTAL_TIMEOUT: 0.5}
"""For sync functions, whose threads know no virtual time."""


@contextmanager
def released() -> Iterator[Callable[..., bool]]:
    """A function that blocks until the end of the block."""
    over = threading.Event()
    try:
        yield lambda *_: over.wait(PATIENCE)
    finally:
        over.set()


async def hang(*_: Any) -> bool:
    await asyncio.sleep(math.inf)
    return True


def error_of(start: Callable[[], Awaitable[Any]]) -> TotalTimeoutError:
    """The error of a call, in virtual time."""

    async def main() -> TotalTimeoutError:
        with pytest.raises(TotalTimeoutError) as caught:
            await (await start()).avalue()
        return caught.value

    return run_virtual(main())


def blocking_error_of(**how: Any) -> TotalTimeoutError:
    """The error of a sync call with a brief limit."""
    with pytest.raises(TotalTimeoutError) as caught:
        MelleaSession(ScriptedBackend("One. Two. ")).instruct("Go.", model_options=BRIEF, **how)
    return caught.value


def test_an_async_streaming_validation_is_named_with_its_unit_and_attempt() -> None:
    async def second(unit: str) -> bool:
        return "Two" not in unit or await hang()

    m = MelleaSession(ScriptedBackend("One. Two. Three."))
    requirements = [check("calm", stream_validate=second)]
    error = error_of(lambda: m.ainstruct("Go.", requirements=requirements, model_options=LIMIT))
    [name] = error.unfinished
    assert "second' of requirement 'calm' at sentence 2 of attempt 1" in name
    assert str(error).endswith(f"\n  unfinished then: {name}")


def test_a_sync_streaming_validation_is_named() -> None:
    with released() as block:

        def blocks(unit: str) -> bool:
            return block()

        error = blocking_error_of(requirements=[check("calm", stream_validate=blocks)])
    [name] = error.unfinished
    assert "blocks' of requirement 'calm' at sentence 1 of attempt 1" in name


def test_the_attempt_is_that_of_the_function_that_hangs() -> None:
    async def second_attempt(unit: str) -> bool:
        return False if "Bad" in unit else await hang()

    m = MelleaSession(ScriptedBackend("Bad. ", "Good. "))
    requirements = [check("calm", stream_validate=second_attempt)]
    error = error_of(lambda: m.ainstruct("Go.", requirements=requirements, model_options=LIMIT))
    [name] = error.unfinished
    assert name.endswith("at sentence 1 of attempt 2")


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
def test_a_validation_of_the_whole_answer_is_named(is_async: bool) -> None:
    if is_async:
        m = MelleaSession(ScriptedBackend("One."))
        whole = [check("calm", simple_validate(hang))]
        error = error_of(lambda: m.ainstruct("Go.", requirements=whole, model_options=LIMIT))
    else:
        with released() as block:
            error = blocking_error_of(requirements=[check("calm", simple_validate(block))])
    [name] = error.unfinished
    assert name.startswith("the validation function ")
    assert name.endswith(" of requirement 'calm' in attempt 1")


def test_all_that_hang_are_named_once_each() -> None:
    async def other(unit: str) -> bool:
        return await hang()

    m = MelleaSession(ScriptedBackend("One. Two."))
    requirements = [
        check("first", stream_validate=hang),
        check("second", stream_validate=other),
        check("third", stream_validate=lambda unit: True),
    ]
    error = error_of(lambda: m.ainstruct("Go.", requirements=requirements, model_options=LIMIT))
    assert ["first" in str(error), "second" in str(error), "third" in str(error)] == [
        True,
        True,
        False,
    ]
    assert str(error).count("'first'") == 1


def only_judges_hang(request: Request) -> Any:
    return [NEVER] if "meets a requirement" in request.prompt else ["One. Two."]


@pytest.mark.parametrize(
    ("requirement", "name"),
    [
        (req("It is calm."), "the judge of requirement 'It is calm.' in attempt 1"),
        (
            stream_judge("It is calm."),
            "the judge of requirement 'It is calm.' at sentence 1 of attempt 1",
        ),
    ],
    ids=["whole", "unit"],
)
def test_a_judge_is_named(requirement: Any, name: str) -> None:
    m = MelleaSession(ScriptedBackend(only_judges_hang))
    error = error_of(lambda: m.ainstruct("Go.", requirements=[requirement], model_options=LIMIT))
    assert error.unfinished == (name,)


def test_a_function_that_reads_a_judges_answer_is_named_with_the_judge() -> None:
    with released() as block:
        requirement = req("It is calm.", output_to_bool=block)
        error = blocking_error_of(requirements=[requirement])
    [name] = error.unfinished
    assert name.startswith("the validation function ")


def test_a_score_function_is_named() -> None:
    m = MelleaSession(ScriptedBackend("One."))
    strategy = BestOfN(2, scorer=hang)
    error = error_of(lambda: m.ainstruct("Go.", strategy=strategy, model_options=LIMIT))
    assert error.unfinished == ("the function 'hang' of the strategy",)


def test_a_splitter_is_named() -> None:
    with released() as block:

        class Slow:
            def feed(self, text: str) -> list[str]:
                block()
                return []

            def flush(self) -> list[str]:
                return []

        requirement = check("calm", stream_validate=lambda unit: True, unit=Slow)
        error = blocking_error_of(requirements=[requirement])
    assert error.unfinished == ("the splitter 'Slow' in attempt 1",)


def test_the_code_of_a_format_is_named() -> None:
    from pydantic import BaseModel, field_validator

    with released() as block:

        class Slow(BaseModel):
            number: int

            @field_validator("number")
            @classmethod
            def wait(cls, number: int) -> int:
                block()
                return number

        m = MelleaSession(ScriptedBackend('{"number": 1}'))
        with pytest.raises(TotalTimeoutError) as caught:
            m.instruct("Go.", format=Slow, model_options=BRIEF)
    [name] = caught.value.unfinished
    assert "format Slow" in name


def test_a_rendering_that_does_not_end_is_named() -> None:
    with released() as block:

        class Slow:
            def __str__(self) -> str:
                block()
                return "slow"

        async def main() -> TotalTimeoutError:
            m = MelleaSession(ScriptedBackend("One."))
            first = await m.ainstruct("First.")  # a prompt with a thunk is rendered later
            variables = {"first": first, "to": Slow()}
            thunk = await m.ainstruct(
                "{{first}} {{to}}.", user_variables=variables, model_options=BRIEF
            )
            with pytest.raises(TotalTimeoutError) as caught:
                await thunk
            return caught.value

        error = asyncio.run(main())
    assert error.unfinished == ("the rendering of the prompt",)


def test_the_seconds_of_a_budget_name_the_function_as_well() -> None:
    m = MelleaSession(ScriptedBackend("One."))
    strategy = RejectionSampling(3, budget=Budget(seconds=5))
    whole = [check("calm", simple_validate(hang))]
    error = error_of(lambda: m.ainstruct("Go.", requirements=whole, strategy=strategy))
    assert "the 5 s of the strategy's budget" in str(error)
    [name] = error.unfinished
    assert name.endswith("of requirement 'calm' in attempt 1")


# Nothing is named that did not hold the call up.


def test_where_only_the_model_has_not_ended_nothing_is_named() -> None:
    m = MelleaSession(ScriptedBackend(["One. Two", NEVER]))
    requirements = [
        check("calm", stream_validate=lambda unit: True),
        check("whole", simple_validate(hang)),
    ]
    error = error_of(lambda: m.ainstruct("Go.", requirements=requirements, model_options=LIMIT))
    assert error.unfinished == ()
    assert "unfinished" not in str(error)


def test_a_function_of_an_attempt_that_was_given_up_before_is_not_named() -> None:
    """The second requirement rejects the attempt whose first one hangs; then the model hangs."""

    async def hangs_on_bad(unit: str) -> bool:
        return await hang() if "Bad" in unit else True

    m = MelleaSession(ScriptedBackend(["Bad. Next. "], ["Good", NEVER]))
    requirements = [
        check("hangs", stream_validate=hangs_on_bad),
        check("rejects", stream_validate=lambda unit: "Bad" not in unit),
    ]
    error = error_of(lambda: m.ainstruct("Go.", requirements=requirements, model_options=LIMIT))
    assert error.unfinished == ()


def test_two_calls_at_once_name_their_own_functions() -> None:
    async def one(text: str) -> bool:
        return await hang()

    async def two(text: str) -> bool:
        return await hang()

    async def main() -> None:
        m = MelleaSession(ScriptedBackend("One."))
        thunks = [
            await m.ainstruct(
                "Go.", requirements=[check("calm", simple_validate(each))], model_options=LIMIT
            )
            for each in (one, two)
        ]
        ends = await asyncio.gather(*(each.avalue() for each in thunks), return_exceptions=True)
        for end, name in zip(ends, ("one", "two"), strict=True):
            assert isinstance(end, TotalTimeoutError)
            assert [f"{name}'" in each for each in end.unfinished] == [True]

    run_virtual(main())


def test_a_cancelled_call_is_no_time_limit() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("One."))
        thunk = await m.ainstruct(
            "Go.", requirements=[check("calm", simple_validate(hang))], model_options=LIMIT
        )
        waiting = asyncio.ensure_future(thunk.avalue())
        await asyncio.sleep(1)
        thunk.cancel()
        with pytest.raises(Exception) as caught:  # noqa: PT011
            await waiting
        assert not isinstance(caught.value, TotalTimeoutError)

    run_virtual(main())


def test_the_error_is_copied_and_pickled_whole() -> None:
    error = TotalTimeoutError("over", text="so far", unfinished=("a", "b"))
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert (str(twin), twin.text, twin.unfinished) == (str(error), "so far", ("a", "b"))
    assert str(error).count("unfinished") == 1
