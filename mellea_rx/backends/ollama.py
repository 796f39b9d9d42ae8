"""The backend for Ollama: `POST /api/chat`, newline-delimited JSON.

Protocol: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from mellea_rx.backends.http import HttpBackend, arguments_too_large, for_ollama
from mellea_rx.core.interfaces.backend import Capabilities
from mellea_rx.core.types.chunk import Chunk, ToolCall, Usage
from mellea_rx.core.types.options import ModelOption, Options
from mellea_rx.core.types.request import Request
from mellea_rx.core.types.validation import require_model_name
from mellea_rx.errors import (
    BackendError,
    ConnectionFailedError,
    GenerationFailedError,
    ModelNotFoundError,
    OptionError,
    StatusError,
)
from mellea_rx.wire.error_text import message_of
from mellea_rx.wire.http import open_client
from mellea_rx.wire.json_payload import PayloadDecoder, as_count, as_text
from mellea_rx.wire.line_decoder import LineDecoder
from mellea_rx.wire.redaction import as_key, credentials, without_login
from mellea_rx.wire.transport import Limits

if TYPE_CHECKING:
    from aiohttp import ClientSession

__all__ = ["DEFAULT_MODEL", "ListedModel", "OllamaBackend", "ollama_address"]

DEFAULT_MODEL = "llama3.2"
"""The model of a session that does not name one."""

_DEFAULT_PORT = 11434

_TOP_LEVEL = frozenset(
    {"format", "keep_alive", "logprobs", "model", "shift", "top_logprobs", "truncate"}
)
"""Parameters that stand at the top level of a request's body, and not within `options`."""

_OPTION_NAMES: Mapping[ModelOption, str] = {
    ModelOption.TEMPERATURE: "temperature",
    ModelOption.SEED: "seed",
    ModelOption.MAX_NEW_TOKENS: "num_predict",
    ModelOption.CONTEXT_WINDOW: "num_ctx",
}


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model in a server's list.

    Attributes:
        name: Its name in requests.
        is_local: Whether it runs on that server, and not in a cloud behind it.
    """

    name: str
    is_local: bool = True


class OllamaBackend(HttpBackend):
    """A model on an Ollama server.

    Args:
        model_id: The model's name, as `ollama list` shows it ("llama3.2" by default).
        base_url: The server's address; by default `OLLAMA_HOST`, else http://localhost:11434.
        api_key: A key for a server behind a proxy that needs one; sent as a bearer token.
        model_options: Options for every request that does not set them itself.
        limits: Times, sizes and the number of connections.
        http_session: An aiohttp session that sends the requests (for proxies, client certificates,
            tracing), on its own event loop; never closed here. By default the library's own
            connections are used.

    Example:
        >>> backend = OllamaBackend("llama3.2", model_options={ModelOption.TEMPERATURE: 0})
        >>> backend.name
        'ollama'

    Raises:
        InvalidInputError: `base_url` is not an http(s) address, or `http_session` not an open
            session.
        OptionError: A model option that this server does not support.
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
        base_url, login = without_login(base_url or ollama_address(os.environ.get("OLLAMA_HOST")))
        known = credentials(api_key, login)
        client = open_client(
            base_url, known.headers, known.secrets, limits or Limits(), http_session
        )
        super().__init__(
            "ollama",
            OllamaDialect(client.origin, client.limits),
            client,
            model_id or DEFAULT_MODEL,
            model_options,
        )

    async def listed_models(self) -> list[ListedModel]:
        """The server's models; those that run on it first.

        Raises:
            BackendError: The server does not answer, or not with a list of models.
        """
        return await self.list_by(listed_models)

    async def context_length(self) -> int | None:
        """The number of tokens in the model's context; None if the server does not report it.

        Raises:
            BackendError: The server does not answer, or does not have the model.
        """
        return await self.ask("/api/show", {"model": self.model}, _context_length)


def _context_length(document: Any) -> int | None:
    """The length in `/api/show`; its key begins with the model's architecture."""
    told = document["model_info"].items()
    lengths = (value for key, value in told if key.endswith(".context_length"))
    return next((value for value in lengths if isinstance(value, int)), None)


