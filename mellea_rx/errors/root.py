"""The root of the tree."""

from __future__ import annotations

__all__ = [
    "MelleaRxError",
]


class MelleaRxError(Exception):
    """The root of every error that this library raises.

    Args:
        message: What was wrong, where, and what to do.
        text: What the model had said so far.

    Attributes:
        text: As given.
        is_passing: Whether another try of the same request may not meet it.
    """

    text: str
    is_passing: bool = False

    def __init__(self, message: str, *, text: str = "") -> None:
        super().__init__(message)
        self.text = text
