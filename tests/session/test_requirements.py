"""Requirements: functions of every kind, and the model as judge."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import Any

import pytest

from mellea_rx import (
    FirstTokenTimeoutError,
    InvalidInputError,
    MelleaSession,
    ModelOption,
    Requirement,
    ScriptedBackend,
    TotalTimeoutError,
    ValidationResult,
    ValidatorError,
)
from mellea_rx.backends import Pause, Request
from mellea_rx.stdlib.requirements import check, req, simple_validate
from mellea_rx.stdlib.sampling import RepairTemplate
from tests.core.hand import PATIENCE, soon


def decide(requirement: Requirement | str, text: str = "some text") -> ValidationResult:
    (result,) = MelleaSession(ScriptedBackend("yes")).validate([requirement], output=text)
    return result


def test_a_function_gets_the_text_and_returns_a_bool() -> None:
    assert decide(req("short", simple_validate(lambda text: text == "some text")))
    assert not decide(req("short", simple_validate(lambda text: False)))


def test_it_may_return_a_pair_with_a_reason() -> None:
    result = decide(req("short", simple_validate(lambda text: (False, f"{len(text)} letters"))))
    assert (bool(result), result.reason) == (False, "9 letters")


def test_simple_validate_may_bring_the_reason() -> None:
    result = decide(req("short", simple_validate(lambda text: False, reason="too long")))
    assert result.reason == "too long"


def test_a_requirement_may_have_a_plain_function_that_returns_a_result() -> None:
    result = decide(req("scored", lambda text: ValidationResult(True, score=0.5)))
    assert (result.result, result.score) == (True, 0.5)


@pytest.mark.parametrize("wrapped", [True, False])
def test_an_async_function_runs_on_the_callers_loop_and_thread(wrapped: bool) -> None:
    seen: list[tuple[Any, str]] = []

    async def look(text: str) -> ValidationResult:
        await asyncio.sleep(0)
        seen.append((asyncio.get_running_loop(), threading.current_thread().name))
        return ValidationResult(True)

    async def main() -> None:
        fn: Any = simple_validate(look) if wrapped else look  # type: ignore[arg-type]
        thunk = await MelleaSession(ScriptedBackend("a")).ainstruct(
            "Go.", requirements=[req("x", fn)]
        )
        await soon(thunk.avalue())
        assert seen == [(asyncio.get_running_loop(), threading.current_thread().name)]

    asyncio.run(main())


def test_a_sync_function_runs_in_a_worker_thread() -> None:
    seen: list[str] = []

    def look(text: str) -> bool:
        seen.append(threading.current_thread().name)
        return True

    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend("a")).ainstruct(
            "Go.", requirements=[req("x", simple_validate(look))]
        )
        await soon(thunk.avalue())
        assert seen[0] not in (threading.current_thread().name, "mellea-rx-engine")

    asyncio.run(main())


def test_a_sync_function_that_blocks_holds_up_no_other_call() -> None:
    go_on = threading.Event()

    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a"))
        blocked = [req("x", simple_validate(lambda text: go_on.wait(PATIENCE)))]
        first = await m.ainstruct("Go.", requirements=blocked)
        assert await soon((await m.ainstruct("Go.")).avalue()) == "a"
        assert not first.is_computed()
        go_on.set()
        await soon(first.avalue())

    asyncio.run(main())


def test_the_validations_of_one_attempt_run_at_once() -> None:
    together = threading.Barrier(4)
    met = [req(str(n), simple_validate(lambda _: together.wait(PATIENCE) >= 0)) for n in range(4)]
    assert MelleaSession(ScriptedBackend("a")).instruct("Go.", requirements=met).value == "a"


def test_async_validations_run_at_once_on_one_loop() -> None:
    async def main() -> None:
        together = asyncio.Barrier(3)

        async def meet(_: str) -> bool:
            await together.wait()
            return True

        checks = [req(str(n), simple_validate(meet)) for n in range(3)]
        thunk = await MelleaSession(ScriptedBackend("a")).ainstruct("Go.", requirements=checks)
        assert await soon(thunk.avalue()) == "a"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("said", "passed"),
    [
        ("yes", True),
        ("Yes.", True),
        ('{"verdict": "yes"}', True),
        ("no", False),
        ('{"verdict": "no"}', False),
        ("y", True),
        ("Y.", True),
        ("**y**", True),
        ("n", False),
        ("N - it shouts", False),
        ('{"verdict": "yes", "reason": "No word is loud.', True),
        ("NO, it does not.", False),
        ("maybe", False),
        ("", False),
        ("yesterday, nobody knows", False),
    ],
)
def test_the_model_judges_where_there_is_no_function(said: str, passed: bool) -> None:
    m = MelleaSession(ScriptedBackend([said]))
    (result,) = m.validate("it rhymes", output="a text")
    assert bool(result) is passed
    assert passed or result.reason


def test_a_judge_that_says_neither_is_quoted_in_the_reason() -> None:
    m = MelleaSession(ScriptedBackend("Who can tell?"))
    (result,) = m.validate("it rhymes", output="a text")
    assert "neither yes nor no" in (result.reason or "")
    assert "Who can tell?" in (result.reason or "")


def test_the_judge_sees_text_and_requirement_and_does_not_dream() -> None:
    backend = ScriptedBackend("yes")
    options = {ModelOption.SEED: 7, ModelOption.TEMPERATURE: 1.5, ModelOption.STREAM_TIMEOUT: 9}
    m = MelleaSession(backend, model_options=options)
    m.validate("it {rhymes} {{7*7}}", output="a {text} {0} {{x}}")
    (request,) = backend.requests
    assert "a {text} {0} {{x}}" in request.messages[-1].content
    assert "it {rhymes} {{7*7}}" in request.messages[-1].content
    assert request.options.get(ModelOption.TEMPERATURE) == 0
    assert request.options.stream_timeout == 9
    assert request.schema is not None


def test_check_leaves_its_description_out_of_the_prompt() -> None:
    backend = ScriptedBackend("a", "yes", "yes")
    m = MelleaSession(backend)
    m.instruct("Go.", requirements=[req("be brief"), check("mention no elephants")])
    prompt = backend.requests[0].messages[-1].content
    assert "be brief" in prompt
    assert "elephants" not in prompt
    judged = "".join(each.messages[-1].content for each in backend.requests[1:])
    assert "elephants" in judged


def test_one_requirement_needs_no_list() -> None:
    backend = ScriptedBackend("a", "yes")
    MelleaSession(backend).instruct("Go.", requirements="be brief")
    assert "- be brief" in backend.requests[0].messages[-1].content


def explode(text: str) -> bool:
    raise ZeroDivisionError("oops")


async def explode_async(text: str) -> bool:
    raise ZeroDivisionError("oops")


@pytest.mark.parametrize("fn", [explode, explode_async])
def test_a_validator_that_raises_is_named_and_the_text_is_kept(fn: Any) -> None:
    async def main() -> None:
        thunk = await MelleaSession(ScriptedBackend("the text")).ainstruct(
            "Go.", requirements=[req("fine", simple_validate(fn))]
        )
        with pytest.raises(ValidatorError) as caught:
            await soon(thunk.avalue())
        error = caught.value
        assert isinstance(error.__cause__, ZeroDivisionError)
        assert error.text == "the text"
        for word in (fn.__name__, "fine", "ZeroDivisionError", "oops"):
            assert word in str(error)

    asyncio.run(main())


@pytest.mark.parametrize("value", ["yes", 1, None, (1, "x"), (True, 5), [True]])
def test_what_is_no_verdict_is_refused(value: Any) -> None:
    with pytest.raises(ValidatorError, match="returns a bool"):
        decide(req("fine", simple_validate(lambda text: value)))


def test_one_that_raises_does_not_leave_the_others_running() -> None:
    ended = threading.Event()

    async def slow(text: str) -> bool:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return True

    async def main() -> None:
        checks = [req("slow", simple_validate(slow)), req("bad", simple_validate(explode))]
        thunk = await MelleaSession(ScriptedBackend("a")).ainstruct("Go.", requirements=checks)
        with pytest.raises(ValidatorError):
            await soon(thunk.avalue())
        await soon(asyncio.to_thread(ended.wait, PATIENCE))
        assert ended.is_set()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ([5], "not int"),
        ([""], "description"),
        ([lambda text: True], "req"),
        (["  "], "description"),
        (5, "requirement"),
    ],
)
def test_what_is_no_requirement_is_refused_before_anything_starts(wrong: Any, told: str) -> None:
    backend = ScriptedBackend()
    with pytest.raises(InvalidInputError, match=told):
        MelleaSession(backend).instruct("Go.", requirements=wrong)
    assert backend.requests == ()


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="function"):
        req("fine", "not a function")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="function"):
        simple_validate("not a function")  # type: ignore[arg-type]


def test_validate_takes_the_latest_output_by_default() -> None:
    def yes_to(request: Request) -> str:
        return "yes" if "the latest" in request.messages[-1].content else "no"

    m = MelleaSession(ScriptedBackend("the latest", yes_to))
    m.instruct("Go.")
    assert [bool(each) for each in m.validate("fine")] == [True]


def test_validate_waits_for_a_running_output() -> None:
    async def main() -> None:
        m = MelleaSession(ScriptedBackend("a b c", delay=0.005))
        thunk = await m.ainstruct("Go.")
        whole = req("whole", simple_validate(lambda text: text == "a b c"))
        assert [bool(each) for each in await m.avalidate(whole, output=thunk)] == [True]

    asyncio.run(main())


@pytest.mark.parametrize("chat", [True, False])
def test_validate_waits_for_the_latest_output_when_that_still_runs(chat: bool) -> None:
    from mellea_rx import ChatContext, SimpleContext

    async def main() -> None:
        context = ChatContext() if chat else SimpleContext()
        m = MelleaSession(ScriptedBackend("a b c", delay=0.005), context)
        thunk = await m.ainstruct("Go.")
        whole = req("whole", simple_validate(lambda text: (text == "a b c", text)))
        (result,) = await m.avalidate(whole)
        assert result, result.reason
        assert thunk.text == "a b c"

    asyncio.run(main())


def test_validate_without_any_output_says_so() -> None:
    with pytest.raises(InvalidInputError, match="output="):
        MelleaSession(ScriptedBackend()).validate("fine")


@pytest.mark.parametrize(
    ("said", "met", "reason"),
    [
        ("No, it shouts at the reader.", False, "No, it shouts at the reader."),
        ("Yes. It is calm.\n", True, "Yes. It is calm."),
        ('{"verdict": "no", "reason": "It shouts."}', False, "It shouts."),
        ('{"verdict": "yes", "reason": "It is \\"calm\\"."}', True, 'It is "calm".'),
        ('{"verdict": "no", "reason": "It goes on and', False, "It goes on and"),
        ('{"verdict": "no", "reason": "cut \\u00', False, "the judge says no"),
        ('{"verdict": "no"}', False, "the judge says no"),
        ('{"verdict": "yes"}', True, None),
    ],
)
def test_the_judges_own_words_are_the_reason(said: str, met: bool, reason: str | None) -> None:
    with MelleaSession(ScriptedBackend(said)) as m:
        (result,) = m.validate(["It is calm."], output="READ THIS!")
    assert (bool(result), result.reason) == (met, reason)


def test_a_repair_is_told_the_judges_words() -> None:
    backend = ScriptedBackend("READ!", "No, it shouts.", "Please read.", "Yes, it is calm.")
    with MelleaSession(backend) as m:
        thunk = m.instruct("Ask.", requirements=["It is calm."], strategy=RepairTemplate(2))
    assert thunk.sampling is not None
    assert thunk.sampling.attempts[0].reasons == ("It is calm.: No, it shouts.",)
    assert "No, it shouts." in backend.requests[2].messages[-1].content


def test_the_options_of_validate_are_the_judges() -> None:
    backend = ScriptedBackend("yes")
    m = MelleaSession(backend, model_options={ModelOption.SEED: 1, ModelOption.RETRIES: 5})
    m.validate("fine", output="x", temperature=0.5, seed=7, max_tokens=9, model_options={"k": 3})
    m.validate("fine", output="x", retries=0)
    first, second = (each.options for each in backend.requests)
    names = (ModelOption.TEMPERATURE, ModelOption.SEED, ModelOption.MAX_NEW_TOKENS)
    assert [first.get(name) for name in names] == [0.5, 7, 9]
    assert dict(first.extra) == {"k": 3}
    assert [second.get(name) for name in names[:2]] == [0, None]
    assert (first.get(ModelOption.RETRIES), second.get(ModelOption.RETRIES)) == (5, 0)


@pytest.mark.parametrize("of_the_session", [True, False])
@pytest.mark.parametrize("blocks", ["a judge", "a function", "the output"])
def test_the_limit_of_a_whole_call_is_one_of_validate_too(
    blocks: str, of_the_session: bool
) -> None:
    brief = {ModelOption.TOTAL_TIMEOUT: 0.05}
    released = threading.Event()
    endless = ScriptedBackend([Pause(math.inf)])
    slow = check("slow", simple_validate(lambda text: released.wait(60)))

    async def main() -> None:
        m = MelleaSession(endless, model_options=brief if of_the_session else None)
        output: Any = "x"
        if blocks == "the output":
            output = await m.ainstruct("Go.", model_options={ModelOption.TOTAL_TIMEOUT: 60})
        requirement = "fine" if blocks == "a judge" else slow
        own = None if of_the_session else brief
        with pytest.raises(TotalTimeoutError):
            await m.avalidate(requirement, output=output, model_options=own)

    try:
        asyncio.run(asyncio.wait_for(main(), 30))
    finally:
        released.set()


def test_a_judge_has_the_limit_on_the_first_token() -> None:
    backend = ScriptedBackend("text", [Pause(math.inf)])
    m = MelleaSession(backend, model_options={ModelOption.FIRST_TOKEN_TIMEOUT: 0.05})
    with pytest.raises(FirstTokenTimeoutError):
        m.instruct("Go.", requirements=["fine"])
