"""The one HTTP pipeline: request out, bytes in, chunks on. Servers differ by their dialect."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
from reactivex import Observable

from mellea_rx.core.backend import Capabilities, require_images
from mellea_rx.core.chunk import Chunk
from mellea_rx.core.engine import Engine, engine
from mellea_rx.core.json_value import fault_in
from mellea_rx.core.options import Options
from mellea_rx.core.request import Request
from mellea_rx.core.source import ChunkSource, Push
from mellea_rx.core.watch import StallWatch
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
from mellea_rx.wire.http import HttpClient
from mellea_rx.wire.transport import Transport
from mellea_rx.wire.words import excerpt

__all__ = ["Dialect", "HttpBackend", "StreamDecoder", "arguments_too_large"]

_T = TypeVar("_T")

MODELS_TIMEOUT = 5.0
"""How long a list of a server's models may take, in seconds."""


class StreamDecoder(Protocol):
    """Turns the bytes of one answer into chunks; no I/O.

    Attributes:
        done: Whether the server said that the answer is complete.
        error: What the server told of in the stream; raised after the text before it is passed on.
        stray: The beginning of what is no part of the protocol.
    """

    done: bool
    error: BackendError | None

    @property
    def stray(self) -> bytes: ...

    def feed(self, data: bytes) -> Chunk | None:
        """Take a block.

        Returns:
            All that it brought as one chunk; None where it brought nothing.

        Raises:
            BackendError: It is not the protocol.
        """
        ...

    def flush(self) -> Chunk | None:
        """Take the end of the bytes."""
        ...


class Dialect(Protocol):
    """What differs between servers. Knows no connection."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def generate_path(self) -> str: ...

    @property
    def models_path(self) -> str: ...

    def check(self, options: Options) -> None:
        """Refuse options that this server does not have, by name."""
        ...

    def encode(self, request: Request, model: str) -> Mapping[str, Any]:
        """The request's JSON body."""
        ...

    def decoder(self) -> StreamDecoder:
        """A new decoder, for one answer."""
        ...

    def model_names(self, document: Any) -> list[str]:
        """The names in a document from `models_path`."""
        ...

    def is_final(self, error: StatusError) -> bool:
        """Whether the same request fails again, whatever its status says."""
        ...

    def advice(self, error: BackendError, model: str) -> str:
        """What the user can do about an error ("" when there is nothing to say)."""
        ...


class _Answer:
    """From blocks of bytes to pushed chunks, for one request."""

    __slots__ = ("_decoder", "_push", "_watch")

    def __init__(self, decoder: StreamDecoder, push: Push, watch: StallWatch) -> None:
        self._decoder = decoder
        self._push = push
        self._watch = watch

    def feed(self, data: bytes) -> bool:
        decoder = self._decoder
        chunk = decoder.feed(data)
        if chunk is not None:
            self._watch.alive()
            self._push(chunk)
        if decoder.error is not None:
            raise decoder.error
        return decoder.done


