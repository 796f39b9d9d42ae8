"""An object's methods as tools: the verb `transform` may return the result of one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mellea_rx.core.interfaces.sampling import BaseStrategy, Sampler
from mellea_rx.core.types.chunk import Chunk, with_text
from mellea_rx.core.types.events import ToolReturned
from mellea_rx.core.types.sampling_result import Attempt, SamplingResult
from mellea_rx.core.types.tool import Tool, ToolResult
from mellea_rx.errors import ToolCallError
from mellea_rx.stdlib.objects.description import Mified, description_of, own_description
from mellea_rx.stdlib.prompts import renderer as template
from mellea_rx.stdlib.tools.tool_calls import run_calls


def methods_of(obj: object) -> tuple[Tool[..., Any], ...]:
    """The methods of an object that `mify` offers, as tools; none without a description.

    Raises:
        InvalidInputError: A method cannot be a tool: a parameter has no type, for example.
    """
    description = description_of(obj)
    if description is None:
        return ()
    inner = obj.obj if isinstance(obj, Mified) else obj
    return tuple(Tool.from_callable(getattr(inner, name)) for name in sorted(description.methods))


@dataclass(frozen=True, slots=True)
class MethodCall(BaseStrategy):
    """A strategy of one attempt, whose value is text, or the result of a method that it calls.

    Readers get the value in one piece, since only the end of the answer tells which of both it is.

    Attributes:
        methods: The methods that the model may call.
        loop: The event loop that made the call; None for none.
    """

    methods: tuple[Tool[..., Any], ...]
    loop: asyncio.AbstractEventLoop | None

    always = True

    @property
    def callables(self) -> tuple[Callable[..., Any], ...]:
        """The methods themselves."""
        return tuple(tool.function for tool in self.methods)

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Generate, and call the method that the model chooses.

        Raises:
            ToolCallError: The model asked for a call that is not possible, or for several calls.
            ToolError: The method raised.
        """
        attempt = await sampler.attempt()
        if attempt.answer.tool_calls:
            attempt = replace(attempt, answer=await self._called(attempt, sampler))
        return SamplingResult(attempt.success, (attempt,), 0)

    async def _called(self, attempt: Attempt, sampler: Sampler) -> Chunk:
        calls = attempt.answer.tool_calls
        if len(calls) > 1:
            names = ", ".join(call.name for call in calls)
            raise ToolCallError(
                f"the model asked for {len(calls)} calls at once ({names}), and a transform has "
                "one result: none of them was run"
            )
        (result,) = await run_calls(attempt.answer, self.methods, self.loop)
        text = await sampler.call(_text_of, result)
        event_log = sampler.event_log
        event_log.add(ToolReturned(event_log.now(), 0, result.call.name, text, result.call.id))
        if result.error is not None:
            raise result.error
        sampler.set_parsed(result.value)
        return with_text(attempt.answer, text)


def _text_of(result: ToolResult) -> str:
    """A result as text; an object with a description as prompts show it, since models read it."""
    description = own_description(result.value)
    return result.content if description is None else template.render(description)
