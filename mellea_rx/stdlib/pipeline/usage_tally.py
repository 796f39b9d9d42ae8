"""`UsageTally`: the tokens of a call's attempts and judges, added up."""

from __future__ import annotations

from mellea_rx.core.types.chunk import Usage


class UsageTally:
    """Adds up the tokens that a call uses. Used on the engine only.

    Attributes:
        total: The tokens so far, as far as servers reported them.
    """

    def __init__(self) -> None:
        self.total = Usage()

    def add(self, usage: Usage | None) -> None:
        """Add the tokens of one request; None where they are unknown."""
        if usage is not None:
            self.total = Usage(
                self.total.prompt_tokens + usage.prompt_tokens,
                self.total.completion_tokens + usage.completion_tokens,
            )
