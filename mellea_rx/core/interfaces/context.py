"""The interface of contexts, and the frozen values that a history is made of.

Contexts in `stdlib` implement it; sessions and formatters use it. A context is immutable: adding a
turn makes a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import msgspec

from mellea_rx.core.interfaces.component import Component
from mellea_rx.core.streams.generation_view import GenerationView
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.types.request import RequestMessage

_CHARACTERS_A_TOKEN = 4


class Turn(msgspec.Struct, frozen=True):
    """One turn of a conversation: an action and its answer.

    Attributes:
        action: The component that the model was asked.
        messages: The action's messages; None where they could not be rendered at once.
        output: A view of the answer, which does not keep a running generation alive.
        thunk: The answer itself, where a context has to keep its generation running; else None.
    """

    action: Component[Any]
    messages: tuple[RequestMessage, ...] | None
    output: GenerationView
    thunk: ModelOutputThunk[Any] | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """The messages of a question and its answer: in a prompt they stand together, or not at all.

    Tool calls and their results are one exchange, so that no compactor can separate them.

    Attributes:
        messages: The messages, in order.
        completion_tokens: The tokens of its answers, where the server reported them; else None.
    """

    messages: tuple[RequestMessage, ...]
    completion_tokens: int | None = None

    @property
    def tokens(self) -> int:
        """An estimate of its tokens in a prompt.

        The answers count with the tokens that the server reported. Other messages, and answers
        without a report, count one token for every four characters.
        """
        reported = self.completion_tokens
        estimated = [
            message for message in self.messages if reported is None or message.role != "assistant"
        ]
        characters = sum(map(_characters, estimated))
        return -(-characters // _CHARACTERS_A_TOKEN) + (reported or 0)


def _characters(message: RequestMessage) -> int:
    calls = (len(call.name) + len(str(call.arguments)) for call in message.tool_calls)
    return len(message.content) + sum(calls)


@dataclass(frozen=True, slots=True)
class Summary:
    """A placeholder for exchanges that the model is to summarize.

    The model writes the summary in the background. Until it is complete, prompts contain the
    exchanges themselves.

    Attributes:
        of: The exchanges to summarize.
        max_tokens: The maximum length of the summary, in tokens.
    """

    of: tuple[Exchange, ...]
    max_tokens: int = 200


class Compactor(Protocol):
    """Shortens a long history for a prompt: any function of this form.

    It is called once for each prompt, in a worker thread, when every earlier turn has ended. It
    gets the exchanges of the history, oldest first, but for those that every prompt keeps: the
    system prompt, and tool calls whose results this very prompt contains. Turns that failed or were
    cancelled are not in the history. It must not change its argument, and should decide the same
    way each time, so that summaries can be used again. An exception of it fails the call with a
    `CallbackError`.
    """

    def __call__(self, history: tuple[Exchange, ...], /) -> Sequence[Exchange | Summary]:
        """The exchanges, and summaries of exchanges, that replace `history` in the prompt."""
        ...


class Context(Protocol):
    """A history of turns, with which the prompts of a session begin."""

    @property
    def window_size(self) -> int | None:
        """The maximum number of exchanges in a prompt, not counting summaries; None for all."""
        ...

    @property
    def compactor(self) -> Compactor | None:
        """The function that shortens the history; None for none."""
        ...

    @property
    def is_simple(self) -> bool:
        """Whether calls are independent of each other, and may run at once."""
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
        messages: tuple[RequestMessage, ...] | None,
        thunk: ModelOutputThunk[Any],
    ) -> Self:
        """A context with these turns and one more; for the arguments see `Turn`."""
        ...

    def empty(self) -> Self:
        """A context of the same kind without turns."""
        ...


def is_context(value: object) -> bool:
    """Whether a value is a context: it has the methods `history` and `add`."""
    return not isinstance(value, type) and hasattr(value, "history") and hasattr(value, "add")
