"""The HTTP pipeline of backends: one request out, bytes in, chunks on.

A `Dialect` says how a server's protocol differs: its paths, its bodies, its decoder. Used by the
Ollama and OpenAI backends.
"""

from __future__ import annotations

import asyncio
import weakref
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
from reactivex import Observable

from mellea_rx.core.interfaces.backend import Capabilities, require_images
from mellea_rx.core.runtime.engine import Engine, engine
from mellea_rx.core.streams.chunk_source import ChunkSource, Push
from mellea_rx.core.streams.idle_timeout import IdleTimeout
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.options import Options
from mellea_rx.core.types.request import Request, RequestMessage
from mellea_rx.core.types.validation import fault_in, well_formed
from mellea_rx.errors import (
    BackendError,
    EngineStoppedError,
    InvalidInputError,
    ProtocolError,
    ResponseTooLargeError,
    StatusError,
    StreamInterruptedError,
    TLSError,
)
from mellea_rx.wire.error_text import excerpt
from mellea_rx.wire.http import HttpClient
from mellea_rx.wire.transport import Transport


def for_ollama(message: RequestMessage) -> dict[str, Any]:
    """A message in Ollama's format: images as plain base64, arguments as an object."""
    body: dict[str, Any] = {"role": message.role, "content": well_formed(message.content)}
    if message.images:
        body["images"] = [b64encode(image.data).decode() for image in message.images]
    if message.tool_calls:
        body["tool_calls"] = [
            {"function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.role == "tool" and message.tool_name:
        body["tool_name"] = message.tool_name
    return body


def for_openai(message: RequestMessage) -> dict[str, Any]:
    """A message in OpenAI's format: images as content parts, arguments as a JSON string."""
    content = well_formed(message.content)
    body: dict[str, Any] = {"role": message.role, "content": content}
    if message.images:
        text = [{"type": "text", "text": content}] if content else []
        pictures = [
            {"type": "image_url", "image_url": {"url": image.address}} for image in message.images
        ]
        body["content"] = [*text, *pictures]
    if message.tool_calls:
        body["content"] = body["content"] or None
        body["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": msgspec.json.encode(call.arguments).decode(),
                },
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        body["tool_call_id"] = message.tool_call_id
    return body


_T = TypeVar("_T")

MODELS_TIMEOUT = 5.0
"""Time limit of requests for a list of models and the like, in seconds."""


class StreamDecoder(Protocol):
    """Decodes the bytes of one answer into chunks, without I/O.

    Attributes:
        done: Whether the answer is complete, by the server's protocol.
        error: An error that the server reported within the stream, or a fault of the stream. It is
            raised after the text before it was passed on.
        stray: The first bytes that do not belong to the protocol; b"" if there are none.
    """

    done: bool
    error: BackendError | None

    @property
    def stray(self) -> bytes: ...

    def feed(self, data: bytes) -> Chunk | None:
        """Decode a block.

        Returns:
            Its whole content as one chunk; None if it has no content.

        Raises:
            BackendError: The block does not follow the protocol.
        """
        ...

    def flush(self) -> Chunk | None:
        """Decode the rest at the end of the stream."""
        ...


class Dialect(Protocol):
    """The protocol of one kind of server, without I/O.

    Attributes:
        capabilities: The features of the server.
        generate_path: The path of requests for answers.
        models_path: The path of the list of models.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def generate_path(self) -> str: ...

    @property
    def models_path(self) -> str: ...

    def check(self, options: Options) -> None:
        """Check options.

        Raises:
            OptionError: The server does not support an option; the message names it.
        """
        ...

    def encode(self, request: Request, model: str) -> Mapping[str, Any]:
        """The request's JSON body."""
        ...

    def decoder(self) -> StreamDecoder:
        """A new decoder, for one answer."""
        ...

    def model_names(self, document: Any) -> list[str]:
        """The names of the models in a document from `models_path`."""
        ...

    def is_final(self, error: StatusError) -> bool:
        """Whether the same request would fail again, although its status says otherwise."""
        ...

    def hint(self, error: BackendError, model: str) -> str:
        """A remedy for an error, for its message; "" if there is none."""
        ...


class _Answer:
    """Passes the blocks of one answer to its decoder, and pushes the chunks."""

    __slots__ = ("_decoder", "_push", "_watch")

    def __init__(self, decoder: StreamDecoder, push: Push, watch: IdleTimeout) -> None:
        self._decoder = decoder
        self._push = push
        self._watch = watch

    def feed(self, data: bytes) -> bool:
        decoder = self._decoder
        chunk = decoder.feed(data)
        if chunk is not None:
            self._watch.touch()
            self._push(chunk)
        if decoder.error is not None:
            raise decoder.error
        return decoder.done


class HttpBackend:
    """A backend over HTTP.

    Args:
        name: Its name in messages and logs.
        dialect: The server's protocol.
        client: The HTTP client for the server.
        model: The model's name.
        model_options: Options for every request that does not set them itself.
    """

    def __init__(
        self,
        name: str,
        dialect: Dialect,
        client: HttpClient,
        model: str,
        model_options: Mapping[Any, Any] | None = None,
    ) -> None:
        self.name = name
        self.model = model
        self.model_options = Options(model_options)
        dialect.check(self.model_options)
        self._dialect = dialect
        self._client = client
        self._clients = _ClientOfEachEngine(client)
        # Closes the connections, on their engines, when the backend is garbage-collected. Not at
        # exit: the engines have closed them by then.
        weakref.finalize(self, self._clients.close).atexit = False

    @property
    def capabilities(self) -> Capabilities:
        """The features of the server."""
        return self._dialect.capabilities

    @property
    def origin(self) -> str:
        """The server's scheme, host and port."""
        return self._client.origin

    @property
    def loops(self) -> tuple[asyncio.AbstractEventLoop, ...]:
        """The event loops that have to run for its requests: the loop of an `http_session`."""
        return self._client.loops

    def check(self, options: Options) -> None:
        """Check options.

        Raises:
            OptionError: The server does not support an option; the message names it.
        """
        self._dialect.check(options)

    def stream(self, request: Request) -> Observable[Chunk]:
        """Generate: a cold observable of chunks; see `Backend.stream`."""
        return ChunkSource(partial(self._produce, request))

    async def models(self) -> list[str]:
        """The names of the server's models.

        Raises:
            BackendError: The server does not answer, or not with a list of models.
        """
        return await self.list_by(self._dialect.model_names)

    async def list_by(self, read: Callable[[Any], _T]) -> _T:
        """Request the server's list of models.

        Args:
            read: Converts the JSON document.

        Raises:
            BackendError: The server does not answer, or not with a list of models.
        """
        return await self.ask(self._dialect.models_path, None, read)

    async def ask(
        self, path: str, question: Mapping[str, Any] | None, read: Callable[[Any], _T]
    ) -> _T:
        """Request a JSON document from the server.

        Args:
            path: Appended to the base URL.
            question: JSON to post; None for a GET.
            read: Converts the document.

        Raises:
            BackendError: The server does not answer, or with another document.
        """
        body = None if question is None else msgspec.json.encode(question)
        return await engine().run(partial(self._ask, path, body, read))

    def close(self) -> None:
        """Close the connections. A later request opens new ones."""
        self._clients.close()

    async def aclose(self) -> None:
        """Close the connections, and wait until they are closed."""
        await self._clients.aclose()

    async def _produce(self, request: Request, push: Push) -> None:
        require_images(self, request.images)
        client = self._clients.current()
        dialect, model = self._dialect, self.model
        decoder = dialect.decoder()
        try:
            with IdleTimeout(request.options, self._client.origin) as watch:
                answer = _Answer(decoder, push, watch)
                # No local name for the body: it would stay in memory as long as the answer streams.
                await client.exchange(
                    "POST",
                    dialect.generate_path,
                    _encoded(dialect.encode(request, model)),
                    answer.feed,
                    watch.queued,
                )
            self._finish(decoder, push)
        except BackendError as error:
            self._amend(error)
            raise

    def _finish(self, decoder: StreamDecoder, push: Push) -> None:
        chunk = decoder.flush()
        if chunk is not None:
            push(chunk)
        if decoder.error is not None:
            raise decoder.error
        if decoder.done:
            return
        if decoder.stray:
            raise ProtocolError(
                f"{self.origin} answered with something else: {excerpt(decoder.stray.strip())}"
            )
        raise StreamInterruptedError(
            f"the answer of {self.origin} ended without its end: the server stopped half-way"
        )

    def _amend(self, error: BackendError) -> None:
        """Remove the key from an error's message, and add a hint.

        In place: a new error would have this one, with the key, as its `__context__`.
        """
        if isinstance(error, StatusError) and self._dialect.is_final(error):
            error.is_transient = False
        # All but the origin: that stays in the message, even if a key is a part of its name.
        said = self.origin.join(map(self._client.redact, str(error).split(self.origin)))
        # A TLS error has its own remedy; "start the server" would be wrong.
        is_tls = isinstance(error, TLSError)
        hint = "" if is_tls else self._dialect.hint(error, self.model)
        error.args = (f"{said}\n  {hint}" if hint and hint not in said else said,)

    async def _ask(self, path: str, body: bytes | None, read: Callable[[Any], _T]) -> _T:
        client = self._clients.current()
        try:
            document = await client.get_json(path, timeout=MODELS_TIMEOUT, body=body)
            return read(document)
        except BackendError as error:
            self._amend(error)
            raise
        except (KeyError, TypeError, AttributeError):
            what = "list its models" if path == self._dialect.models_path else f"tell {path}"
            raise ProtocolError(f"{self.origin} did not {what}") from None

    def __repr__(self) -> str:
        if "_client" not in vars(self):  # a traceback may show an object whose `__init__` failed
            return f"<{type(self).__name__}>"
        return f"<{type(self).__name__} {self.model!r} at {self.origin}>"


class _ClientOfEachEngine:
    """One client for each engine that sends requests, since a connection belongs to one event loop.

    Most programs have one engine. There is a second one if a program runs one on its own loop
    (`mellea_rx.run`), and after a fork.

    Args:
        client: The clients are copies of it.
    """

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        # No lock: only the thread of an engine adds its entry, and one operation of a dict is
        # atomic. Other threads may remove entries meanwhile, hence the copies of the keys (`list`)
        # and the default of `pop`.
        self._clients: dict[Engine, HttpClient] = {}

    def current(self) -> HttpClient:
        """The client of the engine that this code runs on."""
        running = engine()
        client = self._clients.get(running)
        return self._create_for(running) if client is None else client

    def _create_for(self, running: Engine) -> HttpClient:
        for other in list(self._clients):
            if other.has_stopped:  # it has closed its connections
                self._clients.pop(other, None)
        client = self._clients[running] = self._client.with_own_connections()
        running.keep(client.transport)
        running.adopt(client.transport)
        return client

    def _take_open(self) -> list[tuple[Engine, Transport]]:
        """Remove all clients; returns the open transports of those, and forgets the others."""
        opened = []
        for running in list(self._clients):
            client = self._clients.pop(running, None)
            if client is None:
                continue
            if client.transport.is_open:
                opened.append((running, client.transport))
            else:
                with suppress(EngineStoppedError):
                    running.forget(client.transport)
        return opened

    def close(self) -> None:
        """Close all connections soon, each on its engine. Thread-safe."""
        for running, transport in self._take_open():
            with suppress(EngineStoppedError):  # it has closed them
                running.close(transport)

    async def aclose(self) -> None:
        """Close all connections, and wait until they are closed."""
        for running, transport in self._take_open():
            with suppress(EngineStoppedError):
                await running.aclose(transport)


def _encoded(body: Mapping[str, Any]) -> bytes:
    """Encode a request as JSON.

    Raises:
        InvalidInputError: It contains a value that JSON cannot represent; the message names the
            place.
    """
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"the request cannot be sent: {fault_in(body) or error}") from None


def arguments_too_large(who: str, limit: int) -> ResponseTooLargeError:
    """The error of a tool call whose arguments are longer than the limit.

    Args:
        who: The server's name in messages.
        limit: The limit, in bytes.
    """
    return ResponseTooLargeError(
        f"{who} sent a tool call whose arguments have more than {limit:,} bytes "
        "(Limits(tool_arguments=...))"
    )
