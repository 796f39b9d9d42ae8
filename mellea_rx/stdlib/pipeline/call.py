"""One call, as a pipeline that runs on the engine; sessions start it.

render the prompt → resolve the backend → generate, with the strategy's attempts or once
    → check the format → pass the answer to readers
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

import msgspec

from mellea_rx.core.interfaces.backend import Backend, loops_of_backend
from mellea_rx.core.interfaces.component import Component
from mellea_rx.core.interfaces.sampling import SamplingStrategy, backends_of, callables_of
from mellea_rx.core.runtime.delivery import running_loop
from mellea_rx.core.runtime.logs import RequirementsUnmet, log
from mellea_rx.core.runtime.time_limit import unfinished, within
from mellea_rx.core.runtime.user_functions import call_user_function, loops_required_by
from mellea_rx.core.streams.generation import Generation
from mellea_rx.core.streams.generation_view import GenerationView
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.output import Origin, Output
from mellea_rx.core.types.output_format import OutputFormat
from mellea_rx.core.types.release import ACCEPTED, ReleasePolicy
from mellea_rx.core.types.request import Request
from mellea_rx.core.types.requirement import Requirement, ValidationResult
from mellea_rx.core.types.sampling_result import SamplingResult
from mellea_rx.errors import (
    BackendError,
    CallbackError,
    DependencyError,
    FormatError,
    MelleaRxError,
    NoAnswerError,
    RequirementsNotMetError,
)
from mellea_rx.stdlib.pipeline.attempt import AttemptSettings
from mellea_rx.stdlib.pipeline.call_log import log_call, log_prompt
from mellea_rx.stdlib.pipeline.generate import resolve
from mellea_rx.stdlib.pipeline.preconditions import PreconditionCheck
from mellea_rx.stdlib.pipeline.request_ledger import RequestLedger, ledger_of_call
from mellea_rx.stdlib.pipeline.retries import generate_with_retries
from mellea_rx.stdlib.pipeline.sampler import CallSampler
from mellea_rx.stdlib.pipeline.structured_output import (
    explain_schema_error,
    require_answer,
    with_format_instructions,
)
from mellea_rx.stdlib.pipeline.validation import validate_all
from mellea_rx.stdlib.prompts.prompt import Prompt
from mellea_rx.stdlib.prompts.renderer import Sources
from mellea_rx.stdlib.requirements.unit_judge import UnitJudge
from mellea_rx.wire.error_text import printable

T = TypeVar("T")


class CallPipeline(msgspec.Struct, frozen=True):
    """Everything that a generation needs.

    Attributes:
        backend: The session's backend; it may be deferred.
        prompt: The prompt.
        given: The options of call and session, without the backend's own.
        requirements: The requirements on the answer.
        strategy: Makes the attempts; None for one attempt, whose text streams to readers.
        require: Whether an answer that does not meet the requirements is an error.
        loop: The event loop that made the call; None for none.
        origin: The parser of the answer, its context and session, for validators.
        format: The format of the answer; None for plain text.
        policy: The time at which readers get text of an attempt, and its fate when it is rejected.
        preconditions: The check of the call's own arguments before it generates; None for none.
        ledger: Counts the requests and tokens; None to count none.
    """

    backend: Backend
    prompt: Prompt
    given: Options
    requirements: tuple[Requirement, ...]
    strategy: SamplingStrategy | None
    require: bool
    loop: asyncio.AbstractEventLoop | None
    origin: Origin = Origin()
    format: OutputFormat[Any] | None = None
    policy: ReleasePolicy = ACCEPTED
    preconditions: PreconditionCheck | None = None
    ledger: RequestLedger | None = None

    def run(self, generation: Generation) -> Awaitable[None]:
        """Generate. Runs on the engine."""
        log_call(generation, self.backend)
        # As few coroutines as possible: each one lives as long as the answer streams.
        limit = self.prompt.options.get(ModelOption.TOTAL_TIMEOUT)
        return self._run(generation) if limit is None else _in_time(limit, self._run(generation))

    async def _run(self, generation: Generation) -> None:
        ledger_of_call.set(self.ledger)
        request = await self.prompt.request()
        log_prompt(generation, request)
        backend, request = await resolve(self.backend, request)
        if self.preconditions is not None:
            await self.preconditions.require(
                origin=self.origin, backend=backend, options=request.options, loop=self.loop
            )
        if self.format is None:
            await self._generate(generation, backend, request)
            return
        request = with_format_instructions(request, self.format, self.prompt.sources)
        try:
            await self._generate(generation, backend, request)
            if self.strategy is None:
                await self._require_format(generation.answer())
        except BackendError as error:
            raise explain_schema_error(self.format, error) from error.__cause__

    def _generate(
        self, generation: Generation, backend: Backend, request: Request
    ) -> Awaitable[None]:
        if self.strategy is not None:
            return self._sample(self.strategy, generation, backend, request)
        generation.attempt_started(backend.name, request.prompt)
        return generate_with_retries(backend, request, generation, self.prompt.sources)

    async def _sample(
        self,
        strategy: SamplingStrategy,
        generation: Generation,
        backend: Backend,
        request: Request,
    ) -> None:
        setting = AttemptSettings(
            backend,
            request,
            self.given,
            self.requirements,
            self.loop,
            self.prompt.sources,
            self.origin,
            refusals_fail=self.require or self.format is not None,
        )
        sampler = CallSampler(generation, setting, self.policy)
        sampled = await strategy.sample(sampler)
        generation.sampling = sampled
        chosen = sampled.attempts[sampled.chosen]
        if chosen.error is not None:
            raise _why_failed(sampled, chosen.error)
        if self.require and not sampled.success:
            raise _not_met(sampled)
        if not sampled.success:
            log(RequirementsUnmet(generation.number, len(sampled.attempts)))
        await self._require_format(chosen.answer)
        sampler.complete(chosen)

    async def _require_format(self, answer: Chunk) -> None:
        if self.format is None or answer.tool_calls:  # an answer with tool calls is not final
            return
        require_answer(answer)
        name = self.format.name
        try:
            with unfinished(lambda: f"the code of format {name}"):
                await call_user_function(self.format.decode, answer.text, loop=self.loop)
        except FormatError:
            raise
        except Exception as error:
            raise CallbackError(
                f"the code of format {name} raised {type(error).__name__}: {error}",
                text=answer.text,
            ) from error

    @property
    def needs(self) -> tuple[asyncio.AbstractEventLoop, ...]:
        """The event loops that run the user's functions, or the backends' requests."""
        strategy, check = self.strategy, self.preconditions
        if strategy is None and check is None:  # most calls: no function, and no other backend
            return loops_of_backend(self.backend)
        own = () if strategy is None else callables_of(strategy)
        before = () if check is None else check.preconditions.requirements
        functions = (*_functions((*before, *self.requirements)), *own)
        judges = (each.unit_function for each in self.requirements)
        others = [each.backend for each in judges if isinstance(each, UnitJudge)]
        backends = [self.backend, *(each for each in others if each is not None)]
        backends += () if strategy is None else backends_of(strategy)
        required = loops_required_by(functions, self.loop)
        return (*required, *(loop for each in backends for loop in loops_of_backend(each)))


def _why_failed(sampled: SamplingResult, chosen: MelleaRxError) -> MelleaRxError:
    """The error of a call whose chosen attempt failed; where all attempts did, with all reasons."""
    errors = tuple(each.error for each in sampled.attempts if each.error is not None)
    if len(errors) < len(sampled.attempts) or len({str(error) for error in errors}) == 1:
        return chosen
    reasons = [f"attempt {n}: {type(each).__name__}: {each}" for n, each in enumerate(errors, 1)]
    if all(type(error) is type(chosen) for error in errors):
        others = [reason for reason, error in zip(reasons, errors, strict=True) if error != chosen]
        joined = chosen.with_hint("the others failed likewise:\n  " + "\n  ".join(others))
        joined.__cause__ = chosen.__cause__
        return joined
    listed = "\n  ".join(reasons)
    return NoAnswerError(
        f"each of the {len(errors)} attempts failed:\n  {listed}", errors=errors, text=chosen.text
    )


def _not_met(sampled: SamplingResult) -> RequirementsNotMetError:
    reasons = [
        f"attempt {number}: {reason}"
        for number, attempt in enumerate(sampled.attempts, 1)
        for reason in attempt.reasons
    ]
    # A reason may contain text of the model, and so control characters.
    listed = "\n  ".join(printable(line) for each in reasons for line in each.split("\n"))
    return RequirementsNotMetError(
        f"no answer met the requirements in {len(sampled.attempts)} attempts:\n  {listed}",
        text=sampled.attempts[sampled.chosen].text,
        reasons=tuple(reasons),
    )


def _in_time(limit: float, work: Awaitable[T]) -> Awaitable[T]:
    """The work of a whole call, limited by its `ModelOption.TOTAL_TIMEOUT`."""
    return within(limit, work, f"the call took longer than {limit:g} s (ModelOption.TOTAL_TIMEOUT)")


_TOLD_ONLY = ReleasePolicy("live", "marker")
"""With `require`, readers of such a call have to be told of retractions."""


def start_call(call: CallPipeline, action: Component[T]) -> ModelOutputThunk[T]:
    """Start a call, and return its thunk at once."""
    options = call.prompt.options
    return ModelOutputThunk(
        call.run,
        live=options.stream,
        needs=call.needs,
        dependencies=call.prompt.awaited,
        parse=call.origin.parse,
        description=action,
        tools=options.tools,
        needs_retractions=call.require and call.policy == _TOLD_ONLY,
    )


def start_validation(
    requirements: tuple[Requirement, ...],
    output: str | ModelOutputThunk[Any] | GenerationView,
    backend: Backend,
    given: Options,
    base: Options,
    sources: Sources,
    origin: Origin,
    ledger: RequestLedger | None = None,
) -> ModelOutputThunk[list[ValidationResult]]:
    """Start to validate an output; the thunk's `parsed` is the list of results.

    Args:
        requirements: The requirements.
        output: The output: text, a thunk or the view of one, or an `Output`, which stays as it is.
        backend: Judges where a requirement has no function.
        given: Model options for the judge itself.
        base: The session's model options.
        sources: The user's templates by name, which replace the library's own.
        origin: The context and session of the validation.
        ledger: Counts the requests and tokens; None to count none.
    """
    loop = running_loop()
    results: list[ValidationResult] = []
    options = given.over(base)

    async def validate() -> None:
        ledger_of_call.set(ledger)
        judged = await _output_of(output, origin)
        judge, request = backend, Request((), options)
        if any(each.answer_function is None for each in requirements):  # else no model judges
            judge, request = await resolve(judge, request)
        results.extend(
            await validate_all(
                requirements,
                judged,
                backend=judge,
                options=request.options,
                given=given,
                loop=loop,
                sources=sources,
            )
        )

    def run(generation: Generation) -> Awaitable[None]:
        log_call(generation, backend)
        limit = options.get(ModelOption.TOTAL_TIMEOUT)
        return validate() if limit is None else _in_time(limit, validate())

    return ModelOutputThunk(
        run,
        needs=(*loops_required_by(_functions(requirements), loop), *loops_of_backend(backend)),
        dependencies=() if isinstance(output, str) else [_view_of(output)],
        parse=lambda _: list(results),
        description="a validation",
    )


def _view_of(output: ModelOutputThunk[Any] | GenerationView) -> GenerationView:
    return output if isinstance(output, GenerationView) else output._view()


async def _output_of(
    output: str | ModelOutputThunk[Any] | GenerationView, origin: Origin
) -> Output:
    if isinstance(output, str):
        return output if isinstance(output, Output) else Output(output, origin=origin)
    view = _view_of(output)
    await view.settled()
    if view.error is not None:
        raise DependencyError(
            f"there is nothing to validate: the call failed: {view.error}", text=view.text
        ) from view.error
    # The thunk parses its own text, once, and has the object.
    parse = partial(_parsed_of, view)
    return Output(view.answer, origin=msgspec.structs.replace(origin, parse=parse))


def _parsed_of(view: GenerationView, _: str) -> Any:
    return view.generation.parsed


def _functions(requirements: Iterable[Requirement]) -> Iterator[Callable[..., Any]]:
    for each in requirements:
        yield from each.functions
