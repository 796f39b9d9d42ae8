"""Ready compactors: what to say again of a conversation that grew long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mellea_rx.core.arguments import require_int
from mellea_rx.core.context import Exchange, Summary
from mellea_rx.errors import InvalidInputError

__all__ = ["Summarize", "TokenThreshold"]


@dataclass(frozen=True, slots=True)
class TokenThreshold:
    """Says the latest turns again, as many as fit; the oldest are dropped.

    Tokens are those of the history alone: `Exchange.tokens`, summed up.

    Example:
        >>> from mellea_rx import ChatContext
        >>> ctx = ChatContext(compactor=TokenThreshold(1500))

    Attributes:
        tokens: At most about so many.
        keep: So many of the latest turns are said again in any case.

    Raises:
        InvalidInputError: `tokens` is below 1, or `keep` below 0.
    """

    tokens: int
    keep: int = 1

    def __post_init__(self) -> None:
        require_int("tokens", self.tokens, 1)
        require_int("keep", self.keep, 0)

    def __call__(self, history: tuple[Exchange, ...], /) -> Sequence[Exchange]:
        """The end of the history that fits."""
        total, kept = 0, 0
        for exchange in reversed(history):
            total += exchange.tokens
            if total > self.tokens and kept >= self.keep:
                break
            kept += 1
        return history[len(history) - kept :]


@dataclass(frozen=True, slots=True)
class Summarize:
    """Says a summary instead of the older turns, which the model writes in the background.

    It blocks no turn: until a summary is there, the turns are sent as they are, or the summary
    before it and the turns since. When it fails, that is logged, and it is tried again when the
    conversation has grown by as much again::

        turns=3, keep=1

        turns:     --1--2--3--4--5--6--7--
        summary:               (1,2,3)
        prompts:   1 to 5   the turns as they are
                   6        the summary, 4, 5
                   7        the summary, 4, 5, 6; and the next one is due

    Example:
        >>> from mellea_rx import ChatContext
        >>> ctx = ChatContext(compactor=Summarize(after_tokens=1500, keep=4))

    Attributes:
        after_tokens: When the history has more tokens than this (`Exchange.tokens`, summed up).
        turns: When the history has more turns than this, a summary counted as one.
        keep: So many of the latest turns stay as they are.
        max_tokens: At most so many tokens of summary.

    Raises:
        InvalidInputError: Neither `after_tokens` nor `turns` is given, or a number is too low.
    """

    after_tokens: int | None = None
    turns: int | None = None
    keep: int = 2
    max_tokens: int = 200

    def __post_init__(self) -> None:
        if self.after_tokens is None and self.turns is None:
            raise InvalidInputError("Summarize needs after_tokens= or turns=: when to sum up")
        require_int("keep", self.keep, 0)
        require_int("max_tokens", self.max_tokens, 1)
        if self.after_tokens is not None:
            require_int("after_tokens", self.after_tokens, 1)
        if self.turns is not None:
            # A summary and the turns that are kept must not be too many by themselves.
            require_int("turns", self.turns, self.keep + 1)

    def __call__(self, history: tuple[Exchange, ...], /) -> Sequence[Exchange | Summary]:
        """The older turns as a summary, then the latest.

        Where to cut depends only on what came before the cut, so that a longer history has the
        same summaries.
        """
        covered = 0
        for end in range(1, len(history) + 1):
            if end - covered > self.keep and self._is_long(history[covered:end], covered > 0):
                covered = end - self.keep
        if not covered:
            return history
        return (Summary(history[:covered], self.max_tokens), *history[covered:])

    def _is_long(self, recent: Sequence[Exchange], has_summary: bool) -> bool:
        if self.turns is not None and len(recent) + has_summary > self.turns:
            return True
        if self.after_tokens is None:
            return False
        total = sum(each.tokens for each in recent) + self.max_tokens * has_summary
        return total > self.after_tokens
