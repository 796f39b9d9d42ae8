"""What a model says, piece by piece: the value that flows from the wire to every consumer."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["Chunk", "ToolCall", "Usage", "as_chunk", "with_text"]


class Usage(msgspec.Struct, frozen=True):
    """What a generation cost, in tokens.

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
    """A piece of a completion: some text, and whatever else came with it.

    `str(chunk)` is its text.

    Example:
        >>> str(Chunk("Hel")) + str(Chunk("lo"))
        'Hello'

    Attributes:
        text: What came of the answer.
        thinking: What came of the model's reasoning.
        tool_calls: Tool calls that are complete with this chunk.
        usage: Tokens, when the server tells them.
        finish_reason: Why the model stopped, on the last chunk: "stop", "length", "tool_calls",
            "refusal" (the text is the model's refusal), "content_filter" (the server stopped it), …
        model: The model's name as the server gives it.
        arguments_size: How many characters came of the arguments of tool calls that are still being
            written. They are progress, and nothing to show: the calls come when they are complete.
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
        """Whether there is anything in it that a reader could show."""
        return bool(self.text or self.thinking or self.tool_calls)


def as_chunk(item: object) -> Chunk:
    """A chunk as it is; of anything else a chunk with its text, `str(item)`."""
    return item if isinstance(item, Chunk) else Chunk(str(item))


def with_text(chunk: Chunk, text: str) -> Chunk:
    """The chunk with another text."""
    return chunk if text == chunk.text else msgspec.structs.replace(chunk, text=text)
