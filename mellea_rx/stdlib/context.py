"""Contexts: how much of what was said before a prompt begins with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from mellea_rx.core.component import Component
from mellea_rx.core.context import Context, Turn
from mellea_rx.core.request import WireMessage
from mellea_rx.core.thunk import ModelOutputThunk

__all__ = ["ChatContext", "Context", "SimpleContext", "Turn"]


@dataclass(frozen=True, slots=True)
class SimpleContext:
    """No history: every call is on its own, and any number of them may run at once.

    It remembers the latest turn (for `validate` without an output), and does not keep a running
    generation alive.
    """

    last: Turn | None = None

    is_simple = True

    def history(self) -> tuple[Turn, ...]:
        """Nothing."""
        return ()

    def add(
        self,
        action: Component[Any],
        messages: tuple[WireMessage, ...] | None,
        thunk: ModelOutputThunk[Any],
    ) -> Self:
        """A context with this turn as its latest."""
        return type(self)(Turn(action, messages, thunk.view()))

    def empty(self) -> Self:
        """A context that remembers nothing."""
        return type(self)()


@dataclass(frozen=True, slots=True)
class ChatContext:
    """A conversation: every prompt begins with all turns so far.

    A turn waits for the one before it, also where the calls do not await each other. A turn that
    failed or was cancelled is left out of later prompts.

    Attributes:
        turns: All turns, oldest first.
    """

    turns: tuple[Turn, ...] = ()

    is_simple = False

    @property
    def last(self) -> Turn | None:
        """The latest turn."""
        return self.turns[-1] if self.turns else None

    def history(self) -> tuple[Turn, ...]:
        """All turns, oldest first."""
        return self.turns

    def add(
        self,
        action: Component[Any],
        messages: tuple[WireMessage, ...] | None,
        thunk: ModelOutputThunk[Any],
    ) -> Self:
        """This conversation and one more turn."""
        return type(self)((*self.turns, Turn(action, messages, thunk.view(), thunk)))

    def empty(self) -> Self:
        """A conversation without turns."""
        return type(self)()
