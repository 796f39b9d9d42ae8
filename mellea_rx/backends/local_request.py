"""Encodes a request for llama.cpp: its options, and its messages with control tokens broken.

`LocalBackend` uses it.
"""

from __future__ import annotations

from typing import Any

from mellea_rx.backends.control_tokens import ControlTokens
from mellea_rx.core.json_value import well_formed
from mellea_rx.core.options import ModelOption
from mellea_rx.core.request import Request

__all__ = ["DEFAULT_MAX_NEW_TOKENS", "LocalRequest"]

DEFAULT_MAX_NEW_TOKENS = 1024
"""Default limit of an answer, in tokens: small models may repeat themselves for ever."""


class LocalRequest:
    """A request in llama.cpp's format.

    Args:
        request: The conversation and its options, already checked.

    Attributes:
        joiner: The character that `encode` inserted into control tokens of the text; "" if there
            were none.
        is_limited_by_default: Whether only `DEFAULT_MAX_NEW_TOKENS` limits the answer.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.joiner = ""
        self.is_limited_by_default = request.options.get(ModelOption.MAX_NEW_TOKENS) is None

    def encode(self, control_tokens: ControlTokens) -> dict[str, Any]:
        """The body of a chat completion request. Slow for long prompts: not for the engine's
        thread.

        Args:
            control_tokens: The model's control tokens.
        """
        body = _parameters(self._request)
        if "chat_template_kwargs" in body:  # a template may write them into the prompt
            body["chat_template_kwargs"] = control_tokens.broken_in(body["chat_template_kwargs"])
        body["messages"] = self._messages(control_tokens)
        # With progress, llama.cpp calls back for each block of the prompt. Without it, a generation
        # could not be stopped before its first token.
        body.update(stream=True, return_progress=True, stream_options={"include_usage": True})
        return body

    def restored(self, text: str) -> str:
        """A piece of the answer without the joiners that the model copied from its prompt."""
        return text.replace(self.joiner, "") if self.joiner else text

    def _messages(self, control_tokens: ControlTokens) -> list[dict[str, Any]]:
        given = [well_formed(message.content) for message in self._request.messages]
        told = [control_tokens.broken(text) for text in given]
        # If the text itself contains that character, the inserted ones cannot be distinguished, and
        # none are removed from the answer.
        if told != given and not any(control_tokens.joiner in text for text in given):
            self.joiner = control_tokens.joiner
        return [
            {"role": message.role, "content": text}
            for message, text in zip(self._request.messages, told, strict=True)
        ]


def _parameters(request: Request) -> dict[str, Any]:
    options = request.options
    body: dict[str, Any] = dict(options.extra)
    named = {
        "temperature": options.get(ModelOption.TEMPERATURE),
        "seed": options.get(ModelOption.SEED),
        "max_tokens": options.get(ModelOption.MAX_NEW_TOKENS, DEFAULT_MAX_NEW_TOKENS),
        "stop": options.stop_sequences or None,
    }
    body.update({key: value for key, value in named.items() if value is not None})
    thinking = options.get(ModelOption.THINKING)
    if thinking is not None:
        given = body.get("chat_template_kwargs") or {}
        body["chat_template_kwargs"] = {**given, "enable_thinking": thinking}
    if request.schema is not None:
        schema = {"schema": dict(request.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body