class HttpBackend:
    """A backend over HTTP.

    Args:
        name: What messages call it.
        dialect: How to speak to it.
        client: Who speaks to it.
        model: The model that requests go to.
        model_options: Options for every request which does not set them itself.
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
        # A backend that is dropped unclosed still closes its connections, on their engines.
        weakref.finalize(self, self._clients.close).atexit = False

    @property
    def capabilities(self) -> Capabilities:
        """What the server can do beyond text from messages."""
        return self._dialect.capabilities

    @property
    def origin(self) -> str:
        """Where the server is: scheme, host and port."""
        return self._client.origin

    @property
    def loops(self) -> tuple[asyncio.AbstractEventLoop, ...]:
        """The event loops that have to run for its requests: that of an `http_session`."""
        return self._client.loops

    def check(self, options: Options) -> None:
        """Refuse options that this server does not have.

        Raises:
            OptionError: Names the option.
        """
        self._dialect.check(options)

    def stream(self, request: Request) -> Observable[Chunk]:
        """Generate: a cold observable of chunks; see `Backend.stream`."""
        return ChunkSource(partial(self._produce, request))

    async def models(self) -> list[str]:
        """The names of the models that the server has.

        Raises:
            BackendError: It does not answer, or not with a list of models.
        """
        return await self.list_by(self._dialect.model_names)

    async def list_by(self, read: Callable[[Any], _T]) -> _T:
        """The server's list of models, read by a function.

        Args:
            read: Takes the list's JSON document.

        Raises:
            BackendError: The server does not answer, or not with a list of models.
        """
        return await self.ask(self._dialect.models_path, None, read)

    async def ask(
        self, path: str, question: Mapping[str, Any] | None, read: Callable[[Any], _T]
    ) -> _T:
        """Something else that the server tells besides answers, as a JSON document.

        Args:
            path: Appended to the base URL.
            question: JSON that is posted; None for a GET.
            read: Takes the document.

        Raises:
            BackendError: The server does not answer, or with another document.
        """
        body = None if question is None else msgspec.json.encode(question)
        return await engine().run(partial(self._ask, path, body, read))

    def close(self) -> None:
        """Close the connections. A later request opens new ones."""
        self._clients.close()

    async def aclose(self) -> None:
        """As `close`, and wait until the connections are closed."""
        await self._clients.aclose()

    async def _produce(self, request: Request, push: Push) -> None:
        require_images(self, request.images)
        client = self._clients.here()
        dialect, model = self._dialect, self.model
        decoder = dialect.decoder()
        try:
            with StallWatch(request.options, self._client.origin) as watch:
                answer = _Answer(decoder, push, watch)
                # The body has no name here: it would be kept as long as the answer streams.
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
        """Take the key out of what an error says, and add what can be done about it.

        In place: a new error would have this one, and what it says, as its context.
        """
        if isinstance(error, StatusError) and self._dialect.is_final(error):
            error.is_passing = False
        # Between the origins, which are our own words: a key may be called as the host is.
        said = self.origin.join(map(self._client.redact, str(error).split(self.origin)))
        # It answers, so nothing has to be started; the error itself says what TLS misses.
        is_tls = isinstance(error, TLSError)
        advice = "" if is_tls else self._dialect.advice(error, self.model)
        error.args = (f"{said}\n  {advice}" if advice and advice not in said else said,)

    async def _ask(self, path: str, body: bytes | None, read: Callable[[Any], _T]) -> _T:
        client = self._clients.here()
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
        if "_client" not in vars(self):  # a traceback may show one that could not be made
            return f"<{type(self).__name__}>"
        return f"<{type(self).__name__} {self.model!r} at {self.origin}>"


class _ClientOfEachEngine:
    """A client for each engine that sends requests: a connection lives on one event loop.

    Most programs have one engine. A second one is there where a program runs one on its own loop
    (`mellea_rx.run`), and after a fork.

    Args:
        client: Theirs are like this one.
    """

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        # Each entry is made on its own engine's thread, and one dict operation is not torn by
        # another thread's: no lock is needed.
        self._clients: dict[Engine, HttpClient] = {}

    def here(self) -> HttpClient:
        """The client of the engine that this code runs on."""
        running = engine()
        client = self._clients.get(running)
        return self._made_for(running) if client is None else client

    def _made_for(self, running: Engine) -> HttpClient:
        for other in list(self._clients):
            if other.has_stopped:
                self._clients.pop(other, None)
        client = self._clients[running] = self._client.with_own_connections()
        running.keep(client.transport)
        running.adopt(client.transport)
        return client

    def _taken_out(self) -> list[tuple[Engine, Transport]]:
        taken = [(running, self._clients.pop(running, None)) for running in list(self._clients)]
        return [
            (running, client.transport)
            for running, client in taken
            if client is not None and client.transport.is_open
        ]

    def close(self) -> None:
        """Close all connections soon, each on its engine. From any thread."""
        for running, transport in self._taken_out():
            with suppress(EngineStoppedError):  # it closed them
                running.close(transport)

    async def aclose(self) -> None:
        """Close all connections, and wait until they are closed."""
        for running, transport in self._taken_out():
            with suppress(EngineStoppedError):
                await running.aclose(transport)


def _encoded(body: Mapping[str, Any]) -> bytes:
    """The JSON of a request.

    Raises:
        InvalidInputError: It holds what JSON does not have; the message says where.
    """
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"the request cannot be sent: {fault_in(body) or error}") from None


def arguments_too_large(who: str, limit: int) -> ResponseTooLargeError:
    """What to raise for a tool call whose arguments have more bytes than is allowed."""
    return ResponseTooLargeError(
        f"{who} sent a tool call whose arguments have more than {limit:,} bytes "
        "(Limits(tool_arguments=...))"
    )
