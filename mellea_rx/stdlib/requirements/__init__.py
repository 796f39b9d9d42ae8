"""Requirements: conditions that an answer has to meet, and short ways to write them."""

from mellea_rx.core.text.json_units import by_json_member
from mellea_rx.core.text.regex_units import by_regex
from mellea_rx.core.types.output import Output
from mellea_rx.core.types.requirement import Requirement, UnitVerdict, ValidationResult
from mellea_rx.core.types.stream_context import StreamContext
from mellea_rx.core.types.unit import Splitter, Unit
from mellea_rx.stdlib.requirements.factories import as_requirements, check, req, simple_validate
from mellea_rx.stdlib.requirements.per_attempt import PerAttempt
from mellea_rx.stdlib.requirements.tool_calls import tool_arg_validator, uses_tool
from mellea_rx.stdlib.requirements.unit_judge import UnitJudge, stream_judge

__all__ = [
    "Output",
    "PerAttempt",
    "Requirement",
    "Splitter",
    "StreamContext",
    "Unit",
    "UnitJudge",
    "UnitVerdict",
    "ValidationResult",
    "as_requirements",
    "by_json_member",
    "by_regex",
    "check",
    "req",
    "simple_validate",
    "stream_judge",
    "tool_arg_validator",
    "uses_tool",
]