def listed_models(document: Any) -> list[ListedModel]:
    """The models in `/api/tags`: those that run on the server first, each group sorted by name."""
    models = [ListedModel(entry["name"], _is_local(entry)) for entry in document["models"]]
    return sorted(models, key=lambda model: (not model.is_local, model.name))


def _is_local(entry: Mapping[str, Any]) -> bool:
    # Servers before 0.12 do not report `remote_host`; the tag of a cloud model ends in "cloud".
    tag = entry["name"].rpartition(":")[2]
    is_proxied = entry.get("remote_host") or entry.get("remote_model")
    return not (is_proxied or tag == "cloud" or tag.endswith("-cloud"))


def ollama_address(host: str | None) -> str:
    """The server's address from the value of `OLLAMA_HOST`, by the rules of Ollama itself.

    Args:
        host: "host", "host:port", ":port" or an http(s) address; None or "" for the default.

    Example:
        >>> ollama_address("0.0.0.0"), ollama_address("https://models.example")
        ('http://127.0.0.1:11434', 'https://models.example:443')
    """
    text = (host or "").strip().strip("\"'").strip()
    scheme, found, rest = text.partition("://")
    if not found:
        scheme, rest = "http", text
    port = {"http": 80, "https": 443}.get(scheme, _DEFAULT_PORT) if found else _DEFAULT_PORT
    parts = urlsplit(f"//{_bracketed(rest)}")
    name = parts.hostname or "localhost"
    try:
        port = parts.port or port
    except ValueError:  # not a number, or too large
        pass
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)
    shown = f"[{name}]" if ":" in name else name
    return f"{scheme}://{shown}:{port}{parts.path.rstrip('/')}"


def _bracketed(host: str) -> str:
    bare = host.partition("/")[0]
    return f"[{bare}]{host[len(bare) :]}" if bare.count(":") > 1 and "[" not in bare else host


_LIMITS = Limits()


# Fields of type Any are optional: one with a value of a wrong type counts as absent.


class _Function(msgspec.Struct):
    name: str = ""
    arguments: dict[str, Any] | None = None


class _Call(msgspec.Struct):
    function: _Function
    id: Any = None


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: Any = None
    tool_calls: list[_Call] | None = None


class _Line(msgspec.Struct):
    message: _Message | None = None
    done: bool | None = None
    done_reason: Any = None
    model: Any = None
    prompt_eval_count: Any = None
    eval_count: Any = None
    error: Any = None


class OllamaDecoder:
    """Decodes the lines of one answer; see `StreamDecoder`.

    Args:
        who: The server's name in messages.
        payloads: Decodes the lines; shared by the answers of a server.
        limits: The size limits.
    """

    __slots__ = ("_limits", "_lines", "_payloads", "_who", "done", "error")

    stray = b""

    def __init__(
        self,
        who: str,
        payloads: PayloadDecoder[_Line] | None = None,
        limits: Limits = _LIMITS,
    ) -> None:
        self._lines = LineDecoder(limits.line)
        self._limits = limits
        self._payloads = payloads or PayloadDecoder(_Line, who)
        self._who = who
        self.done = False
        self.error: BackendError | None = None

    def feed(self, data: bytes) -> Chunk | None:
        return self._chunk(self._lines.feed(data))

    def flush(self) -> Chunk | None:
        return self._chunk(self._lines.flush())

    def _chunk(self, lines: list[bytes]) -> Chunk | None:
        decode = self._payloads.decode
        texts: list[str] = []
        rest: list[_Line] = []
        for payload in lines:
            if not payload or self.done or self.error is not None:
                continue
            try:
                line = decode(payload)
            except BackendError as error:
                self.error = error
                break
            message = line.message
            if message is not None and message.tool_calls:
                self._limit_arguments(payload)
            if message is not None and message.content:
                texts.append(message.content)
            if line.done or line.error or message is None or not message.content:
                self._note(line)
                rest.append(line)
            elif message.thinking or message.tool_calls:
                rest.append(line)
        if rest:
            return self._full_chunk("".join(texts), rest)
        return Chunk("".join(texts)) if texts else None

    def _limit_arguments(self, payload: bytes) -> None:
        """Check the size of a tool call. It is complete in one line, so the line's size bounds that
        of the arguments."""
        if len(payload) > self._limits.tool_arguments:
            self.error = arguments_too_large(self._who, self._limits.tool_arguments)

    def _note(self, line: _Line) -> None:
        if line.error:
            self.error = GenerationFailedError(
                f"{self._who} failed while it answered: {message_of(line.error)}", quotes=True
            )
        self.done = self.done or bool(line.done)

    def _full_chunk(self, text: str, lines: list[_Line]) -> Chunk | None:
        thinking = "".join(as_text(each.message.thinking) for each in lines if each.message)
        calls = tuple(
            ToolCall(call.function.name, call.function.arguments or {}, as_text(call.id))
            for each in lines
            if each.message
            for call in each.message.tool_calls or ()
        )
        last = lines[-1]
        if last.done:
            # Ollama omits a count of 0.
            usage = Usage(as_count(last.prompt_eval_count) or 0, as_count(last.eval_count) or 0)
            reason = as_text(last.done_reason) or "stop"
            return Chunk(text, thinking, calls, usage, reason, as_text(last.model) or None)
        return Chunk(text, thinking, calls) if text or thinking or calls else None


