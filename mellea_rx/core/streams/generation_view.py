"""`GenerationView`: looks at a generation without keeping it running. Contexts have one a turn."""

from __future__ import annotations

from mellea_rx.core.streams.generation import Generation
from mellea_rx.core.streams.subscriptions import CompletionWaiter
from mellea_rx.core.types.chunk import Chunk, ToolCall
from mellea_rx.errors import MelleaRxError


class GenerationView:
    """Reads a generation without keeping it running."""

    __slots__ = ("_generation",)

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    @classmethod
    def of(cls, answer: Chunk) -> GenerationView:
        """A view of a complete answer."""
        generation = Generation()
        generation.push(answer)
        generation.end(None)
        return cls(generation)

    @property
    def answer(self) -> Chunk:
        """The answer so far, as one chunk."""
        return self._generation.answer()

    @property
    def text(self) -> str:
        """The text so far."""
        return self._generation.answer().text

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls that the model asked for so far."""
        return self._generation.answer().tool_calls

    @property
    def is_running(self) -> bool:
        """Whether the generation goes on."""
        return not self._generation.has_ended

    @property
    def is_complete(self) -> bool:
        """Whether it ended without an error."""
        return self._generation.has_ended and self._generation.error is None

    @property
    def error(self) -> MelleaRxError | None:
        """Why it failed, if it did."""
        error = self._generation.error
        if error is not None:
            self._generation.error_observed = True
        return error

    @property
    def generation(self) -> Generation:
        """The generation."""
        return self._generation

    async def work_ended(self) -> None:
        """Wait until its pipeline has ended. On the engine."""
        await self._generation.work_ended()

    async def settled(self) -> None:
        """Wait for the end, with or without an error."""
        await CompletionWaiter(self._generation).wait()
