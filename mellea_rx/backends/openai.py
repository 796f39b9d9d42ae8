"""The backend for servers with OpenAI's protocol: `POST /v1/chat/completions`, server-sent events.

Protocol: https://platform.openai.com/docs/api-reference/chat-streaming, and its variants of vLLM,
llama.cpp, LM Studio, OpenRouter, Azure and Ollama's own /v1.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mellea_rx.backends.http import HttpBackend, for_openai
from mellea_rx.backends.openai_schema import answer_value, response_format
from mellea_rx.backends.openai_stream import OpenAIDecoder, payloads_of
from mellea_rx.core.interfaces.backend import Capabilities
from mellea_rx.core.streams.chunk_source import Push
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.request import Request
from mellea_rx.core.types.validation import require_model_name
from mellea_rx.errors import (
    AuthenticationError,
    BackendError,
    ConfigurationError,
    ConnectionFailedError,
    ModelNotFoundError,
    OptionError,
    StatusError,
)
from mellea_rx.wire.http import open_client
from mellea_rx.wire.redaction import Address, as_key, credentials, without_login
from mellea_rx.wire.transport import Limits

if TYPE_CHECKING:
    from aiohttp import ClientSession

__all__ = ["DEFAULT_BASE_URL", "DEFAULT_MODEL", "OpenAIBackend"]

DEFAULT_BASE_URL = "https://api.openai.com/v1"
DEFAULT_MODEL = "gpt-4o-mini"
"""The model of a session that does not name one."""

_NAMES = frozenset({"max_completion_tokens", "random_seed"})
"""Option names of some servers: sent unchanged if the user wrote them."""

_EFFORTS_ONLY = (
    "this protocol takes ModelOption.THINKING as an effort: 'low', 'medium' or 'high', not {!r}"
)


class OpenAIBackend(HttpBackend):
    """A model on a server with OpenAI's protocol.

    Args:
        model_id: The model's name ("gpt-4o-mini" by default).
        base_url: The server's address, with or without "/v1"; by default `OPENAI_BASE_URL`, else
            https://api.openai.com/v1.
        api_key: The key; by default `OPENAI_API_KEY`, but only if the address is the environment's
            or the default one: that key is sent to no other server.
        model_options: Options for every request that does not set them itself.
        limits: Times, sizes and the number of connections.
        http_session: An aiohttp session that sends the requests (for proxies, client certificates,
            tracing), on its own event loop; never closed here. By default the library's own
            connections are used.

    Example:
        >>> backend = OpenAIBackend("qwen3", base_url="http://localhost:8000")
        >>> backend.origin
        'http://localhost:8000'

    Raises:
        InvalidInputError: `base_url` is not an http(s) address, or `http_session` not an open
            session.
        ConfigurationError: There is no key for OpenAI's own server.
        OptionError: A model option that this protocol does not support.
    """

    def __init__(
        self,
        model_id: str | None = None,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        model_options: Mapping[Any, Any] | None = None,
        limits: Limits | None = None,
        http_session: ClientSession | None = None,
    ) -> None:
        require_model_name(model_id)
        api_key = as_key(api_key)  # rebinds the variable, so that no traceback shows a key
        default = without_login(os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL)
        base_url, login = without_login(base_url) if base_url else default
        address = with_version(base_url)
        if api_key is None and login is None and address == with_version(default[0]):
            api_key = as_key(os.environ.get("OPENAI_API_KEY"))
        known = credentials(api_key, login)
        client = open_client(
            address, known.headers, known.secrets, limits or Limits(), http_session
        )
        has_key = bool(known.secrets)
        dialect = OpenAIDialect(client.origin, has_key=has_key, limits=client.limits)
        dialect.require_key()
        super().__init__("openai", dialect, client, model_id or DEFAULT_MODEL, model_options)

    async def _produce(self, request: Request, push: Push) -> None:
        await answer_value(super()._produce, request, push)


def with_version(address: str) -> str:
    """An address with "/v1" appended, if it has no path."""
    try:
        parts = urlsplit(address)
        path = parts.path.rstrip("/") or "/v1"
    except (ValueError, TypeError, AttributeError):  # no text, or no address: its client says so
        return address
    return Address(parts._replace(path=path).geturl())


class OpenAIDialect:
    """OpenAI's protocol; see `Dialect`.

    Args:
        origin: The server's name in messages.
        has_key: Whether requests contain a key.
        limits: The size limits of an answer.
    """

    generate_path = "/chat/completions"
    models_path = "/models"

    def __init__(self, origin: str, *, has_key: bool, limits: Limits | None = None) -> None:
        self._origin = origin
        self._limits = limits or Limits()
        self._has_key = has_key
        self._payloads = payloads_of(origin)
        self.capabilities = Capabilities(
            prefill=not self._is_openais, schema=True, tools=True, images=True, image_urls=True
        )

    @property
    def _is_openais(self) -> bool:
        """Whether it is OpenAI's own server, which differs from others with its protocol."""
        return "api.openai.com" in self._origin

    def require_key(self) -> None:
        """Check that there is a key for OpenAI's own server; other servers may need none.

        Raises:
            ConfigurationError: There is no key.
        """
        if self._is_openais and not self._has_key:
            raise ConfigurationError(
                "OpenAI needs a key: set OPENAI_API_KEY, or give api_key= (for another server with "
                "this protocol give base_url=, or set OPENAI_BASE_URL)"
            )

    def check(self, options: Options) -> None:
        """Check options; see `Dialect.check`."""
        if ModelOption.CONTEXT_WINDOW in options.standard:
            raise OptionError(
                "OpenAI's protocol has no ModelOption.CONTEXT_WINDOW: the server decides it"
            )
        if options.extra.get("n", 1) != 1:
            raise OptionError(
                "'n' cannot be set: one call is one answer; make several calls, or let a strategy "
                "make several attempts (strategy=BestOfN(3))"
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
                spelled = given.spelled.get(option, name)
                body[spelled if spelled in _NAMES else name] = given.standard[option]
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
            # A prefill: the answer continues this message. vLLM needs these parameters; llama.cpp
            # and Ollama do not.
            body.update(add_generation_prompt=False, continue_final_message=True)
        body.update(given.extra)
        return body

    def _names(self) -> Mapping[ModelOption, str]:
        # OpenAI's own newer models reject max_tokens; most other servers know only that.
        limit = "max_completion_tokens" if self._is_openais else "max_tokens"
        return {
            ModelOption.TEMPERATURE: "temperature",
            ModelOption.SEED: "seed",
            ModelOption.MAX_NEW_TOKENS: limit,
            ModelOption.THINKING: "reasoning_effort",
        }

    def decoder(self) -> OpenAIDecoder:
        """A new decoder, for one answer."""
        return OpenAIDecoder(self._origin, self._payloads, self._limits)

    def model_names(self, document: Any) -> list[str]:
        """The names of the models in `/models`."""
        return sorted(entry["id"] for entry in document["data"])

    def is_final(self, error: StatusError) -> bool:
        """Never: its statuses are right."""
        return False

    def hint(self, error: BackendError, model: str) -> str:
        """A remedy for an error; "" if there is none."""
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
