"""`stream_judge`: the model judges an answer unit by unit, while the answer streams."""

from __future__ import annotations

from dataclasses import dataclass

from mellea_rx.core.interfaces.backend import Backend, require_backend
from mellea_rx.core.types.requirement import Requirement
from mellea_rx.core.types.unit import Unit
from mellea_rx.core.types.validation import require_positive_int
from mellea_rx.stdlib.requirements.factories import check, req


@dataclass(frozen=True, slots=True)
class UnitJudge:
    """Has a model decide each unit of an answer; for `Requirement.stream_validate`.

    Attributes:
        backend: The model that judges; None for the one that judges for the call.
        max_concurrent: The number of units that are judged at once.

    Raises:
        InvalidInputError: `backend` is no backend, or the number is below 1.
    """

    backend: Backend | None = None
    max_concurrent: int = 4

    def __post_init__(self) -> None:
        if self.backend is not None:
            require_backend(self.backend, "stream_judge(backend=...)")
        require_positive_int("max_concurrent", self.max_concurrent)

    def for_attempt(self) -> UnitJudge:
        """Itself: it has no state."""
        return self

    def __call__(self, unit: str) -> None:
        """Undecided: without a call's pipeline there is no model to ask."""


def stream_judge(
    description: str,
    *,
    backend: Backend | None = None,
    unit: Unit = "sentence",
    max_concurrent: int = 4,
    check_only: bool = False,
) -> Requirement:
    """A requirement that the model judges unit by unit, while the answer streams.

    Each unit is judged with the text before it. Several units are judged at once, and their
    verdicts are taken in order. The first unit that does not meet the requirement ends the answer;
    where all units meet it, the whole answer is not judged again::

        answer:    -1--2--3--4--|
        asked:     ---1--2--3--4
        verdicts:  ------1--3----4
        taken:     ------1--2-3--4

    Args:
        description: The requirement in words, on each unit.
        backend: The model that judges, such as a small and quick one; by default the one that
            judges for the call.
        unit: The kind of unit.
        max_concurrent: The number of units that are judged at once.
        check_only: Whether the description stays out of the prompt.

    Example:
        >>> calm = stream_judge("It does not shout.", max_concurrent=2)
        >>> calm.stream_validate
        UnitJudge(backend=None, max_concurrent=2)

    Raises:
        InvalidInputError: An argument that cannot be used, by name.
    """
    make = check if check_only else req
    return make(description, stream_validate=UnitJudge(backend, max_concurrent), unit=unit)
