"""`SimpleContext` and `ChatContext`: the history of turns with which prompts begin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from mellea_rx.core.interfaces.component import Component
from mellea_rx.core.interfaces.context import Compactor, Turn
from mellea_rx.core.streams.generation_view import GenerationView
from mellea_rx.core.streams.thunk import ModelOutputThunk
from mellea_rx.core.types.request import RequestMessage
from mellea_rx.core.types.validation import require_positive_int
from mellea_rx.errors import InvalidInputError, MelleaRxError
from mellea_rx.stdlib.context.message_import import Asked, turns_of
from mellea_rx.stdlib.context.message_json import (
    conversation_json,
    message_dict,
    read_conversation,
)
from mellea_rx.stdlib.prompts.history import past_of
from mellea_rx.stdlib.prompts.prompt import rendered


@dataclass(frozen=True, slots=True)
class SimpleContext:
    """A context without history: calls are independent, and any number of them may run at once.

    It stores the latest turn (for `validate` without an output), and does not keep a running
    generation alive.
    """

    last: Turn | None = None

    is_simple = True
    window_size = None
    compactor = None

    def history(self) -> tuple[Turn, ...]:
        """No turns."""
        return ()

    def add(
        self,
        action: Component[Any],
        messages: tuple[RequestMessage, ...] | None,
        thunk: ModelOutputThunk[Any],
    ) -> Self:
        """A context with this turn as its latest."""
        return type(self)(Turn(action, messages, thunk._view()))

    def empty(self) -> Self:
        """A context without a latest turn."""
        return type(self)()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the messages of the turns, without components and functions.

        Raises:
            InvalidInputError: The latest call still runs.
        """
        last = None if self.last is None else _portable(self.last)
        return _restored, (type(self), {**_fields(self), "last": last})

    def __deepcopy__(self, _: object) -> Self:
        """The same object, since it is immutable.

        Raises:
            InvalidInputError: The latest call still runs.
        """
        if self.last is not None:
            _portable(self.last)
        return self


