"""Requirements on the tool calls of an answer, and the answers that requirements are decided on."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from mellea_rx import (
    BlockingWaitError,
    Chunk,
    InvalidInputError,
    MelleaSession,
    ModelOption,
    Output,
    RequirementsNotMetError,
    ScriptedBackend,
    Tool,
    ToolCall,
    ValidatorError,
    tool,
)
from mellea_rx.stdlib.requirements import (
    Requirement,
    check,
    req,
    simple_validate,
    tool_arg_validator,
    uses_tool,
)
from mellea_rx.stdlib.sampling import MultiTurn, RejectionSampling, RepairTemplate
from tests.core.hand import soon


@tool
def weather(city: str, days: int = 1) -> str:
    """The weather forecast."""
    return f"rain in {city}"


def plain(city: str) -> str:
    """The weather forecast."""
    return city


def asks(*calls: ToolCall, text: str = "") -> list[Chunk]:
    return [Chunk(text, tool_calls=calls)]


def call(days: Any = 3, name: str = "weather", **more: Any) -> ToolCall:
    return ToolCall(name, {"city": "Delft", "days": days, **more})


def session(*answers: Any) -> MelleaSession:
    return MelleaSession(ScriptedBackend(*answers), model_options={ModelOption.TOOLS: [weather]})


def decide(requirement: Requirement, *calls: ToolCall) -> Any:
    (result,) = session().validate([requirement], output=Output(Chunk("", tool_calls=calls)))
    return result


# The answers that a requirement is decided on.


def test_by_default_an_answer_with_tool_calls_is_not_judged() -> None:
    never = req("never", simple_validate(lambda text: False))
    thunk = session(asks(call())).instruct("Go.", requirements=[never])
    assert thunk.tool_calls
    assert thunk.sampling.success
    assert thunk.sampling.attempts[0].validations == ()


def test_a_requirement_on_all_answers_is_decided_on_one_with_tool_calls() -> None:
    never = req("never", simple_validate(lambda text: False))
    quiet = check("no calls", simple_validate(lambda o: not o.tool_calls), decided_on="all")
    m = session(asks(call()), "plain text")
    thunk = m.instruct("Go.", requirements=[never, quiet])
    first, second = thunk.sampling.attempts
    assert [(each.description, bool(met)) for each, met in first.validations] == [
        ("no calls", False)
    ]
    assert [bool(met) for _, met in second.validations] == [False, True]


def test_units_of_an_answer_with_tool_calls_count_where_it_is_decided_on_all() -> None:
    calm = check("calm", stream_validate=lambda unit: True, decided_on="all")
    thunk = session(asks(call(), text="One. Two.")).instruct("Go.", requirements=[calm])
    assert [bool(met) for _, met in thunk.sampling.attempts[0].validations] == [True]


@pytest.mark.parametrize("wrong", ["some", None, 1])
def test_another_word_for_the_answers_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="decided_on must be one of 'final', 'all'"):
        req("x", decided_on=wrong)


# uses_tool


@pytest.mark.parametrize("given", [weather, weather.function, "weather"])
def test_an_answer_that_does_not_call_the_tool_is_tried_again(given: Any) -> None:
    m = session("It rains.", asks(call()))
    thunk = m.instruct("Is it wet?", requirements=[uses_tool(given)])
    first, second = thunk.sampling.attempts
    assert first.reasons == ("Call the tool 'weather'.: no tool was called",)
    assert (second.success, thunk.tool_calls) == (True, (call(),))
    assert "- Call the tool 'weather'." in m.backend.requests[0].messages[-1].content


def test_another_tool_is_not_the_tool() -> None:
    result = decide(uses_tool("weather"), call(name="a"), call(name="b"), call(name="a"))
    assert (bool(result), result.reason) == (False, "only a, b was called")


def test_the_prompt_need_not_state_it() -> None:
    m = session(asks(call()))
    m.instruct("Is it wet?", requirements=[uses_tool(weather, check_only=True)])
    assert "Call the tool" not in m.backend.requests[0].messages[-1].content


def test_with_require_an_answer_without_the_call_is_an_error() -> None:
    with pytest.raises(RequirementsNotMetError, match="no tool was called"):
        session("No.").instruct("Go.", requirements=[uses_tool(weather)], require=True)


def test_two_of_one_tool_are_equal() -> None:
    assert uses_tool(weather) == uses_tool("weather") != uses_tool("other")
    assert len({uses_tool(weather), uses_tool("weather")}) == 1


# tool_arg_validator

near = tool_arg_validator(weather, "days", lambda days: days <= 7)


def test_each_call_of_the_tool_is_checked() -> None:
    assert decide(near, call(3), call(99, name="other"), call(7))
    result = decide(near, call(3), call(30))
    assert not result
    assert result.reason == "argument 'days' of tool 'weather' is not valid: 30"


def test_without_a_call_there_is_nothing_to_check() -> None:
    assert decide(near)
    assert decide(near, call(99, name="other"))
    assert session("It rains.").instruct("Go.", requirements=[near], require=True).value


def test_with_uses_tool_the_call_is_required_too() -> None:
    m = session("It rains.", asks(call(30)), asks(call(3)))
    checks = [uses_tool(weather), near]
    thunk = m.instruct("Go.", requirements=checks, strategy=RejectionSampling(3), require=True)
    assert thunk.tool_calls == (call(3),)


def test_a_call_without_the_argument_does_not_meet_it() -> None:
    result = decide(near, call(3), ToolCall("weather", {"city": "Delft"}))
    assert (bool(result), result.reason) == (False, "argument 'days' of tool 'weather' is missing")


def test_the_reason_of_the_check_is_added() -> None:
    far = tool_arg_validator("weather", "days", lambda days: (days < 8, "a week at most"))
    assert decide(far, call(9)).reason.endswith("is not valid: 9 (a week at most)")


def test_a_long_value_is_cut_in_the_reason() -> None:
    never = tool_arg_validator("weather", "days", lambda days: False)
    assert len(decide(never, call("9" * 1000)).reason) < 150


def test_an_async_check_runs_on_the_callers_loop() -> None:
    seen: list[Any] = []

    async def short(days: int) -> bool:
        await asyncio.sleep(0)
        seen.append((asyncio.get_running_loop(), threading.current_thread()))
        return days < 8

    async def main() -> None:
        checks = [tool_arg_validator(weather, "days", short)]
        thunk = await session(asks(call(9), call(3)), asks(call(2))).ainstruct(
            "Go.", requirements=checks
        )
        await soon(thunk.avalue())
        assert thunk.tool_calls == (call(2),)
        assert set(seen) == {(asyncio.get_running_loop(), threading.current_thread())}
        with pytest.raises(BlockingWaitError):
            session(asks(call(9))).instruct("Go.", requirements=checks)

    asyncio.run(main())


@pytest.mark.parametrize("returned", ["yes", 1, None])
def test_what_is_no_verdict_is_refused(returned: Any) -> None:
    with pytest.raises(ValidatorError, match="returns a bool"):
        decide(tool_arg_validator("weather", "days", lambda days: returned), call())


def test_a_check_that_raises_is_a_validator_error_with_its_name() -> None:
    def explode(days: int) -> bool:
        raise ZeroDivisionError("oops")

    with pytest.raises(ValidatorError, match=r"'explode'.*ZeroDivisionError.*oops"):
        decide(tool_arg_validator("weather", "days", explode), call())


def test_its_description_is_stated_and_without_one_nothing_is() -> None:
    m = session(asks(call()))
    told = tool_arg_validator(weather, "days", lambda days: True, description="Ask for a week.")
    m.instruct("Go.", requirements=[near, told])
    prompt = m.backend.requests[0].messages[-1].content
    assert "Ask for a week." in prompt
    assert "valid" not in prompt
    silent = tool_arg_validator(
        weather, "days", lambda days: True, description="Ask for a week.", check_only=True
    )
    assert (silent.check_only, silent.description) == (True, "Ask for a week.")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: uses_tool(5), "tool must be a Tool, a function or the name of a tool, not 5"),  # type: ignore[arg-type]
        (lambda: uses_tool(" "), "tool must be"),
        (lambda: uses_tool(lambda x: x), "type"),
        (lambda: tool_arg_validator(weather, "town", bool), "no argument 'town'; it has: city"),
        (lambda: tool_arg_validator(plain, "days", bool), "no argument 'days'; it has: city"),
        (lambda: tool_arg_validator("weather", "", bool), "arg must be"),
        (lambda: tool_arg_validator("weather", 5, bool), "arg must be"),  # type: ignore[arg-type]
        (lambda: tool_arg_validator("weather", "days", 5), "check must be a function"),  # type: ignore[arg-type]
    ],
)
def test_bad_input_is_refused_by_its_name(wrong: Any, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        wrong()


def test_a_tool_whose_schema_has_no_properties_may_have_any_argument() -> None:
    open_tool = Tool("any", "Anything.", {"type": "object"}, lambda **given: "")
    assert decide(tool_arg_validator(open_tool, "x", lambda x: x == 1), ToolCall("any", {"x": 1}))


# Repairs.


@pytest.mark.parametrize("strategy", [RepairTemplate(), MultiTurn()])
def test_a_repair_says_why_the_calls_were_rejected(strategy: Any) -> None:
    m = session(asks(call(30)), asks(call(3)))
    thunk = m.instruct("Go.", requirements=[near], strategy=strategy)
    assert thunk.tool_calls == (call(3),)
    assert "is not valid: 30" in m.backend.requests[1].messages[-1].content


def test_a_conversation_has_a_result_for_each_call_that_was_rejected() -> None:
    """Servers refuse tool calls that no result follows."""
    first, second = ToolCall("weather", {"days": 30}, "c1"), ToolCall("weather", {"days": 3}, "c2")
    m = session(asks(first, second), asks(call(3)))
    m.instruct("Go.", requirements=[near], strategy=MultiTurn())
    messages = m.backend.requests[1].messages
    assert [message.role for message in messages] == ["user", "assistant", "tool", "tool", "user"]
    assert messages[1].tool_calls == (first, second)
    assert [message.tool_call_id for message in messages[2:4]] == ["c1", "c2"]
    assert "not run" in messages[2].content
