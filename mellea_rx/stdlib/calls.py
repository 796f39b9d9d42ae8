"""One call, as a pipeline: render, generate, validate, try again; none of it in the verb."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from typing import Any, TypeVar

from mellea_rx.core.backend import Backend
from mellea_rx.core.component import Component
from mellea_rx.core.fold import Fold
from mellea_rx.core.generation import Generation
from mellea_rx.core.options import Options
from mellea_rx.core.outlet import running_loop
from mellea_rx.core.output import OutputView
from mellea_rx.core.request import Request
from mellea_rx.core.requirement import Requirement, ValidationResult
from mellea_rx.core.sampling import Attempt, SamplingStrategy
from mellea_rx.core.thunk import ModelOutputThunk
from mellea_rx.errors import DependencyError, MelleaRxError
from mellea_rx.formatters.chat import Prompt
from mellea_rx.stdlib.answers import answer
from mellea_rx.stdlib.requirements import validate_all

__all__ = ["Call", "start_call", "start_validation"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """Everything that a generation needs.

    Attributes:
        backend: Who generates.
        prompt: What is asked.
        requirements: What the answer has to be.
        strategy: How often to try; None where there are no requirements.
        loop: The event loop that made the call, if one did.
    """

    backend: Backend
    prompt: Prompt
    requirements: tuple[Requirement, ...]
    strategy: SamplingStrategy | None
    loop: asyncio.AbstractEventLoop | None

    async def run(self, generation: Generation) -> None:
        """Generate. Runs on the engine."""
        request = await self.prompt.request()
        if self.strategy is None or not self.requirements:
            generation.open(self.backend.name, request.messages[-1].content)
            await answer(self.backend, request, generation.push)
            return
        sampled = await self.strategy.sample(_CallSampler(self, request))
        generation.sampling = sampled
        generation.push(sampled.attempts[sampled.chosen].answer)

    @property
    def needs(self) -> tuple[asyncio.AbstractEventLoop, ...]:
        """The event loops that have to run for this call to go on."""
        return tuple({*self.prompt.needs, *_loops(self.requirements, self.loop)})


@dataclass(frozen=True, slots=True)
class _CallSampler:
    call: Call
    request: Request

    async def attempt(self) -> Attempt:
        call = self.call
        fold = Fold()
        try:
            await answer(call.backend, self.request, fold.add)
        except MelleaRxError as error:
            error.text = error.text or fold.peek().text
            raise
        said = fold.peek()
        results = await validate_all(
            call.requirements,
            said.text,
            backend=call.backend,
            options=self.request.options,
            loop=call.loop,
        )
        return Attempt(said, tuple(zip(call.requirements, results, strict=True)))


def start_call(call: Call, action: Component[T]) -> ModelOutputThunk[T]:
    """Start a call; returns its thunk at once."""
    return ModelOutputThunk(
        call.run, live=call.prompt.options.stream, needs=call.needs, parse=action.parse
    )


def start_validation(
    requirements: tuple[Requirement, ...],
    output: str | ModelOutputThunk[Any] | OutputView,
    backend: Backend,
    options: Options,
) -> ModelOutputThunk[list[ValidationResult]]:
    """Start to decide requirements; `parsed` of the thunk is the list of results."""
    loop = running_loop()
    results: list[ValidationResult] = []

    async def run(generation: Generation) -> None:
        text = output if isinstance(output, str) else await _text_of(output)
        results.extend(
            await validate_all(requirements, text, backend=backend, options=options, loop=loop)
        )

    needs = set(_loops(requirements, loop))
    if not isinstance(output, str):
        needs.update(output.needs)
    return ModelOutputThunk(run, needs=tuple(needs), parse=lambda _: list(results))


async def _text_of(output: ModelOutputThunk[Any] | OutputView) -> str:
    view = output.view() if isinstance(output, ModelOutputThunk) else output
    await view.settled()
    if view.error is not None:
        raise DependencyError(
            f"there is nothing to validate: the call failed: {view.error}", text=view.text
        ) from view.error
    return view.text


def _loops(
    requirements: tuple[Requirement, ...], loop: asyncio.AbstractEventLoop | None
) -> tuple[asyncio.AbstractEventLoop, ...]:
    """The caller's loop, where a validation function is async and so has to run on it."""
    if loop is not None and any(
        inspect.iscoroutinefunction(each.validation_fn) for each in requirements
    ):
        return (loop,)
    return ()
