"""`Output`: an answer as validators see it, the text with everything that came with it.

The pipeline makes one for each attempt, and passes it to the user's functions that judge answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import msgspec

from mellea_rx.core.runtime.stored_errors import raisable
from mellea_rx.core.types.chunk import Chunk, ToolCall, Usage
from mellea_rx.core.types.validation import kind_of, require_positive_int
from mellea_rx.errors import CallbackError, InvalidInputError, MelleaRxError


def parsed_by(parse: Callable[[str], Any], text: str) -> Any:
    """The typed value of a whole answer.

    Args:
        parse: The function of the call's format or component.
        text: The answer's text.

    Raises:
        CallbackError: `parse` raised an exception that is not of this library; `text` has the text.
        MelleaRxError: `parse` raised it.
    """
    try:
        return parse(text)
    except MelleaRxError:
        raise
    except Exception as error:
        raise CallbackError(
            f"the component cannot parse this answer: {type(error).__name__}: {error}", text=text
        ) from error


def _nothing() -> None:
    return None


class Origin(msgspec.Struct, frozen=True):
    """The call that an answer belongs to. (A Struct, since each call makes one.)

    Attributes:
        parse: Turns the whole text into the call's typed value.
        context: The context that the call was made in; None for none.
        session: Returns the session that made the call, or None. It is a weak reference, so that a
            running call does not keep a session alive that its program has dropped.
    """

    parse: Callable[[str], Any] = str
    context: Any = None
    session: Callable[[], Any] = _nothing


_NO_ORIGIN = Origin()
_UNPARSED: Any = object()


class Output(str):
    """An answer as validators see it: a `str`, with everything that came with the text.

    Validation functions, scorers and keys get one. It equals its text, has the text's hash, and can
    be used wherever a `str` can, so a function of a text and a function of an `Output` are the same
    kind of function. It is immutable, and `output.text` is the text as a plain `str` (which a
    library may need that takes no subclass of `str`).

    A pickle contains the text and the plain data: tool calls, thinking, usage, finish reason,
    model and attempt. It contains neither session nor context; `parsed` of the restored output is
    the text.

    Example:
        >>> from mellea_rx import Chunk, Output, ToolCall
        >>> call = ToolCall("weather", {"city": "Delft"})
        >>> output = Output(Chunk("Let me look.", tool_calls=(call,)))
        >>> output == "Let me look.", output.tool_calls[0].name, output.attempt
        (True, 'weather', 1)

    Args:
        answer: The answer, or its text alone.
        origin: The call that it belongs to; by default none.
        attempt: The number of the attempt, from 1.

    Attributes:
        text: The text, as a plain `str`.
        parsed: The typed object that the text stands for (a plain call: the text). Parsed when it
            is read first.
        parse_error: The error that `parsed` raised; None where it raised none, or was not read.
        tool_calls: The tool calls that the model asked for.
        thinking: The model's reasoning; "" where it shows none.
        usage: Tokens of prompt and completion; None where the server sent none.
        finish_reason: The reason why the model stopped ("stop", "length", ...), or None.
        model: The model's name as the server gives it, or None.
        context: The conversation that the call was made in (a `Context`), without the call's own
            turn; None for an output that belongs to no call.
        session: The `MelleaSession` that made the call; None where there is none, or where its
            program has dropped it.
        attempt: The number of the attempt, from 1.

    Raises:
        InvalidInputError: `answer` is neither a `Chunk` nor a `str`, or `attempt` is below 1.
    """

    __slots__ = ("_answer", "_attempt", "_origin", "_parse_error", "_parsed")

    _answer: Chunk
    _attempt: int
    _origin: Origin
    _parse_error: MelleaRxError | None
    _parsed: Any

    def __new__(
        cls, answer: Chunk | str = "", *, origin: Origin = _NO_ORIGIN, attempt: int = 1
    ) -> Self:
        if not isinstance(answer, (Chunk, str)):
            raise InvalidInputError(f"answer must be a Chunk or a str, not {kind_of(answer)}")
        require_positive_int("attempt", attempt)
        whole = answer if isinstance(answer, Chunk) else Chunk(str(answer))
        made = super().__new__(cls, whole.text)
        made._answer = whole
        made._attempt = attempt
        made._origin = origin
        made._parse_error = None
        made._parsed = _UNPARSED
        return made

    @property
    def text(self) -> str:
        """The text, as a plain `str`."""
        return self._answer.text

    @property
    def parsed(self) -> Any:
        """The typed object that the text stands for (a plain call: the text).

        In a validation function the error of a text that cannot be parsed is a verdict: a function
        that lets it pass says that its requirement is not met.

        Raises:
            FormatError: The text does not fit the call's format.
            CallbackError: The component cannot parse the text.
        """
        if self._parse_error is not None:
            raise raisable(self._parse_error)
        if self._parsed is _UNPARSED:
            try:
                self._parsed = parsed_by(self._origin.parse, self.text)
            except MelleaRxError as error:
                # A copy without frames, those of its cause included: they refer to this output,
                # and the two would keep each other alive until the garbage collector runs.
                self._parse_error = raisable(error)
                self._parse_error.__cause__ = self._parse_error.__context__ = None
                raise
        return self._parsed

    @property
    def parse_error(self) -> MelleaRxError | None:
        """The error that `parsed` raised; None where it raised none, or was not read."""
        return self._parse_error

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls that the model asked for."""
        return self._answer.tool_calls

    @property
    def thinking(self) -> str:
        """The model's reasoning; "" where it shows none."""
        return self._answer.thinking

    @property
    def usage(self) -> Usage | None:
        """Tokens of prompt and completion; None where the server sent none."""
        return self._answer.usage

    @property
    def finish_reason(self) -> str | None:
        """The reason why the model stopped: "stop", "length", "tool_calls", …; None for none."""
        return self._answer.finish_reason

    @property
    def model(self) -> str | None:
        """The model's name as the server gives it; None where it gives none."""
        return self._answer.model

    @property
    def context(self) -> Any:
        """The conversation that the call was made in, without the call's own turn."""
        return self._origin.context

    @property
    def session(self) -> Any:
        """The session that made the call; None where there is none any more."""
        return self._origin.session()

    @property
    def attempt(self) -> int:
        """The number of the attempt, from 1."""
        return self._attempt

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self._answer, self._attempt)

    def __copy__(self) -> Self:
        """The same output, since it is immutable."""
        return self

    def __deepcopy__(self, _: object) -> Self:
        """The same output, since it is immutable."""
        return self


def _restored(kind: type[Output], answer: Chunk, attempt: int) -> Output:
    return kind(answer, attempt=attempt)
