"""Requirements: conditions that an answer has to meet, and short ways to write them."""

from mellea_rx.core.types.output import Output
from mellea_rx.core.types.requirement import Requirement, UnitVerdict, ValidationResult
from mellea_rx.stdlib.requirements.factories import as_requirements, check, req, simple_validate
from mellea_rx.stdlib.requirements.per_attempt import PerAttempt
from mellea_rx.stdlib.requirements.tool_calls import tool_arg_validator, uses_tool

__all__ = [
    "Output",
    "PerAttempt",
    "Requirement",
    "UnitVerdict",
    "ValidationResult",
    "as_requirements",
    "check",
    "req",
    "simple_validate",
    "tool_arg_validator",
    "uses_tool",
]