class OllamaDialect:
    """Ollama's protocol; see `Dialect`.

    Args:
        origin: The server's name in messages.
        limits: The size limits of an answer.
    """

    generate_path = "/api/chat"
    models_path = "/api/tags"
    capabilities = Capabilities(prefill=True, schema=True, tools=True, images=True)

    def __init__(self, origin: str, limits: Limits = _LIMITS) -> None:
        self._origin = origin
        self._limits = limits
        self._payloads = PayloadDecoder(_Line, origin)

    def check(self, options: Options) -> None:
        """Check options; see `Dialect.check`."""
        if options.get(ModelOption.TOOL_CHOICE, "auto") != "auto":
            raise OptionError(
                "Ollama has no ModelOption.TOOL_CHOICE: it offers all ModelOption.TOOLS, or none"
            )

    def encode(self, request: Request, model: str) -> Mapping[str, Any]:
        """The body of `/api/chat`."""
        given = request.options
        body: dict[str, Any] = {
            "model": model,
            "messages": [for_ollama(each) for each in request.messages],
            "stream": True,
        }
        options: dict[str, Any] = {
            _OPTION_NAMES[option]: value
            for option, value in given.standard.items()
            if option in _OPTION_NAMES
        }
        if stop := given.stop_sequences:
            options["stop"] = stop
        if ModelOption.THINKING in given.standard:
            body["think"] = given.standard[ModelOption.THINKING]
        if given.get(ModelOption.TOOLS):
            body["tools"] = list(given.standard[ModelOption.TOOLS])
        if request.schema is not None:
            body["format"] = request.schema
        for key, value in given.extra.items():
            (body if key in _TOP_LEVEL else options)[key] = value
        if options:
            body["options"] = options
        return body

    def decoder(self) -> OllamaDecoder:
        """A new decoder, for one answer."""
        return OllamaDecoder(self._origin, self._payloads, self._limits)

    def model_names(self, document: Any) -> list[str]:
        """The names of the models in `/api/tags`; those that run on the server first."""
        return [model.name for model in listed_models(document)]

    def is_final(self, error: StatusError) -> bool:
        """Whether the request would fail again: Ollama sends 500 for an option of a wrong type."""
        return error.status == 500 and " must be of type " in str(error)

    def hint(self, error: BackendError, model: str) -> str:
        """A remedy for an error; "" if there is none."""
        if isinstance(error, ModelNotFoundError):
            return f"download the model with: ollama pull {model}"
        # Not of an error that comes again whatever server runs: of TLS, or of a user's session.
        if isinstance(error, ConnectionFailedError) and error.is_transient:
            return (
                "start it with: ollama serve (another address: OLLAMA_HOST, or base_url=), "
                'or use the embedded model: start_session("local")'
            )
        return ""
