"""One attempt of a call: generates, validates and records events. `CallSampler` makes it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial

from mellea_rx.core.interfaces.backend import Backend
from mellea_rx.core.runtime.first_done import first_done
from mellea_rx.core.streams.buffers import ChunkAccumulator
from mellea_rx.core.streams.event_log import EventLog
from mellea_rx.core.text.waiting_text import WaitingText
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.events import Retrying, Validated
from mellea_rx.core.types.options import Options
from mellea_rx.core.types.output import Origin, Output
from mellea_rx.core.types.release import Release
from mellea_rx.core.types.request import Request
from mellea_rx.core.types.requirement import (
    Requirement,
    StreamValidation,
    UnitVerdict,
    ValidationResult,
)
from mellea_rx.core.types.sampling_result import Attempt
from mellea_rx.core.types.stream_context import StreamContext, Units
from mellea_rx.errors import MelleaRxError
from mellea_rx.stdlib.pipeline.release import ReleasedText
from mellea_rx.stdlib.pipeline.retries import generate_with_retries
from mellea_rx.stdlib.pipeline.stream_validation import StreamJudge
from mellea_rx.stdlib.pipeline.structured_output import require_answer
from mellea_rx.stdlib.pipeline.unit_deciders import FunctionDecider, JudgeDecider, UnitDecider
from mellea_rx.stdlib.pipeline.usage_tally import UsageTally
from mellea_rx.stdlib.pipeline.validation import Judge, ask_judge, validate_all
from mellea_rx.stdlib.prompts.renderer import Sources
from mellea_rx.stdlib.requirements.unit_judge import UnitJudge


@dataclass(frozen=True, slots=True)
class AttemptSettings:
    """The settings that all attempts of a call share.

    Attributes:
        backend: The call's backend, resolved.
        request: The call's request.
        given: The call's options, without the backend's own.
        requirements: The requirements on an answer.
        loop: The caller's event loop, for async functions.
        sources: The user's templates by name, which replace the library's own.
        origin: The parser of the answers, their context and session, for validators.
        refusals_fail: Whether a refusal is an error, and not an answer to be judged.
        tally: Counts the tokens of all attempts and judges.
    """

    backend: Backend
    request: Request
    given: Options
    requirements: tuple[Requirement, ...]
    loop: asyncio.AbstractEventLoop | None
    sources: Sources
    origin: Origin
    refusals_fail: bool = False
    tally: UsageTally = field(default_factory=UsageTally)


class RunningAttempt:
    """One running attempt. Used on the engine only; it is the sink of its generation.

    Args:
        setting: The settings of the call's attempts.
        judge: The model that decides requirements without a function.
        number: Its number, from 0.
        event_log: The record of the call's events.
        after: Text that it goes on from.
        release: The time at which readers get its text.
        readers: Takes that text.
    """

    def __init__(
        self,
        setting: AttemptSettings,
        judge: Judge,
        number: int,
        event_log: EventLog,
        after: str,
        release: Release,
        readers: ReleasedText,
    ) -> None:
        self._setting = setting
        self._model_judge = judge
        self._number = number
        self._event_log = event_log
        self._release = release
        self._readers = readers
        self._fold = ChunkAccumulator()
        self._after = after
        self._size = len(after)
        self._released = len(after)
        self._began_at = asyncio.get_running_loop().time()
        self._has_calls = False
        self.has_content = False
        """Whether the model has generated anything."""
        self._waiting = WaitingText()
        """Text that was not released yet."""
        self._judge = StreamJudge(
            setting.requirements,
            self._decider,
            self._record_unit,
            after=after,
            where=self._where,
        )
        if after:
            self._fold.add(Chunk(after))

    @property
    def _where(self) -> str:
        return f"attempt {self._number + 1}"

    async def run(self, backend: Backend, request: Request) -> Attempt:
        """Generate and validate; once.

        Args:
            backend: The resolved backend that generates.
            request: The request.

        Raises:
            MelleaRxError: The generation, or a function of the user's, failed.
        """
        try:
            return await self._run(backend, request)
        finally:
            # The judge refers to this attempt: the two, with the call's context, would stay alive
            # until the garbage collector runs.
            self._judge.forget()
            # A chunk that a backend pushes late is not judged, and so not for readers.
            self._release = "accepted"

    async def _run(self, backend: Backend, request: Request) -> Attempt:
        try:
            await self._generate(backend, request)
        finally:
            answer = self._fold.snapshot()
            self._setting.tally.add(answer.usage)
        if self._setting.refusals_fail:
            require_answer(answer)
        decided = await self._decided(answer)
        if self._judge.failure is None:  # else it was recorded with its unit
            for requirement, result in decided:
                found = (self._number, requirement.description, result.result, result.reason)
                event = Validated(self._event_log.now(), *found, score=result.score)
                self._event_log.add(event)
        attempt = Attempt(answer, decided, number=self._number + 1)
        return replace(attempt, kept=answer.text[: self._kept(attempt.success)])

    async def _generate(self, backend: Backend, request: Request) -> None:
        """Generate, and judge units meanwhile; a unit that fails ends the generation at once."""
        judge = self._judge
        answering = generate_with_retries(backend, request, self, self._setting.sources)
        if not judge.has_work:
            await answering
            return
        writing = asyncio.ensure_future(answering)
        judging = asyncio.ensure_future(judge.run())
        try:
            await first_done(writing, judging)
            if not judging.done():
                await writing  # raises the generation's error
                # Only after the last chunk: `flush` ends each lane's queue of units.
                judge.flush()
            await judging
        finally:
            writing.cancel()
            judging.cancel()
            # Only when the task has ended is the request ended on the server too.
            await asyncio.gather(writing, judging, return_exceptions=True)

    @property
    def text(self) -> str:
        """The text so far."""
        return self._fold.snapshot().text

    def push(self, chunk: Chunk) -> None:
        """Take a chunk of the answer."""
        self.has_content = self.has_content or bool(chunk)
        self._has_calls = self._has_calls or bool(chunk.tool_calls)
        self._fold.add(chunk)
        self._event_log.chunk(self._number, chunk)
        if self._release == "live" and (chunk.text or chunk.thinking):
            self._readers.add(Chunk(chunk.text, chunk.thinking))
            self._released += len(chunk.text)
        if chunk.text:
            self._size += len(chunk.text)
            self._judge.feed(chunk.text)
            if self._release == "validated":
                self._waiting.add(chunk.text)
                if not self._judge.has_work:  # else each verdict releases text
                    self._release_validated()

    def retrying(self, error: MelleaRxError, pause: float, *, restarts: bool) -> None:
        """Record that another try follows."""
        event = Retrying(self._event_log.now(), self._number, str(error), pause, restarts)
        self._event_log.add(event)

    def restart(self, error: MelleaRxError) -> bool:
        """Discard the text so far; impossible where units were judged, or released to readers."""
        if self._judge.has_work or self._release != "accepted":
            return False
        self._fold = ChunkAccumulator()
        self._size = len(self._after)
        self.has_content = False
        if self._after:
            self._fold.add(Chunk(self._after))
        return True

    def _kept(self, is_accepted: bool) -> int:
        """The number of characters that the next attempt may go on from."""
        if is_accepted:
            return self._size
        if self._judge.failure is not None:
            return self._judge.unobjected(self._size)
        # Rejected as a whole, and no unit is to blame: readers may keep what they have got.
        is_early = self._release != "accepted"
        return max(self._judge.good, self._released if is_early else 0)

    def _release_validated(self) -> None:
        """Release text that no streaming validation rejected."""
        if self._release == "validated":
            known = self._judge.unobjected(self._size) - self._released
            if known > 0:
                self._released += known
                self._readers.add(Chunk(self._waiting.take(known)))

    def _decider(self, requirement: Requirement, function: StreamValidation) -> UnitDecider:
        setting = self._setting
        if isinstance(function, UnitJudge):
            ask = partial(ask_judge, sources=setting.sources, tally=setting.tally)
            judge = self._model_judge
            return JudgeDecider(requirement, function, judge, setting.given, setting.sources, ask)
        return FunctionDecider(function, setting.loop, self._so_far)

    def _so_far(self, units: Units) -> StreamContext:
        seconds = asyncio.get_running_loop().time() - self._began_at
        calls = self._fold.snapshot().tool_calls if self._has_calls else ()
        return StreamContext(units, self._number + 1, calls, seconds)

    def _record_unit(self, requirement: Requirement, verdict: UnitVerdict, unit: str) -> None:
        log = self._event_log
        event = Validated(
            log.now(),
            self._number,
            requirement.description,
            verdict.result,
            verdict.reason,
            unit,
            verdict.score,
        )
        log.add(event)
        self._release_validated()

    async def _decided(self, answer: Chunk) -> tuple[tuple[Requirement, ValidationResult], ...]:
        failure = self._judge.failure
        if failure is not None:
            return (failure,)
        requirements = [each for each in self._setting.requirements if each.applies_to(answer)]
        met = self._judge.met
        results = await validate_all(
            [each for each in requirements if id(each) not in met],
            Output(answer, origin=self._setting.origin, attempt=self._number + 1),
            backend=self._model_judge.backend,
            options=self._model_judge.options,
            loop=self._setting.loop,
            where=self._where,
            sources=self._setting.sources,
            tally=self._setting.tally,
        )
        rest = iter(results)
        return tuple((each, met.get(id(each)) or next(rest)) for each in requirements)
