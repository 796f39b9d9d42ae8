"""`react`: the model calls tools, step by step, until it answers. For users."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Unpack

from mellea_rx.core.interfaces.backend import capabilities_of
from mellea_rx.core.interfaces.sampling import BaseStrategy, Sampler
from mellea_rx.core.runtime.delivery import running_loop
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.events import ToolReturned
from mellea_rx.core.types.options import ModelOption
from mellea_rx.core.types.request import RequestMessage
from mellea_rx.core.types.sampling_result import Attempt, SamplingResult
from mellea_rx.core.types.tool import Tool, ToolResult, merged_tools, offer_of
from mellea_rx.core.types.validation import require_positive_int
from mellea_rx.errors import InvalidInputError, LoopBudgetError
from mellea_rx.helpers.sync_verbs import blocking_thunk
from mellea_rx.stdlib.components import Instruction
from mellea_rx.stdlib.session.call_options import (
    CallOptions,
    ModelOptions,
    ReactKwargs,
    with_keywords,
)
from mellea_rx.stdlib.session.verbs import Verbs
from mellea_rx.stdlib.tools.tool_calls import Callables, callable_tools, run_calls

__all__ = ["ReactStep", "areact", "react"]


@dataclass(frozen=True, slots=True)
class ReactStep:
    """One step: the model's tool calls, and their results.

    Attributes:
        answer: The model's answer: its thought, and its tool calls.
        results: The result of each call, in order.
    """

    answer: Chunk
    results: tuple[ToolResult, ...]


async def areact(
    session: Verbs,
    goal: str,
    tools: Callables = (),
    *,
    loop_budget: int = 10,
    user_variables: Mapping[str, Any] | None = None,
    model_options: ModelOptions | None = None,
    **more: Unpack[ReactKwargs],
) -> ModelOutputThunk[str]:
    """Have the model reach a goal with tools; the a-function returns the running thunk at once.

    The model asks for tool calls, they are run, and it gets the results in the next step. Its
    first answer without a call is the value::

        model:   --call--   --call call--   --answer--|
        tools:         --result       --results
        thunk:   ------------------------------answer--|

    The error of a call (no such tool, arguments that do not fit, a function that raised) is its
    result for the model, and counts as a step. `thunk.events` has every step: `ToolCalled`,
    `ToolReturned` and the model's text, with the number of the step as `attempt`.

    Args:
        session: The session; in a chat, the goal and the answer become a turn.
        goal: The goal. With `user_variables` it is a Jinja template, else plain text.
        tools: The tools that the model may call, beside the session's: tools or typed functions,
            sync or async. Of two tools with one name, these win.
        loop_budget: The maximum number of answers of the model.
        user_variables: Values for the goal, by name; thunks are waited for.
        model_options: By `ModelOption`, or by a name of the server's own.
        more: Model options as keywords (`temperature=0`); see `ModelKwargs`.

    Returns:
        The thunk of the final answer; from `react` it is computed. Its `sampling` has the answer
        of each step, with its usage, as an attempt.

    Raises:
        InvalidInputError: An argument that cannot be used, by name.
        LoopBudgetError: (when read) The budget is spent; `steps` has all steps.
        MelleaRxError: (when read) A generation failed.

    Example:
        >>> from mellea_rx import Chunk, MelleaSession, ScriptedBackend, ToolCall
        >>> def area(width: float, height: float) -> float:
        ...     '''The area of a rectangle.'''
        ...     return width * height
        >>> asks = [Chunk(tool_calls=(ToolCall("area", {"width": 3, "height": 4}),))]
        >>> m = MelleaSession(ScriptedBackend(asks, "Twelve."))
        >>> react(m, "How large is a room of 3 by 4?", [area]).value
        'Twelve.'
    """
    if not isinstance(session, Verbs):
        raise InvalidInputError(f"react takes a session first, not {type(session).__name__}")
    model_options = with_keywords(areact, model_options, more)
    options = session._options(model_options)
    _, known = merged_tools(((), options.tools), offer_of(callable_tools(tools)))
    if not known:
        raise InvalidInputError("react needs tools: without any, use instruct")
    require_positive_int("loop_budget", loop_budget)
    if options.get(ModelOption.TOOL_CHOICE, "auto") != "auto":
        raise InvalidInputError(
            f"react leaves the choice to the model: {ModelOption.TOOL_CHOICE} can only be 'auto'"
        )
    spec = CallOptions(
        strategy=_ReAct(known, loop_budget, running_loop()),
        model_options=model_options,
        tools=known,
    )
    return session._start(Instruction(goal, user_variables=user_variables), spec)


react = blocking_thunk(areact)


@dataclass(frozen=True, slots=True)
class _ReAct(BaseStrategy):
    """The loop as a strategy: each attempt is a step, and the last one is the value."""

    tools: tuple[Tool[..., Any], ...]
    loop_budget: int
    loop: asyncio.AbstractEventLoop | None

    always = True

    @property
    def callables(self) -> tuple[Callable[..., Any], ...]:
        return tuple(tool.function for tool in self.tools)

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make steps until the model answers without a call."""
        # With prompted tools an answer is either text or a call, so its text can be released live.
        # A server's answer may have text and calls, and only its end tells.
        is_choice = not capabilities_of(await sampler.backend()).tools
        request = sampler.request
        attempts: list[Attempt] = []
        steps: list[ReactStep] = []
        for index in range(self.loop_budget):
            attempts.append(await sampler.attempt(request, release=is_choice))
            answer = attempts[-1].answer
            if not answer.tool_calls:
                return SamplingResult(True, tuple(attempts), index)
            results = await run_calls(answer, self.tools, self.loop)
            at = sampler.event_log.now()
            for each in results:
                sampler.event_log.add(_event(index, at, each))
            steps.append(ReactStep(answer, tuple(results)))
            request = replace(request, messages=(*request.messages, *_exchange(steps[-1])))
        raise LoopBudgetError(
            f"the model called tools in all {self.loop_budget} steps, and never answered: "
            "give react a larger loop_budget=, or tools that say more",
            steps=tuple(steps),
        )


def _event(step: int, at: float, result: ToolResult) -> ToolReturned:
    return ToolReturned(at, step, result.call.name, result.content, result.call.id)


def _exchange(step: ReactStep) -> Iterator[RequestMessage]:
    """The messages of a step, for the request of the next one."""
    yield RequestMessage("assistant", step.answer.text, tool_calls=step.answer.tool_calls)
    for each in step.results:
        call = each.call
        yield RequestMessage("tool", each.content, tool_name=call.name, tool_call_id=call.id)
