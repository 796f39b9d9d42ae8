"""`Chunk`: a piece of a completion. It goes from the wire through pipelines to every subscriber."""

from __future__ import annotations

from typing import Any

import msgspec


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


def as_chunk(item: object) -> Chunk:
    """A chunk as it is; for anything else a chunk with the text `str(item)`."""
    return item if isinstance(item, Chunk) else Chunk(str(item))


def with_text(chunk: Chunk, text: str) -> Chunk:
    """The chunk with another text."""
    return chunk if text == chunk.text else msgspec.structs.replace(chunk, text=text)
