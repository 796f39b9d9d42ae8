"""An object's methods as tools: the answer to a transform may be what one of them returned."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mellea_rx.core.chunk import Chunk, with_text
from mellea_rx.core.events import ToolReturned
from mellea_rx.core.sampling import Attempt, BaseStrategy, Sampler, SamplingResult
from mellea_rx.core.tool import Tool, ToolResult
from mellea_rx.errors import ToolCallError
from mellea_rx.formatters import template
from mellea_rx.stdlib.face import Mified, described, face_of
from mellea_rx.stdlib.tools.run import run_calls

__all__ = ["MethodCall", "methods_of"]


def methods_of(obj: object) -> tuple[Tool[..., Any], ...]:
    """The methods of an object that `mify` offers, as tools; none where it was not described.

    Raises:
        InvalidInputError: A method that can be no tool: a parameter has no type, say.
    """
    face = face_of(obj)
    if face is None:
        return ()
    inner = obj.obj if isinstance(obj, Mified) else obj
    return tuple(Tool.from_callable(getattr(inner, name)) for name in sorted(face.methods))


@dataclass(frozen=True, slots=True)
class MethodCall(BaseStrategy):
    """A strategy with one attempt: its value is text, or what a method returned that it called.

    Either comes in one piece: before the end nobody knows which of them it is.

    Attributes:
        methods: Of which one may be called.
        loop: The event loop that made the call, if one did.
    """

    methods: tuple[Tool[..., Any], ...]
    loop: asyncio.AbstractEventLoop | None

    always = True

    @property
    def callables(self) -> tuple[Callable[..., Any], ...]:
        """The methods themselves."""
        return tuple(tool.function for tool in self.methods)

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Generate, and call the method that the model asks for.

        Raises:
            ToolCallError: The model asked for what cannot be called, or for more than one call.
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
        journal = sampler.journal
        journal.add(ToolReturned(journal.now(), 0, result.call.name, text, result.call.id))
        if result.error is not None:
            raise result.error
        sampler.stands_for(result.value)
        return with_text(attempt.answer, text)


def _text_of(result: ToolResult) -> str:
    """A result as text: an object that `mify` described as it is shown, for models read it."""
    face = described(result.value)
    return result.content if face is None else template.render(face)
