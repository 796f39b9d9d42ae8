"""`Chunk`: a piece of a completion. It goes from the wire through pipelines to every subscriber."""

from __future__ import annotations

from typing import Any

import msgspec

from mellea_rx.errors import RetractedError


class Usage(msgspec.Struct, frozen=True):
    """The tokens of a generation.

    Attributes:
        prompt_tokens: Tokens of the prompt.
        completion_tokens: Tokens that the model generated.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Tokens of prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


class ToolCall(msgspec.Struct, frozen=True):
    """The model asks to call a tool.

    Attributes:
        name: The tool's name.
        arguments: Its arguments, by parameter name.
        id: The server's name for this call ("" where it gives none).
    """

    name: str
    arguments: dict[str, Any]
    id: str = ""


class Chunk(msgspec.Struct, frozen=True):
    """A piece of a completion: text, reasoning, tool calls, usage, the finish reason.

    `str(chunk)` is its text.

    Example:
        >>> str(Chunk("Hel")) + str(Chunk("lo"))
        'Hello'

    Attributes:
        text: A piece of the answer.
        thinking: A piece of the model's reasoning.
        tool_calls: Tool calls that this chunk completes.
        usage: Tokens, where the server reports them.
        finish_reason: The reason why the model stopped, on the last chunk: "stop", "length",
            "tool_calls", "refusal" (the text is the model's refusal), "content_filter" (the server
            stopped it), …
        model: The model's name as the server gives it.
        arguments_size: The number of characters of arguments in this chunk, for tool calls that are
            not complete. It shows only that the model is at work.
    """

    text: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None
    finish_reason: str | None = None
    model: str | None = None
    arguments_size: int = 0

    def __str__(self) -> str:
        return self.text

    def __bool__(self) -> bool:
        """Whether it has text, reasoning or tool calls."""
        return bool(self.text or self.thinking or self.tool_calls)


class Retracted(Chunk, frozen=True, kw_only=True):
    """A retraction: text that a reader or subscriber has got is void.

    It comes in the place of a chunk where a call releases text that may still be rejected
    (`release=` and `on_reject=` of sampling strategies). The text after it continues what is left.

    Example:
        >>> shown = "I like cats. And dogs."
        >>> shown[: len(shown) - Retracted(characters=9, reason="no dogs").characters]
        'I like cats. '

    Attributes:
        characters: The number of characters that are void, counted from the end of the text that
            came before.
        reason: The reason of the rejection, in words.
    """

    characters: int
    reason: str = ""

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"Retracted(characters={self.characters}, reason={self.reason!r})"

    def __str__(self) -> str:
        """Raises: it has no text, and an operator on text must not go on with text that is void."""
        raise self.as_error()

    @classmethod
    def joined(cls, pending: Retracted | None, characters: int, reason: str) -> Retracted | None:
        """A retraction that was not delivered yet, and the next one, as one; None for none."""
        earlier = 0 if pending is None else pending.characters
        if characters <= 0:
            return pending
        return cls(characters=earlier + characters, reason=reason)

    def as_error(self) -> RetractedError:
        """The error for a place that takes text, and no retractions."""
        return RetractedError(
            f"the last {self.characters} characters of a stream's text are void: {self.reason}\n"
            "  where retractions can come: `apply_retractions()` gives the text that stands, "
            "`astream(retractions=True)` reads them as items",
            characters=self.characters,
            reason=self.reason,
        )


def as_chunk(item: object) -> Chunk:
    """A chunk as it is; for anything else a chunk with the text `str(item)`."""
    return item if isinstance(item, Chunk) else Chunk(str(item))


def plain_chunk(item: object) -> Chunk:
    """As `as_chunk`, for an operator that cannot take text back.

    Raises:
        RetractedError: The item is a retraction.
    """
    if isinstance(item, Retracted):
        raise item.as_error()
    return as_chunk(item)


def with_text(chunk: Chunk, text: str) -> Chunk:
    """The chunk with another text."""
    return chunk if text == chunk.text else msgspec.structs.replace(chunk, text=text)
