"""What a sampling strategy is, and what it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mellea_rx.core.chunk import Chunk, Usage
from mellea_rx.core.requirement import Requirement, ValidationResult

__all__ = ["Attempt", "Sampler", "SamplingResult", "SamplingStrategy"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One generation and what its validations found.

    Attributes:
        answer: What the model said, as one chunk.
        validations: Each requirement and its result, in order.
    """

    answer: Chunk
    validations: tuple[tuple[Requirement, ValidationResult], ...]

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


@dataclass(frozen=True, slots=True)
class SamplingResult:
    """What a strategy did: every attempt, and the one that became the value.

    Attributes:
        success: Whether the value meets every requirement.
        attempts: All of them, in order.
        chosen: The index of the attempt that became the value.
    """

    success: bool
    attempts: tuple[Attempt, ...]
    chosen: int


class Sampler(Protocol):
    """What a strategy works with; one per call."""

    async def attempt(self) -> Attempt:
        """Generate once and validate."""
        ...


class SamplingStrategy(Protocol):
    """Decides how often to try, and which attempt becomes the value."""

    async def sample(self, sampler: Sampler) -> SamplingResult:
        """Make attempts until it is content. On the engine; readers see only the chosen one."""
        ...
