"""What a sampling strategy is, what it works with, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from mellea_rx.core.backend import Backend
from mellea_rx.core.chunk import Chunk, Usage
from mellea_rx.core.component import Template
from mellea_rx.core.journal import Journal
from mellea_rx.core.request import Request
from mellea_rx.core.requirement import Requirement, ValidationResult

__all__ = ["Attempt", "Sampler", "SamplingResult", "SamplingStrategy"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One generation and what its validations found.

    Attributes:
        answer: What the model said, as one chunk.
        validations: Each requirement that was decided, and its result, in order.
        kept: The beginning of the text whose units were all validated while it streamed.
        score: How good a strategy found it, where it measures that.

    Its truth is its `success`.
    """

    answer: Chunk
    validations: tuple[tuple[Requirement, ValidationResult], ...]
    kept: str = ""
    score: float | None = None

    @property
    def text(self) -> str:
        """What the model said."""
        return self.answer.text

    @property
    def usage(self) -> Usage | None:
        """What it cost, in tokens."""
        return self.answer.usage

    @property
    def success(self) -> bool:
        """Whether every requirement is met."""
        return all(result for _, result in self.validations)

    @property
    def passed(self) -> int:
        """How many requirements are met."""
        return sum(bool(result) for _, result in self.validations)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was rejected: a reason for each requirement that is not met."""
        return tuple(
            f"{each.description}: {result.reason}" if result.reason else each.description
            for each, result in self.validations
            if not result
        )

    def __bool__(self) -> bool:
        return self.success


@dataclass(frozen=True, slots=True)
class SamplingResult:
    """What a strategy did: every attempt, and the one that became the value.

    Attributes:
        success: Whether the value meets every requirement.
        attempts: All of them, in order.
        chosen: The index of the attempt that became the value.

    Its truth is its `success`: `if thunk.sampling:` asks whether the value is accepted.
    """

    success: bool
    attempts: tuple[Attempt, ...]
    chosen: int

    def __bool__(self) -> bool:
        return self.success


class Sampler(Protocol):
    """What a strategy works with; one per call.

    Attributes:
        request: What the call asks.
        journal: Where what happens is told; attempts tell of themselves.
    """

    @property
    def request(self) -> Request: ...

    @property
    def journal(self) -> Journal: ...

    async def backend(self) -> Backend:
        """Whom the call asks, once that is decided."""
        ...

    async def attempt(
        self,
        request: Request | None = None,
        *,
        backend: Backend | None = None,
        after: str = "",
        release: bool = False,
    ) -> Attempt:
        """Generate once and validate.

        Attempts are counted, and `ModelOption.SEED` grows with them, so that none repeats another.
        Being cancelled ends the request on the server.

        Args:
            request: What to ask; the call's own by default.
            backend: Whom to ask; the call's own by default.
            after: Text that the answer goes on from: the `kept` of an attempt before.
            release: Readers get units as soon as they are validated. Only where the value will
                begin with them, whatever becomes of this attempt.

        Raises:
            InvalidInputError: `after`, and the backend cannot go on from a text.
            MelleaRxError: The generation, or a function of the user's, failed.
        """
        ...

    def render(self, template: Template) -> str:
        """The text of a template whose values are all there; the user's own, where they have one.

        Raises:
            TemplateError: It cannot be rendered.
        """
        ...

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the user's: a sync one in a thread, an async one on their loop."""
        ...

    def stands_for(self, value: Any) -> None:
        """Say what the value's text stands for, where that is known: `thunk.parsed`."""
        ...


class SamplingStrategy(Protocol):
    """Decides how often to try, and which attempt becomes the value.

    Two attributes are asked for where a strategy has them: `always` (True: it samples also where a
    call has no requirements; else such a call's one attempt goes out as it comes) and `callables`
    (functions of the user's that it calls).
    """

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make attempts until it is content. On the engine; readers see only the chosen one."""
        ...
