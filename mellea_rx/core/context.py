"""What a model is shown of what was said before: immutable, adding a turn makes a new one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self

from mellea_rx.core.component import Component
from mellea_rx.core.output import OutputView
from mellea_rx.core.request import WireMessage
from mellea_rx.core.thunk import ModelOutputThunk

__all__ = ["Context", "Turn"]


@dataclass(frozen=True, slots=True)
class Turn:
    """Something that was asked, and the answer.

    Attributes:
        action: What was asked.
        messages: How it read in the prompt; None where it could not be rendered at once.
        output: What can be read of the answer; it does not keep a running generation alive.
        thunk: The answer itself, where a context has to keep it running; else None.
    """

    action: Component[Any]
    messages: tuple[WireMessage, ...] | None
    output: OutputView
    thunk: ModelOutputThunk[Any] | None = None


class Context(Protocol):
    """A history of turns."""

    @property
    def is_simple(self) -> bool:
        """Whether calls are independent of each other, and so may run at once."""
        ...

    @property
    def last(self) -> Turn | None:
        """The latest turn."""
        ...

    def history(self) -> tuple[Turn, ...]:
        """The turns that the next prompt begins with, oldest first."""
        ...

    def add(
        self,
        action: Component[Any],
        messages: tuple[WireMessage, ...] | None,
        thunk: ModelOutputThunk[Any],
    ) -> Self:
        """This context and one more turn: see `Turn`."""
        ...

    def empty(self) -> Self:
        """A context of the same kind, with no turn."""
        ...
