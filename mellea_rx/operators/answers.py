"""The error of combinators that choose one answer (`race`, `hedge`, `fallback`) and found none."""

from __future__ import annotations

from collections.abc import Mapping

from mellea_rx.errors import NoAnswerError

__all__ = ["no_answer"]


def no_answer(operator: str, errors: Mapping[int, Exception]) -> NoAnswerError:
    """Make the error for the case that no source had an acceptable answer.

    Args:
        operator: The operator's name, for the message.
        errors: The error of each source, by the source's index.
    """
    reasons = [
        f"{index + 1}. {type(error).__name__}: {error}" for index, error in sorted(errors.items())
    ]
    texts = [getattr(error, "text", "") for error in errors.values()]
    return NoAnswerError(
        f"{operator}: none of {len(errors)} sources gave an acceptable answer: "
        f"{'; '.join(reasons)}",
        errors=tuple(error for _, error in sorted(errors.items())),
        text=max(texts, key=len, default=""),
    )
