"""`call_tools`: runs the tool calls of an answer. For users."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from mellea_rx.core.chunk import Chunk
from mellea_rx.core.generation import Generation
from mellea_rx.core.outlet import running_loop
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.core.tool import Tool, offered
from mellea_rx.errors import DependencyError, InvalidInputError
from mellea_rx.helpers.blocking import blocking, settle
from mellea_rx.stdlib.components import ToolMessage
from mellea_rx.stdlib.tools.run import loops_of, run_calls

__all__ = ["Callables", "acall_tools", "call_tools", "callable_tools"]

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
    return (await settle(_start(thunk, known))).parsed


call_tools = blocking(acall_tools)


def callable_tools(given: Callables) -> tuple[Tool[..., Any], ...]:
    """Tools and functions as tools.

    Raises:
        InvalidInputError: Something cannot be called, or two tools have one name.
    """
    found = offered(given)
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
        await thunk.view().settled()
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
        dependencies=[thunk.view()],
        parse=lambda _: list(messages),
    )
