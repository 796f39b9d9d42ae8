"""Refusals: answers whose finish reason says that the model or the server refused to answer."""

from __future__ import annotations

from collections.abc import Mapping

from mellea_rx.core.chunk import Chunk
from mellea_rx.errors import ModelRefusedError
from mellea_rx.wire.words import printable

__all__ = ["refusal_reason", "require_answer"]

_SHOWN = 200
"""The number of characters of a refusal that a message shows."""

_REASONS: Mapping[str, str] = {
    "refusal": "the model refused to answer",
    "content_filter": "the server's content filter stopped the answer",
}


def refusal_reason(answer: Chunk) -> str:
    """The reason of a refusal, with the beginning of its text; "" for an answer."""
    why = _REASONS.get(answer.finish_reason or "", "")
    return f"{why}: {printable(answer.text, _SHOWN)!r}" if why and answer.text else why


def require_answer(answer: Chunk) -> None:
    """Raise an error for a refusal, where an answer of a format is required.

    Raises:
        ModelRefusedError: It is a refusal.
    """
    why = refusal_reason(answer)
    if why and not answer.tool_calls:
        raise ModelRefusedError(
            f"{why} (finish_reason {answer.finish_reason!r}); it is not asked again: change the "
            "prompt, or leave format= and require=True out to get this text as the value",
            text=answer.text,
            finish_reason=answer.finish_reason or "",
        )
