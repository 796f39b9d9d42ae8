"""Choosing among several answers: what they have in common."""

from __future__ import annotations

from collections.abc import Mapping

from mellea_rx.errors import NoAnswerError

__all__ = ["no_answer"]


def no_answer(who: str, errors: Mapping[int, Exception]) -> NoAnswerError:
    """What is raised when no source gave an acceptable answer.

    Args:
        who: The operator.
        errors: Why, by the sources' indices.
    """
    told = [
        f"{index + 1}. {type(error).__name__}: {error}" for index, error in sorted(errors.items())
    ]
    texts = [getattr(error, "text", "") for error in errors.values()]
    return NoAnswerError(
        f"{who}: none of {len(errors)} sources gave an acceptable answer: {'; '.join(told)}",
        errors=tuple(error for _, error in sorted(errors.items())),
        text=max(texts, key=len, default=""),
    )
