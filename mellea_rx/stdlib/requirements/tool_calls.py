"""Requirements on the tool calls of an answer: `uses_tool` and `tool_arg_validator`. For users."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from mellea_rx.core.types.chunk import ToolCall
from mellea_rx.core.types.output import Output
from mellea_rx.core.types.requirement import Requirement, ValidationResult, Verdict
from mellea_rx.core.types.tool import Tool
from mellea_rx.core.types.validation import kind_of
from mellea_rx.errors import InvalidInputError
from mellea_rx.stdlib.requirements.factories import calling, req, verdict

__all__ = ["tool_arg_validator", "uses_tool"]

_SHOWN = 80
"""The maximum length of an argument's value in a reason, in characters."""


def uses_tool(
    tool: Tool[..., Any] | Callable[..., Any] | str, *, check_only: bool = False
) -> Requirement:
    """The requirement that an answer calls a tool.

    It is decided on every answer: one with tool calls, and one without. (The call has to offer the
    tool, by `ModelOption.TOOLS`; `ModelOption.TOOL_CHOICE` has many servers enforce the call.)

    Args:
        tool: The tool: a `Tool`, its function, or its name.
        check_only: Whether the prompt does not state it.

    Example:
        >>> from mellea_rx import Chunk, Output, ToolCall
        >>> asks = uses_tool("weather")
        >>> asks.validate(Output(Chunk(tool_calls=(ToolCall("weather", {}),))))
        ValidationResult(result=True, reason=None, score=None)
        >>> asks.validate(Output("It rains."))
        ValidationResult(result=False, reason='no tool was called', score=None)

    Raises:
        InvalidInputError: `tool` is not a tool, a function or a name.
    """
    name, _ = _name_and_parameters(tool)
    return _UsesTool(name, check_only=check_only)


class _UsesTool(Requirement):
    """See `uses_tool`. A class of its own, so that two of one tool are equal."""

    def __init__(self, name: str, *, check_only: bool) -> None:
        super().__init__(f"Call the tool {name!r}.", check_only=check_only, decided_on="all")
        self.tool = name

    def validate(self, output: Output) -> ValidationResult:
        called = list(dict.fromkeys(call.name for call in output.tool_calls))
        if self.tool in called:
            return ValidationResult(True)
        others = f"only {', '.join(called)} was called" if called else "no tool was called"
        return ValidationResult(False, others)


def tool_arg_validator(
    tool: Tool[..., Any] | Callable[..., Any] | str,
    arg: str,
    check: Callable[[Any], Verdict | Awaitable[Verdict]],
    *,
    description: str = "",
    check_only: bool = False,
) -> Requirement:
    """The requirement that an argument of a tool is right in each call of the tool.

    It is decided on every answer. An answer that does not call the tool meets it, since there is no
    argument to check: together with `uses_tool` the call is required too. A call without the
    argument does not meet it, also where the tool has a default.

    Args:
        tool: The tool: a `Tool`, its function, or its name.
        arg: The argument's name.
        check: Takes the argument's value, as the model gave it (JSON: before the tool converts it),
            and returns a bool, a pair of bool and reason, or a `ValidationResult`; may be async.
        description: The requirement in words, for the prompt. Without it, the prompt states
            nothing.
        check_only: Whether the prompt does not state the description either.

    Example:
        >>> from mellea_rx import Chunk, Output, ToolCall
        >>> near = tool_arg_validator("weather", "days", lambda days: days <= 7)
        >>> far = Output(Chunk(tool_calls=(ToolCall("weather", {"days": 30}),)))
        >>> near.validate(far).reason
        "argument 'days' of tool 'weather' is not valid: 30"

    Raises:
        InvalidInputError: `tool` is not a tool, a function or a name; `arg` is not a name, or none
            of the tool's parameters; or `check` is not a function.
    """
    name, parameters = _name_and_parameters(tool)
    if not isinstance(arg, str) or not arg:
        raise InvalidInputError(f"arg must be the name of an argument, not {arg!r}")
    if parameters is not None and arg not in parameters:
        raise InvalidInputError(
            f"arg: tool {name!r} has no argument {arg!r}; it has: {', '.join(parameters) or 'none'}"
        )
    if not callable(check):
        raise InvalidInputError(
            f"check must be a function of the argument's value, not {kind_of(check)}"
        )

    def calls(output: Output) -> list[ToolCall]:
        return [call for call in output.tool_calls if call.name == name]

    def values(output: Output) -> list[Any]:
        return [call.arguments[arg] for call in calls(output) if arg in call.arguments]

    def conclude(output: Output, found: Sequence[Any]) -> ValidationResult:
        subject = f"argument {arg!r} of tool {name!r}"
        if len(found) < len(calls(output)):
            return ValidationResult(False, f"{subject} is missing")
        for value, result in zip(values(output), map(verdict, found), strict=True):
            if not result:
                return _refused(subject, value, result)
        return ValidationResult(True)

    stated = description or f"The argument {arg!r} of the tool {name!r} is valid."
    requirement = req(stated, calling(check, values, conclude), decided_on="all")
    return requirement.replace(check_only=check_only or not description)


def _refused(subject: str, value: object, result: ValidationResult) -> ValidationResult:
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"
    why = f" ({result.reason})" if result.reason else ""
    return ValidationResult(False, f"{subject} is not valid: {shown}{why}", result.score)


def _name_and_parameters(tool: object) -> tuple[str, Collection[str] | None]:
    """The name of a tool, and the names of its parameters; None where only its name was given.

    Raises:
        InvalidInputError: It is not a tool, a function that can be one, or a name.
    """
    if isinstance(tool, str) and tool.strip():
        return tool, None
    if isinstance(tool, str) or not callable(tool):
        raise InvalidInputError(
            f"tool must be a Tool, a function or the name of a tool, not {tool!r}"
        )
    known = tool if isinstance(tool, Tool) else Tool.from_callable(tool)
    return known.name, known.parameters.get("properties")
