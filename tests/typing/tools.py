"""Typed use of tools: checked by mypy --strict and pyright, never run."""

from __future__ import annotations

from typing import Any, assert_type

from mellea_rx import (
    ComputedThunk,
    LoopBudgetError,
    MelleaSession,
    ModelOption,
    ModelOutputThunk,
    Tool,
    acall_tools,
    areact,
    call_tools,
    react,
    tool,
)
from mellea_rx.stdlib.components import ToolMessage, ToolMessages
from mellea_rx.stdlib.react import ReactStep


@tool
def double(number: int) -> int:
    """Twice a number."""
    return 2 * number


@tool(name="half-of", description="Half of a number.")
async def half(number: float) -> float:
    return number / 2


def plain(text: str = "") -> None: ...


class Shop:
    def price(self, item: str) -> float:
        return len(item)


def tools() -> None:
    assert_type(double(3), int)
    assert_type(double(number=3), int)
    assert_type(double.bind({"number": 3})(), int)
    assert_type(Tool.from_callable(Shop().price)("tea"), float)
    assert_type(double.name, str)
    double("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tool(3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


async def async_tools() -> None:
    assert_type(await half(3.0), float)


def calls(m: MelleaSession) -> None:
    options: dict[Any, Any] = {ModelOption.TOOLS: [double, half, plain, double.json]}
    thunk = m.chat("Go.", tool_calls=True, model_options=options)
    assert_type(thunk.tools, tuple[Tool[..., Any], ...])
    results = call_tools(thunk)
    assert_type(results, list[ToolMessage])
    assert_type(call_tools(thunk, [double, plain]), list[ToolMessage])
    assert_type(m.act(ToolMessages(results)), ComputedThunk[str])
    assert_type(react(m, "Go.", [double, plain], loop_budget=3), ComputedThunk[str])


async def async_calls(m: MelleaSession) -> None:
    assert_type(await acall_tools(await m.achat("Go.", tool_calls=False)), list[ToolMessage])
    thunk = await areact(m, "Go to {{x}}.", [half], user_variables={"x": await m.ainstruct("?")})
    assert_type(thunk, ModelOutputThunk[str])


def failed(error: LoopBudgetError) -> None:
    for step in error.steps:
        if isinstance(step, ReactStep):
            assert_type(step.results[0].value, Any)
