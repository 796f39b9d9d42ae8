"""Tool calls: run the calls that a thunk's model asked for, and return their results."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any, TypeAlias

import msgspec

from mellea_rx.core.runtime.delivery import running_loop
from mellea_rx.core.runtime.run_all import run_all
from mellea_rx.core.runtime.user_functions import call_user_function, loops_required_by
from mellea_rx.core.streams.generation import Generation
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.types.chunk import Chunk, ToolCall
from mellea_rx.core.types.tool import Tool, ToolResult, normalize_tools
from mellea_rx.errors import (
    CallerLoopClosedError,
    DependencyError,
    InvalidInputError,
    ToolCallError,
    ToolError,
)
from mellea_rx.helpers.sync_verbs import blocking, wait_for_thunk
from mellea_rx.stdlib.components import ToolMessage

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

    return await run_all([run(call) for call in answer.tool_calls])


def loops_of(
    tools: Sequence[Tool[..., Any]], loop: asyncio.AbstractEventLoop | None
) -> tuple[asyncio.AbstractEventLoop, ...]:
    """The event loops that have to run for calls of these tools: see `loops_required_by`."""
    return loops_required_by((tool.function for tool in tools), loop)


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
    bound = await call_user_function(tool.bind, call.arguments, loop=loop)
    try:
        value = await call_user_function(bound, loop=loop)
        content = (
            value
            if isinstance(value, str)
            else await call_user_function(_as_text, value, loop=loop)
        )
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


Callables: TypeAlias = Iterable[Tool[..., Any] | Callable[..., Any]]


async def acall_tools(
    thunk: ModelOutputThunk[Any], tools: Callables | None = None
) -> list[ToolMessage]:
    """Run the tool calls that an answer asks for, all at once.

    The error of a call is its result, for the model to read: an unknown tool, arguments that do not
    fit, the exception of a function. No call of an answer that was cut off by its length runs. Sync
    functions run in worker threads, async ones on the caller's event loop.

    Args:
        thunk: The answer; it is waited for.
        tools: The tools that may be called; by default those that the call offered.

    Returns:
        A message for each call, in order; for an answer without calls, none.

    Raises:
        InvalidInputError: There are no tools, or one of them is only a description.
        DependencyError: The answer failed; its error is the cause.
        CallerLoopClosedError: The event loop of an async function is closed.

    Example:
        >>> from mellea_rx import Chunk, MelleaSession, ScriptedBackend, ToolCall
        >>> def double(number: int) -> int:
        ...     '''Twice a number.'''
        ...     return 2 * number
        >>> asked = [Chunk(tool_calls=(ToolCall("double", {"number": 4}),))]
        >>> thunk = MelleaSession(ScriptedBackend(asked)).instruct("What is twice four?")
        >>> [message.content for message in call_tools(thunk, [double])]
        ['8']
    """
    if not isinstance(thunk, ModelOutputThunk):
        raise InvalidInputError(f"call_tools takes a thunk, not {type(thunk).__name__}")
    known = thunk.tools if tools is None else callable_tools(tools)
    if not known:
        raise InvalidInputError(
            "there is no tool to call: give tools=, or offer functions in ModelOption.TOOLS"
        )
    return (await wait_for_thunk(_start(thunk, known))).parsed


call_tools = blocking(acall_tools)


def callable_tools(given: Callables) -> tuple[Tool[..., Any], ...]:
    """Tools and functions as tools.

    Raises:
        InvalidInputError: Something cannot be called, or two tools have one name.
    """
    found = normalize_tools(given)
    tools = tuple(each for each in found if isinstance(each, Tool))
    if len(tools) < len(found):
        raise InvalidInputError("a JSON description cannot be called: give a function or a Tool")
    return tools


def _start(
    thunk: ModelOutputThunk[Any], tools: tuple[Tool[..., Any], ...]
) -> ModelOutputThunk[list[ToolMessage]]:
    loop = running_loop()
    messages: list[ToolMessage] = []

    async def run(generation: Generation) -> None:
        await thunk._view().settled()
        if thunk.error is not None:
            raise DependencyError(
                f"there are no tool calls to run: the call failed: {thunk.error}", text=thunk.text
            ) from thunk.error
        answer = Chunk(tool_calls=thunk.tool_calls, finish_reason=thunk.finish_reason)
        results = await run_calls(answer, tools, loop)
        messages.extend(
            ToolMessage(each.call.name or "unknown", each.content, each.call.id) for each in results
        )

    return ModelOutputThunk(
        run,
        needs=loops_of(tools, loop),
        dependencies=[thunk._view()],
        parse=lambda _: list(messages),
    )
