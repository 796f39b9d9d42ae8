"""Compactors for `ChatContext`: `TokenThreshold` drops old turns, `Summarize` summarizes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mellea_rx.core.interfaces.context import Exchange, Summary
from mellea_rx.core.types.validation import require_int
from mellea_rx.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class TokenThreshold:
    """Keeps as many of the latest turns as fit, and drops older ones.

    It counts the tokens of the history alone: the sum of `Exchange.tokens`.

    Example:
        >>> from mellea_rx import ChatContext
        >>> ctx = ChatContext(compactor=TokenThreshold(1500))

    Attributes:
        tokens: The maximum number of tokens, as estimated.
        keep: The number of latest turns that are kept in any case.

    Raises:
        InvalidInputError: `tokens` is below 1, or `keep` below 0.
    """

    tokens: int
    keep: int = 1

    def __post_init__(self) -> None:
        require_int("tokens", self.tokens, 1)
        require_int("keep", self.keep, 0)

    def __call__(self, history: tuple[Exchange, ...], /) -> Sequence[Exchange]:
        """The latest exchanges of the history that fit."""
        total, kept = 0, 0
        for exchange in reversed(history):
            total += exchange.tokens
            if total > self.tokens and kept >= self.keep:
                break
            kept += 1
        return history[len(history) - kept :]


@dataclass(frozen=True, slots=True)
class Summarize:
    """Replaces older turns by a summary, which the model writes in the background.

    It blocks no turn: until a summary is complete, prompts contain the turns themselves, or the
    previous summary and the turns since. A failure is logged, and the next summary is tried when
    the conversation has grown by as much again::

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
        after_tokens: The number of tokens (the sum of `Exchange.tokens`) above which it summarizes.
        turns: The number of turns above which it summarizes; a summary counts as one.
        keep: The number of latest turns that are not summarized.
        max_tokens: The maximum length of a summary, in tokens.

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
            # A summary and the kept turns alone must not be too many turns.
            require_int("turns", self.turns, self.keep + 1)

    def __call__(self, history: tuple[Exchange, ...], /) -> Sequence[Exchange | Summary]:
        """A summary of the older turns, then the latest turns.

        The place of the cut depends only on the turns before it, so that a longer history has the
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
