"""Runs a model's tool calls; the error of a call becomes its result.

`call_tools`, `react` and `transform` use it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import msgspec

from mellea_rx.core.callbacks import call_user, loops_for
from mellea_rx.core.chunk import Chunk, ToolCall
from mellea_rx.core.tool import Tool, ToolResult
from mellea_rx.errors import CallerLoopClosedError, ToolCallError, ToolError

__all__ = ["MAX_ARGUMENTS", "loops_of", "run_calls"]

MAX_ARGUMENTS = 262_144
"""The maximum size of the arguments of one call, in bytes of JSON."""


async def run_calls(
    answer: Chunk, tools: Sequence[Tool[..., Any]], loop: asyncio.AbstractEventLoop | None
) -> list[ToolResult]:
    """Run all tool calls of an answer, at once. Runs on the engine.

    Args:
        answer: The model's answer. Where it was cut off by its length, no call of it is run.
        tools: The tools that it may call. A sync function runs in a worker thread.
        loop: The caller's event loop, for async functions.

    Returns:
        A result for each call, in order.

    Raises:
        CallerLoopClosedError: `loop` is closed.
    """
    by_name = {tool.name: tool for tool in tools}
    cut_off = answer.finish_reason == "length"

    async def run(call: ToolCall) -> ToolResult:
        try:
            _check(call, by_name, cut_off=cut_off)
            return await _run(call, by_name[call.name], loop)
        except ToolCallError as error:
            return ToolResult(call, str(error), error=error)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(call)) for call in answer.tool_calls]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from failed.exceptions[0].__cause__
    return [task.result() for task in tasks]


def loops_of(
    tools: Sequence[Tool[..., Any]], loop: asyncio.AbstractEventLoop | None
) -> tuple[asyncio.AbstractEventLoop, ...]:
    """The event loops that have to run for calls of these tools: see `loops_for`."""
    return loops_for((tool.function for tool in tools), loop)


def _check(call: ToolCall, tools: dict[str, Tool[..., Any]], *, cut_off: bool) -> None:
    if cut_off:
        raise ToolCallError(
            f"the call of tool {call.name!r} was not run: the answer was cut off by its length"
        )
    if call.name not in tools:
        near = get_close_matches(call.name, tools, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ToolCallError(f"there is no tool {call.name!r}; there are: {', '.join(tools)}{hint}")
    size = _size(call.arguments)
    if size is None or size > MAX_ARGUMENTS:
        what = "are nested too deeply" if size is None else f"have {size} bytes"
        raise ToolCallError(
            f"the call of tool {call.name!r} was not run: its arguments {what} "
            f"(at most {MAX_ARGUMENTS} bytes)"
        )


def _size(arguments: Any) -> int | None:
    """The size in bytes of JSON; None where it is nested too deeply."""
    try:
        return len(json.dumps(arguments))  # unlike msgspec, it takes lone surrogates
    except RecursionError:
        return None


async def _run(
    call: ToolCall, tool: Tool[..., Any], loop: asyncio.AbstractEventLoop | None
) -> ToolResult:
    # Converting runs the user's code too: validators, __post_init__.
    bound = await call_user(tool.bind, call.arguments, loop=loop)
    try:
        value = await call_user(bound, loop=loop)
        content = value if isinstance(value, str) else await call_user(_as_text, value, loop=loop)
    except CallerLoopClosedError:
        raise
    except Exception as raised:
        error = ToolError(f"tool {tool.name!r} raised {type(raised).__name__}: {raised}")
        error.__cause__ = raised
        return ToolResult(call, str(error), error=error)
    return ToolResult(call, content, value)


def _as_text(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        return str(value)
