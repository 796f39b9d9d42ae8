"""A request to the embedded model, in llama.cpp's words: its options, and its text as text."""

from __future__ import annotations

from typing import Any

from mellea_rx.backends.control_tokens import ControlTokens
from mellea_rx.core.json_value import well_formed
from mellea_rx.core.options import ModelOption
from mellea_rx.core.request import Request

__all__ = ["DEFAULT_MAX_NEW_TOKENS", "LocalRequest"]

DEFAULT_MAX_NEW_TOKENS = 1024
"""Tokens of an answer where no option limits them: small models may repeat themselves for ever."""


class LocalRequest:
    """A request, on its way into llama.cpp.

    Args:
        request: The conversation and its options, checked.

    Attributes:
        joiner: The character that was put into control tokens of its text; "" where there is
            none. Known once `encode` has run.
        is_limited_by_default: Whether only `DEFAULT_MAX_NEW_TOKENS` limits the answer's length.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.joiner = ""
        self.is_limited_by_default = request.options.get(ModelOption.MAX_NEW_TOKENS) is None

    def encode(self, control_tokens: ControlTokens) -> dict[str, Any]:
        """The body of a chat completion's request; takes time with a long prompt.

        Args:
            control_tokens: The texts that the model would not take for text.
        """
        body = _parameters(self._request)
        if "chat_template_kwargs" in body:  # a template may write them into the prompt
            body["chat_template_kwargs"] = control_tokens.broken_in(body["chat_template_kwargs"])
        body["messages"] = self._messages(control_tokens)
        # Progress comes for each block of the prompt: the one chance to stop before the first
        # token.
        body.update(stream=True, return_progress=True, stream_options={"include_usage": True})
        return body

    def restored(self, text: str) -> str:
        """A piece of the answer, without the joiners that the model repeats from its prompt."""
        return text.replace(self.joiner, "") if self.joiner else text

    def _messages(self, control_tokens: ControlTokens) -> list[dict[str, Any]]:
        given = [well_formed(message.content) for message in self._request.messages]
        told = [control_tokens.broken(text) for text in given]
        # Where the text has such characters of its own, they are not to be told apart.
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
