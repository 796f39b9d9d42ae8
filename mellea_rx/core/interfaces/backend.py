"""The interface of a backend: `Backend`, its optional members, and the functions that read them.

Backends implement it; sessions and pipelines use it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

from reactivex import Observable

from mellea_rx.core.interfaces.optional import optional_member
from mellea_rx.core.types.chunk import Chunk
from mellea_rx.core.types.image import Image
from mellea_rx.core.types.options import Options
from mellea_rx.core.types.request import Request
from mellea_rx.core.types.validation import kind_of
from mellea_rx.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The features of a backend beyond text from messages; pipelines emulate those that it lacks.

    Attributes:
        prefill: It continues an assistant's message at the end of a request.
        schema: It constrains the answer to `Request.schema`.
        tools: It takes `ModelOption.TOOLS`, and reports calls in `Chunk.tool_calls`.
        images: It takes images as bytes.
        image_urls: It takes images by URL.
    """

    prefill: bool = False
    schema: bool = False
    tools: bool = False
    images: bool = False
    image_urls: bool = False


class Backend(Protocol):
    """Generates text. `is_backend` recognizes one by its members: no class has to be inherited.

    These members are required; `BaseBackend` has the optional ones with their defaults.

    Attributes:
        name: The name in messages and logs ("ollama", "openai", …).
        model_options: Options that hold for every request which does not set them itself.
    """

    @property
    def name(self) -> str: ...

    @property
    def model_options(self) -> Options: ...

    def check(self, options: Options) -> None:
        """Refuse options that this backend does not support, before a call starts.

        A session calls it once with its own options, and then with those of each call that sets
        others; the result must not change with time.

        Raises:
            OptionError: An option that it does not support; the message names it.
        """
        ...

    def stream(self, request: Request) -> Observable[Chunk]:
        """A cold observable: subscribing starts the request, disposing ends it on the server.

        It emits on one thread at a time, and fails with a `MelleaRxError`.
        """
        ...

    def close(self) -> None:
        """Release connections and memory. Idempotent; a later request acquires them again."""
        ...


class BaseBackend(ABC):
    """A base class for backends: the optional members, each with its default.

    Inheriting it is a convenience. A backend of another class may have any of these members too,
    and gets the default of each that it lacks.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """See `Backend`."""

    @property
    def model_options(self) -> Options:
        """See `Backend`; no options by default."""
        return Options()

    @property
    def model(self) -> str | None:
        """The model's name, for logs; None where it has none."""
        return None

    @property
    def capabilities(self) -> Capabilities:
        """The features beyond text from messages; none by default."""
        return Capabilities()

    @property
    def loops(self) -> tuple[AbstractEventLoop, ...]:
        """The event loops that have to run for its requests to go on; none by default.

        A blocking wait on one of them is refused, since it could never end.
        """
        return ()

    @property
    def resolve(self) -> Callable[[], Awaitable[Backend]] | None:
        """Decides which backend does the work; None for this one, which is the default.

        A backend with such a function is deferred: it is called on the engine in each call, and
        the capabilities, options and images of the call are checked against its result.
        """
        return None

    def check(self, options: Options) -> None:  # noqa: B027 - a default, not a stub
        """See `Backend`; refuses nothing by default."""

    @abstractmethod
    def stream(self, request: Request) -> Observable[Chunk]:
        """See `Backend`."""

    def close(self) -> None:  # noqa: B027 - a default, not a stub
        """See `Backend`; releases nothing by default."""

    async def aclose(self) -> None:
        """Close, and wait until connections are closed; `close` by default."""
        self.close()


_REQUIRED = ("name", "model_options", "check", "stream", "close")


def is_backend(value: object) -> TypeGuard[Backend]:
    """Whether a value has all required members of a backend, its own or by `__getattr__`.

    (From Python 3.12 on, `isinstance` with a protocol finds nothing that comes by `__getattr__`, so
    it cannot be used here.)
    """
    return not isinstance(value, type) and all(hasattr(value, part) for part in _REQUIRED)


def require_backend(value: object, taker: str) -> None:
    """Refuse a value that is not a backend.

    Args:
        value: The value.
        taker: The argument or object that takes a backend, for the message ("a session").

    Raises:
        InvalidInputError: It lacks a required member of one, or its options are not `Options`.
    """
    missing = [part for part in _REQUIRED if not hasattr(value, part)]
    if isinstance(value, type):
        shown, hint = f"the class {value.__name__}", f"make one, with {value.__name__}(...)"
    elif is_backend(getattr(value, "backend", None)):
        shown, hint = type(value).__name__, "give its `backend`"
    elif not missing:
        _require_options(value, taker)
        return
    elif len(missing) < len(_REQUIRED):
        shown, hint = type(value).__name__, f"it lacks {', '.join(missing)}"
    else:
        shown = type(value).__name__
        hint = 'make one, as OllamaBackend("llama3.2"), or by name, as start_session("ollama")'
    raise InvalidInputError(f"{taker} needs a backend, not {shown}: {hint}")


def _require_options(backend: Any, taker: str) -> None:
    given = backend.model_options
    if not isinstance(given, Options):
        raise InvalidInputError(
            f"{taker} needs a backend whose model_options are Options, not "
            f"{kind_of(given)}: make them with Options(...) of mellea_rx.backends"
        )


def model_of(backend: Backend) -> str | None:
    """See `BaseBackend.model`."""
    model = optional_member(backend, BaseBackend, "model")
    return None if model is None else str(model)


def capabilities_of(backend: Backend) -> Capabilities:
    """See `BaseBackend.capabilities`."""
    capabilities = optional_member(backend, BaseBackend, "capabilities")
    return capabilities if isinstance(capabilities, Capabilities) else Capabilities()


def loops_of_backend(backend: Backend) -> tuple[AbstractEventLoop, ...]:
    """See `BaseBackend.loops`."""
    loops: tuple[AbstractEventLoop, ...] = optional_member(backend, BaseBackend, "loops")
    return loops


def is_deferred(backend: Backend) -> bool:
    """Whether each call decides which backend does the work; see `BaseBackend.resolve`."""
    return optional_member(backend, BaseBackend, "resolve") is not None


async def resolved(backend: Backend) -> Backend:
    """The backend that does the work; see `BaseBackend.resolve`. Runs on the engine.

    Raises:
        NoBackendError: A deferred backend found none.
    """
    resolve: Callable[[], Awaitable[Backend]] | None
    resolve = optional_member(backend, BaseBackend, "resolve")
    return backend if resolve is None else await resolve()


async def aclose_backend(backend: Backend) -> None:
    """Close a backend, and wait until it is closed; see `BaseBackend.aclose`."""
    await optional_member(backend, BaseBackend, "aclose")()


def require_images(backend: Backend, images: Iterable[Image]) -> None:
    """Refuse images that a backend does not take.

    Raises:
        InvalidInputError: It takes none, or none by URL.
    """
    for image in images:
        can = capabilities_of(backend)
        if not can.images:
            raise InvalidInputError(f"backend {backend.name!r} takes no images")
        if not image.data and not can.image_urls:
            raise InvalidInputError(
                f"backend {backend.name!r} takes no images by URL ({image.url[:200]}), and this "
                "library fetches none: give the file, with Image.from_file or Image.from_bytes"
            )
