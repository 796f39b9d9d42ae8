"""Anything that speaks OpenAI's protocol: `POST /v1/chat/completions`, server-sent events.

Protocol: https://platform.openai.com/docs/api-reference/chat-streaming, and what vLLM, llama.cpp,
LM Studio, OpenRouter, Azure and Ollama's own /v1 make of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from mellea_rx.backends.http_backend import HttpBackend
from mellea_rx.backends.messages import for_openai
from mellea_rx.backends.openai_schema import answer_value, response_format
from mellea_rx.core.backend import Capabilities
from mellea_rx.core.chunk import Chunk, ToolCall, Usage
from mellea_rx.core.options import ModelOption, Options
from mellea_rx.core.request import Request
from mellea_rx.core.source import Push
from mellea_rx.errors import (
    AuthenticationError,
    BackendError,
    ConnectionFailedError,
    GenerationFailedError,
    ModelNotFoundError,
    OptionError,
    ProtocolError,
    StatusError,
)
from mellea_rx.wire.http import Limits, open_client
from mellea_rx.wire.payload import PayloadDecoder, excerpt
from mellea_rx.wire.sse import SseDecoder

__all__ = ["DEFAULT_BASE_URL", "DEFAULT_MODEL", "OpenAIBackend"]

DEFAULT_BASE_URL = "https://api.openai.com/v1"
DEFAULT_MODEL = "gpt-4o-mini"
"""The model of a session that names none."""

_EFFORTS_ONLY = (
    "this protocol takes ModelOption.THINKING as an effort: 'low', 'medium' or 'high', not {!r}"
)


class OpenAIBackend(HttpBackend):
    """A model on a server that speaks OpenAI's protocol.

    Args:
        model_id: The model's name ("gpt-4o-mini" by default).
        base_url: Where the server is, with or without its "/v1"; `OPENAI_BASE_URL`, else
            https://api.openai.com/v1, by default.
        api_key: The key; `OPENAI_API_KEY` by default, but only for the address that the
            environment (or the default) gives: a key goes to no server that it was not given for.
        model_options: Options for every request which does not set them itself.
        limits: What to wait for and take at most.

    Example:
        >>> backend = OpenAIBackend("qwen3", base_url="http://localhost:8000")
        >>> backend.origin
        'http://localhost:8000'

    Raises:
        InvalidInputError: `base_url` is no http or https address.
        OptionError: A model option that this protocol does not have.
    """

    def __init__(
        self,
        model_id: str | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        model_options: Mapping[Any, Any] | None = None,
        limits: Limits | None = None,
    ) -> None:
        known = os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL
        address = with_version(base_url or known)
        key = api_key
        if key is None and address == with_version(known):
            key = os.environ.get("OPENAI_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        client = open_client(address, headers, (key,) if key else (), limits or Limits())
        dialect = OpenAIDialect(client.origin, has_key=bool(key))
        super().__init__("openai", dialect, client, model_id or DEFAULT_MODEL, model_options)

    async def _produce(self, request: Request, push: Push) -> None:
        await answer_value(super()._produce, request, push)


def with_version(address: str) -> str:
    """An address with its "/v1", where it has no path of its own."""
    try:
        bare = urlsplit(address).path in ("", "/")
    except ValueError:
        return address
    return address.rstrip("/") + "/v1" if bare else address.rstrip("/")


class _CallFunction(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _CallDelta(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _CallFunction | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_CallDelta] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Event(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    model: str | None = None
    error: Any = None
    object: str | None = None
    message: Any = None


class _CallParts:
    """A tool call that comes in pieces."""

    __slots__ = ("arguments", "id", "index", "name")

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class OpenAIDecoder:
    """The events of one answer; see `StreamDecoder`."""

    __slots__ = (
        "_calls",
        "_events",
        "_finish",
        "_model",
        "_payloads",
        "_usage",
        "_who",
        "done",
        "error",
    )

    def __init__(self, who: str, payloads: PayloadDecoder[_Event] | None = None) -> None:
        self._events = SseDecoder()
        self._payloads = payloads or PayloadDecoder(_Event, who)
        self._who = who
        self._calls: list[_CallParts] = []
        self._finish: str | None = None
        self._usage: Usage | None = None
        self._model: str | None = None
        self.done = False
        self.error: BackendError | None = None

    @property
    def stray(self) -> bytes:
        """The beginning of what is no event."""
        return self._events.stray

    def feed(self, data: bytes) -> Chunk | None:
        return self._chunk(self._events.feed(data))

    def flush(self) -> Chunk | None:
        chunk = self._chunk(self._events.flush())
        # Some servers close after the finish_reason, without a [DONE]: that is an end too.
        if self._finish is not None and not self.done and self.error is None:
            return self._end(chunk)
        return chunk

    def _chunk(self, events: list[bytes]) -> Chunk | None:
        decode = self._payloads.decode
        texts: list[str] = []
        thoughts: list[str] = []
        for payload in events:
            if self.done or self.error is not None:
                break
            if payload == b"[DONE]":
                return self._end(Chunk("".join(texts), "".join(thoughts)))
            try:
                event = decode(payload)
            except BackendError as error:
                self.error = error
                break
            if not event.choices:
                self._without_choice(event)
                continue
            choice = event.choices[0]
            delta = choice.delta
            if delta is not None:
                if delta.content:
                    texts.append(delta.content)
                if delta.reasoning_content or delta.reasoning or delta.tool_calls:
                    self._beside_text(delta, thoughts)
            if choice.finish_reason or event.usage is not None or event.error is not None:
                self._note_end(event, choice)
        if texts or thoughts:
            return Chunk("".join(texts), "".join(thoughts))
        return None

    def _beside_text(self, delta: _Delta, thoughts: list[str]) -> None:
        thought = delta.reasoning_content or delta.reasoning
        if thought:
            thoughts.append(thought)
        for part in delta.tool_calls or ():
            self._add_call_part(part)

    def _add_call_part(self, part: _CallDelta) -> None:
        call = self._call_of(part)
        call.id = part.id or call.id
        if part.function is not None:
            call.name = call.name or part.function.name or ""
            call.arguments.append(part.function.arguments or "")

    def _call_of(self, part: _CallDelta) -> _CallParts:
        """The call that a piece belongs to: indexes may be missing, repeated, or begin above 0."""
        calls = self._calls
        if calls:
            latest = calls[-1]
            named = part.function is not None and bool(part.function.name) and bool(latest.name)
            begins = part.id != latest.id if part.id else named
            if part.index is None and not begins:
                return latest
            for call in reversed(calls):
                same_id = not part.id or not call.id or part.id == call.id
                if part.index is not None and call.index == part.index and same_id:
                    return call
        calls.append(_CallParts(part.index))
        return calls[-1]

    def _without_choice(self, event: _Event) -> None:
        if event.error is not None or event.object == "error":
            self._fail(event)
        elif event.usage is not None:
            self._usage = Usage(event.usage.prompt_tokens, event.usage.completion_tokens)
        self._model = event.model or self._model

    def _note_end(self, event: _Event, choice: _Choice) -> None:
        self._finish = choice.finish_reason or self._finish
        self._model = event.model or self._model
        if event.usage is not None:
            self._usage = Usage(event.usage.prompt_tokens, event.usage.completion_tokens)
        if event.error is not None or choice.finish_reason == "error":
            self._fail(event)

    def _fail(self, event: _Event) -> None:
        told = event.error if event.error is not None else event.message
        if isinstance(told, dict):
            told = told.get("message", told)
        self.error = GenerationFailedError(f"{self._who} failed while it answered: {told}")

    def _end(self, chunk: Chunk | None) -> Chunk | None:
        text, thinking = (chunk.text, chunk.thinking) if chunk is not None else ("", "")
        if self._finish is None:  # how Ollama's /v1 hides an error: no success, whatever it says
            return Chunk(text, thinking) if text or thinking else None
        self.done = True
        try:
            calls = tuple(self._tool_call(parts) for parts in self._calls)
        except ProtocolError as error:
            self.done, self.error, calls = False, error, ()
        return Chunk(text, thinking, calls, self._usage, self._finish, self._model)

    def _tool_call(self, parts: _CallParts) -> ToolCall:
        raw = "".join(parts.arguments)
        try:
            arguments = msgspec.json.decode(raw or "{}", type=dict[str, Any])
        except (ValueError, RecursionError):
            why = " (it was cut off by its length)" if self._finish == "length" else ""
            raise ProtocolError(
                f"{self._who} sent a call of tool {parts.name!r} whose arguments are no JSON "
                f"object{why}: {excerpt(raw.encode('utf-8', 'replace'))}"
            ) from None
        return ToolCall(parts.name, arguments, parts.id)


class OpenAIDialect:
    """How to speak OpenAI's protocol.

    Args:
        origin: What messages call the server.
        has_key: Whether requests carry a key.
    """

    generate_path = "/chat/completions"
    models_path = "/models"

    def __init__(self, origin: str, *, has_key: bool) -> None:
        self._origin = origin
        self._has_key = has_key
        self._payloads = PayloadDecoder(_Event, origin)
        self.capabilities = Capabilities(
            continues=not self._is_openais, schema=True, tools=True, images=True, image_urls=True
        )

    @property
    def _is_openais(self) -> bool:
        """Whether it is OpenAI's own server, which differs from those that speak its protocol."""
        return "api.openai.com" in self._origin

    def check(self, options: Options) -> None:
        """Refuse what the protocol does not have."""
        if ModelOption.CONTEXT_WINDOW in options.standard:
            raise OptionError(
                "OpenAI's protocol has no ModelOption.CONTEXT_WINDOW: the server decides it"
            )
        thinking = options.get(ModelOption.THINKING)
        if isinstance(thinking, bool):
            raise OptionError(_EFFORTS_ONLY.format(thinking))

    def encode(self, request: Request, model: str) -> Mapping[str, Any]:
        """The body of `/chat/completions`."""
        given = request.options
        body: dict[str, Any] = {
            "model": model,
            "messages": [for_openai(each) for each in request.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        for option, name in self._names().items():
            if option in given.standard:
                body[name] = given.standard[option]
        if given.stop_sequences:
            body["stop"] = given.stop_sequences
        if given.get(ModelOption.TOOLS):
            body["tools"] = list(given.standard[ModelOption.TOOLS])
        choice = given.get(ModelOption.TOOL_CHOICE)
        if choice is not None:
            body["tool_choice"] = _tool_choice(choice)
        if request.schema is not None:
            body["response_format"] = response_format(request.schema)
        if request.messages and request.messages[-1].role == "assistant":
            # vLLM has to be told; llama.cpp and Ollama go on by themselves.
            body.update(add_generation_prompt=False, continue_final_message=True)
        body.update(given.extra)
        return body

    def _names(self) -> Mapping[ModelOption, str]:
        # OpenAI's own newer models refuse max_tokens; most other servers know only that.
        limit = "max_completion_tokens" if self._is_openais else "max_tokens"
        return {
            ModelOption.TEMPERATURE: "temperature",
            ModelOption.SEED: "seed",
            ModelOption.MAX_NEW_TOKENS: limit,
            ModelOption.THINKING: "reasoning_effort",
        }

    def decoder(self) -> OpenAIDecoder:
        """A decoder for one answer."""
        return OpenAIDecoder(self._origin, self._payloads)

    def model_names(self, document: Any) -> list[str]:
        """The names in `/models`."""
        return sorted(entry["id"] for entry in document["data"])

    def is_final(self, error: StatusError) -> bool:
        """Whether the same request fails again, whatever its status says."""
        return False

    def advice(self, error: BackendError, model: str) -> str:
        """What to do about an error."""
        if isinstance(error, AuthenticationError):
            if self._has_key:
                return "the key was refused: check OPENAI_API_KEY, or give api_key="
            return (
                "no key was sent: set OPENAI_API_KEY (it is used with OPENAI_BASE_URL or the "
                "default address only), or give api_key="
            )
        if isinstance(error, ModelNotFoundError):
            return f"is {model!r} a model of this server? `mellea-rx doctor` lists those there are"
        if isinstance(error, ConnectionFailedError):
            return "start the server, or give its address as base_url= or OPENAI_BASE_URL"
        return ""


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, str) and choice not in ("auto", "none", "required"):
        return {"type": "function", "function": {"name": choice}}
    return choice
