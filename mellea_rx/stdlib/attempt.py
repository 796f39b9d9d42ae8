"""One attempt: generated, judged while it streams and at its end, and told of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from mellea_rx.core.backend import Backend
from mellea_rx.core.chunk import Chunk
from mellea_rx.core.events import Retrying, Validated
from mellea_rx.core.fold import Fold
from mellea_rx.core.journal import EventLog
from mellea_rx.core.options import Options
from mellea_rx.core.request import Request
from mellea_rx.core.requirement import Requirement, UnitVerdict, ValidationResult
from mellea_rx.core.sampling import Attempt
from mellea_rx.errors import MelleaRxError
from mellea_rx.formatters.template import Sources
from mellea_rx.stdlib.answers import answer, answer_from_its_beginning
from mellea_rx.stdlib.refusals import require_answer
from mellea_rx.stdlib.requirements import StreamJudge, validate_all

__all__ = ["CallSetting", "RunningAttempt"]

Release = Callable[[str], None]
"""Hands text to readers."""


@dataclass(frozen=True, slots=True)
class CallSetting:
    """What all attempts of a call have in common.

    Attributes:
        backend: Whom to ask.
        request: What to ask.
        given: The call's options, without the backend's own.
        requirements: What an answer has to be.
        loop: The caller's event loop, for async functions.
        sources: What takes the place of templates, by their names.
        refusals_fail: Whether a refusal is an error, and not an answer to be judged.
    """

    backend: Backend
    request: Request
    given: Options
    requirements: tuple[Requirement, ...]
    loop: asyncio.AbstractEventLoop | None
    sources: Sources
    refusals_fail: bool = False


class RunningAttempt:
    """One attempt, while it runs. Lives on the engine.

    Args:
        setting: What it has in common with the call's other attempts.
        number: Which one it is, from 0.
        journal: Where it tells what happens.
        after: Text that it goes on from.
        release: Gets validated text as soon as it is; None where readers have to wait.
    """

    def __init__(
        self,
        setting: CallSetting,
        number: int,
        journal: EventLog,
        after: str,
        release: Release | None,
    ) -> None:
        self._setting = setting
        self._number = number
        self._journal = journal
        self._release = release
        self._fold = Fold()
        self._after = after
        self._size = len(after)
        self.spoke = False
        """Whether anything of the model's has come."""
        self._waiting = ""
        """What came and was not released yet."""
        self._judge = StreamJudge(
            setting.requirements,
            setting.loop,
            self._tell_unit,
            after=after,
            where=self._where,
        )
        if after:
            self._fold.add(Chunk(after))

    @property
    def _where(self) -> str:
        return f"attempt {self._number + 1}"

    async def run(self, backend: Backend, request: Request) -> Attempt:
        """Generate and validate.

        Raises:
            MelleaRxError: The generation, or a function of the user's, failed.
        """
        try:
            await self._generate(backend, request)
            said = self._fold.peek()
            if self._setting.refusals_fail:
                require_answer(said)
            decided = await self._decided(said, backend, request)
        except MelleaRxError as error:
            error.text = self._fold.peek().text
            raise
        if self._judge.failure is None:  # else it was told of with its unit
            for requirement, result in decided:
                told = (self._number, requirement.description, result.result, result.reason)
                self._journal.add(Validated(self._journal.now(), *told))
        return Attempt(said, decided, said.text[: self._good])

    async def _generate(self, backend: Backend, request: Request) -> None:
        """Have it answer, judged meanwhile; a unit that fails ends it at once."""
        judge = self._judge
        # What it goes on from is there already.
        ask = answer if self._after else answer_from_its_beginning
        answering = ask(backend, request, self, self._setting.sources)
        if not judge.has_work:
            await answering
            return
        writing = asyncio.ensure_future(answering)
        judging = asyncio.ensure_future(judge.run())
        try:
            await asyncio.wait({writing, judging}, return_when=asyncio.FIRST_COMPLETED)
            if not judging.done():
                await writing
                judge.flush()
            await judging
        finally:
            writing.cancel()
            judging.cancel()
            # The request has ended on the server when its task has.
            await asyncio.gather(writing, judging, return_exceptions=True)

    @property
    def text(self) -> str:
        """The text so far."""
        return self._fold.peek().text

    def push(self, chunk: Chunk) -> None:
        """One more chunk of the answer."""
        self.spoke = self.spoke or bool(chunk)
        self._fold.add(chunk)
        self._journal.chunk(self._number, chunk)
        if chunk.text:
            self._size += len(chunk.text)
            self._judge.feed(chunk.text)
            if self._release is not None:
                self._waiting += chunk.text
                self._go_out()

    def retrying(self, error: MelleaRxError, pause: float, *, restarts: bool) -> None:
        """The answer will be asked for again."""
        told = (self._number, str(error), pause, restarts)
        self._journal.add(Retrying(self._journal.now(), *told))

    def restart(self, error: MelleaRxError) -> bool:
        """Take back what came; not where units of it were judged, or went out to readers."""
        if self._judge.has_work or self._release is not None:
            return False
        self._fold = Fold()
        self._size = len(self._after)
        self.spoke = False
        if self._after:
            self._fold.add(Chunk(self._after))
        return True

    @property
    def _good(self) -> int:
        """So many characters are validated."""
        return self._judge.good if self._setting.requirements else self._size

    def _go_out(self) -> None:
        """Release what is validated and waits."""
        known = len(self._waiting) - (self._size - self._good)
        if self._release is not None and known > 0:
            text, self._waiting = self._waiting[:known], self._waiting[known:]
            self._release(text)

    def _tell_unit(self, requirement: Requirement, verdict: UnitVerdict, unit: str) -> None:
        told = (self._number, requirement.description, verdict.result, verdict.reason, unit)
        self._journal.add(Validated(self._journal.now(), *told))
        self._go_out()

    async def _decided(
        self, said: Chunk, backend: Backend, request: Request
    ) -> tuple[tuple[Requirement, ValidationResult], ...]:
        failure = self._judge.failure
        if failure is not None:
            return (failure,)
        if said.tool_calls:  # what asks for tools is no answer yet
            return ()
        requirements, met = self._setting.requirements, self._judge.met
        results = await validate_all(
            [each for each in requirements if each not in met],
            said.text,
            backend=backend,
            options=request.options,
            loop=self._setting.loop,
            where=self._where,
            sources=self._setting.sources,
        )
        rest = iter(results)
        return tuple(
            (each, ValidationResult(True) if each in met else next(rest)) for each in requirements
        )
