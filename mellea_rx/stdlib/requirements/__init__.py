"""Requirements: what an answer has to be, and how that is decided."""

from mellea_rx.core.requirement import Requirement, UnitVerdict, ValidationResult
from mellea_rx.stdlib.requirements.build import as_requirements, check, req, simple_validate
from mellea_rx.stdlib.requirements.per_attempt import PerAttempt
from mellea_rx.stdlib.requirements.streaming import StreamJudge
from mellea_rx.stdlib.requirements.validate import validate_all

__all__ = [
    "PerAttempt",
    "Requirement",
    "StreamJudge",
    "UnitVerdict",
    "ValidationResult",
    "as_requirements",
    "check",
    "req",
    "simple_validate",
    "validate_all",
]
