"""What a model is shown of what was said before: immutable, adding a turn makes a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import msgspec

from mellea_rx.core.component import Component
from mellea_rx.core.output import OutputView
from mellea_rx.core.request import WireMessage
from mellea_rx.core.thunk import ModelOutputThunk

__all__ = ["Compactor", "Context", "Exchange", "Summary", "Turn", "is_context"]

_CHARACTERS_A_TOKEN = 4


class Turn(msgspec.Struct, frozen=True):
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


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was asked and what was answered: in a prompt together, or not at all.

    Tool calls and their results are one exchange, so that nobody can cut them apart.

    Attributes:
        messages: What was said, in order.
        completion_tokens: Tokens of its answers, where the server told them; else None.
    """

    messages: tuple[WireMessage, ...]
    completion_tokens: int | None = None

    @property
    def tokens(self) -> int:
        """About how many tokens it takes in a prompt.

        What the server told of the answers counts as told, and the rest is estimated: four
        characters a token.
        """
        told = self.completion_tokens
        estimated = [
            message for message in self.messages if told is None or message.role != "assistant"
        ]
        characters = sum(map(_characters, estimated))
        return -(-characters // _CHARACTERS_A_TOKEN) + (told or 0)


def _characters(message: WireMessage) -> int:
    calls = (len(call.name) + len(str(call.arguments)) for call in message.tool_calls)
    return len(message.content) + sum(calls)


@dataclass(frozen=True, slots=True)
class Summary:
    """Stands for exchanges that the model is to sum up.

    The model writes it in the background. Until it is there, the exchanges stand for themselves.

    Attributes:
        of: What to sum up.
        max_tokens: At most so many tokens of summary.
    """

    of: tuple[Exchange, ...]
    max_tokens: int = 200


class Compactor(Protocol):
    """Decides what of a long history a prompt begins with: any function of this form.

    It is called once for each prompt, in a worker thread, when every turn before has ended. It
    gets what was said, oldest first: no system prompt, which always stays; no turn that failed or
    was cancelled; and no tool calls whose results this very prompt brings, which stay too. It must
    not change what it gets, and should decide the same way each time, so that summaries fit. What
    it raises fails the call with a `CallbackError`.
    """

    def __call__(self, history: tuple[Exchange, ...], /) -> Sequence[Exchange | Summary]:
        """What to say instead of `history`."""
        ...


class Context(Protocol):
    """A history of turns."""

    @property
    def window_size(self) -> int | None:
        """At most so many exchanges are said again, summaries not counted; None for all."""
        ...

    @property
    def compactor(self) -> Compactor | None:
        """What shortens the history; None for nothing."""
        ...

    @property
    def is_simple(self) -> bool:
        """Whether calls are independent of each other, and so may run at once."""
        ...

    @property
    def last(self) -> Turn | None:
        """The latest turn."""
        ...

    def history(self) -> tuple[Turn, ...]:
        """The turns that the next prompt is about to begin with, oldest first."""
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


def is_context(value: object) -> bool:
    """Whether a value is a context: it has a history, and turns can be added to it."""
    return not isinstance(value, type) and hasattr(value, "history") and hasattr(value, "add")
