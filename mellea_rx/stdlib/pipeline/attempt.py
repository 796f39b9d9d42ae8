"""One attempt of a call: generates, validates and records events. `CallSampler` makes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from mellea_rx.core.interfaces.backend import Backend
from mellea_rx.core.streams.buffers import ChunkAccumulator
from mellea_rx.core.streams.event_log import EventLog
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.events import Retrying, Validated
from mellea_rx.core.types.options import Options
from mellea_rx.core.types.output import Origin, Output
from mellea_rx.core.types.request import Request
from mellea_rx.core.types.requirement import Requirement, UnitVerdict, ValidationResult
from mellea_rx.core.types.sampling_result import Attempt
from mellea_rx.errors import MelleaRxError
from mellea_rx.stdlib.pipeline.retries import generate_with_retries
from mellea_rx.stdlib.pipeline.stream_validation import StreamJudge
from mellea_rx.stdlib.pipeline.structured_output import require_answer
from mellea_rx.stdlib.pipeline.validation import validate_all
from mellea_rx.stdlib.prompts.renderer import Sources

Release = Callable[[str], None]
"""Passes text to readers."""


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
    """

    backend: Backend
    request: Request
    given: Options
    requirements: tuple[Requirement, ...]
    loop: asyncio.AbstractEventLoop | None
    sources: Sources
    origin: Origin
    refusals_fail: bool = False


def _unrecorded(requirement: Requirement, verdict: UnitVerdict, unit: str) -> None:
    """Record nothing: the attempt has ended."""


class RunningAttempt:
    """One running attempt. Used on the engine only; it is the sink of its generation.

    Args:
        setting: The settings of the call's attempts.
        number: Its number, from 0.
        event_log: The record of the call's events.
        after: Text that it goes on from.
        release: Takes text as soon as it is validated; None where readers wait for the end.
    """

    def __init__(
        self,
        setting: AttemptSettings,
        number: int,
        event_log: EventLog,
        after: str,
        release: Release | None,
    ) -> None:
        self._setting = setting
        self._number = number
        self._event_log = event_log
        self._release = release
        self._fold = ChunkAccumulator()
        self._after = after
        self._size = len(after)
        self.has_content = False
        """Whether the model has generated anything."""
        self._waiting = ""
        """Text that was not released yet."""
        self._judge = StreamJudge(
            setting.requirements,
            setting.loop,
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

        Raises:
            MelleaRxError: The generation, or a function of the user's, failed.
        """
        try:
            return await self._run(backend, request)
        finally:
            # The judge refers to this attempt: the two, with the call's context, would stay alive
            # until the garbage collector runs. Chunks that a backend pushes late go to the other.
            self._judge = StreamJudge((), None, _unrecorded)

    async def _run(self, backend: Backend, request: Request) -> Attempt:
        try:
            await self._generate(backend, request)
            answer = self._fold.snapshot()
            if self._setting.refusals_fail:
                require_answer(answer)
            decided = await self._decided(answer, backend, request)
        except MelleaRxError as error:
            error.text = self._fold.snapshot().text
            raise
        if self._judge.failure is None:  # else it was recorded with its unit
            for requirement, result in decided:
                found = (self._number, requirement.description, result.result, result.reason)
                self._event_log.add(Validated(self._event_log.now(), *found))
        kept = answer.text[: self._good]
        return Attempt(answer, decided, kept, number=self._number + 1)

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
            await asyncio.wait({writing, judging}, return_when=asyncio.FIRST_COMPLETED)
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
        self._fold.add(chunk)
        self._event_log.chunk(self._number, chunk)
        if chunk.text:
            self._size += len(chunk.text)
            self._judge.feed(chunk.text)
            if self._release is not None:
                self._waiting += chunk.text
                self._release_validated()

    def retrying(self, error: MelleaRxError, pause: float, *, restarts: bool) -> None:
        """Record that another try follows."""
        event = Retrying(self._event_log.now(), self._number, str(error), pause, restarts)
        self._event_log.add(event)

    def restart(self, error: MelleaRxError) -> bool:
        """Discard the text so far; impossible where units were judged, or released to readers."""
        if self._judge.has_work or self._release is not None:
            return False
        self._fold = ChunkAccumulator()
        self._size = len(self._after)
        self.has_content = False
        if self._after:
            self._fold.add(Chunk(self._after))
        return True

    @property
    def _good(self) -> int:
        """The number of characters that are validated."""
        return self._judge.good if self._setting.requirements else self._size

    def _release_validated(self) -> None:
        """Release text that is validated."""
        known = len(self._waiting) - (self._size - self._good)
        if self._release is not None and known > 0:
            text, self._waiting = self._waiting[:known], self._waiting[known:]
            self._release(text)

    def _record_unit(self, requirement: Requirement, verdict: UnitVerdict, unit: str) -> None:
        found = (self._number, requirement.description, verdict.result, verdict.reason, unit)
        self._event_log.add(Validated(self._event_log.now(), *found))
        self._release_validated()

    async def _decided(
        self, answer: Chunk, backend: Backend, request: Request
    ) -> tuple[tuple[Requirement, ValidationResult], ...]:
        failure = self._judge.failure
        if failure is not None:
            return (failure,)
        requirements = [each for each in self._setting.requirements if each.applies_to(answer)]
        # By identity: equal requirements have a lane each, and a comparison may be a user's code.
        met = set(map(id, self._judge.met))
        results = await validate_all(
            [each for each in requirements if id(each) not in met],
            Output(answer, origin=self._setting.origin, attempt=self._number + 1),
            backend=backend,
            options=request.options,
            loop=self._setting.loop,
            where=self._where,
            sources=self._setting.sources,
        )
        rest = iter(results)
        return tuple(
            (each, ValidationResult(True) if id(each) in met else next(rest))
            for each in requirements
        )