@dataclass(frozen=True, slots=True)
class ChatContext:
    """A conversation: every prompt begins with the turns so far.

    A turn waits for the one before it, also where the calls do not await each other. A turn that
    failed or was cancelled is left out of later prompts. Immutable: sessions that begin from one
    context share nothing that changes.

    Its length and its items are its messages.

    Example:
        >>> from mellea_rx import MelleaSession, ScriptedBackend
        >>> m = MelleaSession(ScriptedBackend("Hello Ada."), ChatContext(window_size=20))
        >>> answer = m.chat("I am Ada.")
        >>> [(message.role, message.content) for message in m.ctx.messages]
        [('user', 'I am Ada.'), ('assistant', 'Hello Ada.')]

    Attributes:
        turns: All turns, oldest first, also those that prompts leave out.
        window_size: The maximum number of latest turns in a prompt; a tool's results count with
            the turn that called it, and summaries do not count. None for all.
        compactor: The function that shortens the history before the window does: `TokenThreshold`,
            `Summarize` (both in `mellea_rx.stdlib.context`), or any `Compactor`.

    Raises:
        InvalidInputError: `turns` are not turns, `window_size` is not an int above 0, or
            `compactor` is not a function.
    """

    turns: tuple[Turn, ...] = ()
    window_size: int | None = field(default=None, kw_only=True)
    compactor: Compactor | None = field(default=None, kw_only=True)

    is_simple = False

    def __post_init__(self) -> None:
        if not isinstance(self.turns, tuple) or not all(isinstance(t, Turn) for t in self.turns):
            raise InvalidInputError(
                "turns must be a tuple of turns (see ChatContext.from_messages), "
                f"not {self.turns!r:.80}"
            )
        size = self.window_size
        if size is not None:
            require_positive_int("window_size", size)
        if self.compactor is not None and (
            isinstance(self.compactor, type) or not callable(self.compactor)
        ):
            raise InvalidInputError(
                "compactor must be a function of the history, or a Summarize or TokenThreshold of "
                f"mellea_rx.stdlib.context, not {self.compactor!r}"
            )

    @classmethod
    def from_messages(
        cls,
        messages: Iterable[RequestMessage | Mapping[str, Any] | Component[Any]],
        *,
        window_size: int | None = None,
        compactor: Compactor | None = None,
    ) -> Self:
        """A conversation made of the messages of another one.

        Args:
            messages: Oldest first: messages as servers take them (a dict of "role" and "content",
                with "tool_calls" or "tool_call_id" where there are any), `RequestMessage`s, or
                components. System messages may stand first; the last one is the assistant's.
            window_size: See the class.
            compactor: See the class.

        Example:
            >>> ctx = ChatContext.from_messages([
            ...     {"role": "user", "content": "My name is Ada."},
            ...     {"role": "assistant", "content": "Hello Ada."},
            ... ])
            >>> len(ctx), len(ctx.turns)
            (2, 1)

        Raises:
            InvalidInputError: Something is not a message (the error names its place), or the last
                message has no answer.
        """
        return cls(turns_of(messages), window_size=window_size, compactor=compactor)

    @classmethod
    def from_json(cls, text: str, *, compactor: Compactor | None = None) -> Self:
        """A conversation that `to_json` wrote, or a JSON list of messages of OpenAI's API.

        Args:
            text: The JSON.
            compactor: See the class; a function cannot be stored.

        Raises:
            InvalidInputError: It is not JSON, not a conversation, or of a later version; or
                something in it is not a message (the error names its place).
        """
        messages, window_size = read_conversation(text)
        return cls(turns_of(messages), window_size=window_size, compactor=compactor)

    def to_messages(self) -> list[dict[str, Any]]:
        """The messages of all complete turns in the form of OpenAI's API.

        Example:
            >>> from mellea_rx import MelleaSession, ScriptedBackend
            >>> m = MelleaSession(ScriptedBackend("Hello Ada."), ChatContext())
            >>> answer = m.chat("I am Ada.")
            >>> m.ctx.to_messages()[1]
            {'role': 'assistant', 'content': 'Hello Ada.'}

        Raises:
            InvalidInputError: A turn still runs.
        """
        return [message_dict(message) for message in self._written()]

    def to_json(self) -> str:
        """The conversation as JSON, for `from_json`: the window size, and the messages of all
        complete turns in the form of OpenAI's API. Components and typed objects become messages.

        Raises:
            InvalidInputError: A turn still runs.
        """
        return conversation_json(self._written(), self.window_size)

    def _written(self) -> list[RequestMessage]:
        """The messages of all complete turns, with tool calls whose results may still follow:
        `messages`, as a prompt, leaves those out."""
        if any(turn.output.is_running for turn in self.turns):
            raise InvalidInputError(
                "a conversation with a call that still runs cannot be written: wait for its end "
                "first, with `await thunk.avalue()` or `thunk.wait()`"
            )
        written: list[RequestMessage] = []
        for turn in self.turns:
            if turn.output.is_complete:
                answer = turn.output.answer
                asked = rendered(turn.action) if turn.messages is None else turn.messages
                said = RequestMessage("assistant", answer.text, tool_calls=answer.tool_calls)
                written += [*asked, said]
        return written

    @property
    def last(self) -> Turn | None:
        """The latest turn."""
        return self.turns[-1] if self.turns else None

    @property
    def messages(self) -> tuple[RequestMessage, ...]:
        """The messages of all complete turns, oldest first, as prompts contain them."""
        past = past_of(self.turns, rendered)
        messages = (message for exchange in past.closed for message in exchange.messages)
        return (*past.system, *messages)

    def __iter__(self) -> Iterator[RequestMessage]:
        return iter(self.messages)

    def __len__(self) -> int:
        return len(self.messages)

    def __bool__(self) -> bool:
        """True, also without turns."""
        return True

    def history(self) -> tuple[Turn, ...]:
        """All turns, oldest first."""
        return self.turns

    def add(
        self,
        action: Component[Any],
        messages: tuple[RequestMessage, ...] | None,
        thunk: ModelOutputThunk[Any],
    ) -> Self:
        """This conversation and one more turn."""
        turn = Turn(action, messages, thunk._view(), thunk)
        return replace(self, turns=(*self.turns, turn))

    def empty(self) -> Self:
        """A conversation of the same kind, without turns."""
        return replace(self, turns=())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the messages of the turns, without components and functions.

        Raises:
            InvalidInputError: A turn still runs.
        """
        turns = tuple(map(_portable, self.turns))
        return _restored, (type(self), {**_fields(self), "turns": turns})

    def __deepcopy__(self, _: object) -> Self:
        """The same object, since it is immutable.

        Raises:
            InvalidInputError: A turn still runs.
        """
        for turn in self.turns:
            _portable(turn)
        return self


def _fields(context: SimpleContext | ChatContext) -> dict[str, Any]:
    return {each.name: getattr(context, each.name) for each in fields(context)}


def _restored(kind: type[Any], values: dict[str, Any]) -> Any:
    return kind(**values)


def _portable(turn: Turn) -> Turn:
    """A turn that can be pickled: its messages, without its component and thunk.

    Raises:
        InvalidInputError: It still runs.
    """
    output = turn.output
    if output.is_running:
        raise InvalidInputError(
            "a context with a call that still runs cannot be copied or pickled: wait for its end "
            "first, with `await thunk.avalue()` or `thunk.wait()`"
        )
    messages = turn.messages
    if messages is None:
        try:
            messages = rendered(turn.action)
        except MelleaRxError:  # made of a thunk that failed, so it is in no prompt
            messages = ()
    if output.is_complete:
        output = GenerationView.of(output.answer)
    return Turn(Asked(messages), messages, output)
