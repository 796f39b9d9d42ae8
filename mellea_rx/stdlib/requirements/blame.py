"""`validator_failed`: the error for an exception of a user's validation function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mellea_rx.core.arguments import name_of
from mellea_rx.core.requirement import Requirement
from mellea_rx.errors import CallerLoopClosedError, MelleaRxError, ValidatorError

__all__ = ["validator_failed"]


def validator_failed(
    requirement: Requirement,
    function: Callable[..., Any] | None,
    error: Exception,
    text: str,
    where: str,
) -> MelleaRxError:
    """The error for an exception of a user's validation function.

    Args:
        requirement: The requirement that the function belongs to.
        function: The function.
        error: Its exception.
        text: The text that it was to judge.
        where: The name of the answer in the message ("attempt 2").
    """
    if isinstance(error, CallerLoopClosedError):
        return error
    name = name_of(function)
    return ValidatorError(
        f"the validation function {name!r} of requirement {requirement.description!r} "
        f"raised {type(error).__name__} in {where}: {error}",
        text=text,
    )
