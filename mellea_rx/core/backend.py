"""What a backend is: one method."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeGuard

from reactivex import Observable

from mellea_rx.core.chunk import Chunk
from mellea_rx.core.image import Image
from mellea_rx.core.options import Options
from mellea_rx.core.request import Request
from mellea_rx.errors import InvalidInputError

__all__ = [
    "Backend",
    "Capabilities",
    "aclose_backend",
    "capabilities_of",
    "decides_late",
    "is_backend",
    "loops_of_backend",
    "require_backend",
    "require_images",
    "resolved",
]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do beyond text from messages; pipelines make up for what it cannot.

    Attributes:
        continues: Goes on from an assistant's message at the end of a request.
        schema: Constrains the answer to `Request.schema`.
        tools: Takes `ModelOption.TOOLS`, and tells of calls in `Chunk.tool_calls`.
        images: Takes images as bytes.
        image_urls: Takes images by URL.
    """

    continues: bool = False
    schema: bool = False
    tools: bool = False
    images: bool = False
    image_urls: bool = False


class Backend(Protocol):
    """Something that generates text. `is_backend` tells one: no class has to be inherited from.

    Attributes:
        name: What messages and logs call it ("ollama", "openai", …).
        model_options: Options that hold for every request which does not set them itself.
    """

    @property
    def name(self) -> str: ...

    @property
    def model_options(self) -> Options: ...

    def check(self, options: Options) -> None:
        """Refuse what this backend cannot do, before anything starts.

        A session asks once for its own options, and then for those of each call that sets others;
        its answer must not change with time.

        Raises:
            OptionError: An option that it does not have; the message names it.
        """
        ...

    def stream(self, request: Request) -> Observable[Chunk]:
        """A cold observable: subscribing starts the request, disposing ends it on the server.

        It emits on any one thread at a time, and fails with a `MelleaRxError`.
        """
        ...

    def close(self) -> None:
        """Let go of connections and memory. Idempotent; a later request takes them up again."""
        ...


_PARTS = ("name", "model_options", "check", "stream", "close")


def is_backend(value: object) -> TypeGuard[Backend]:
    """Whether a value has all parts of a backend, also one that asks another for them.

    (`isinstance` finds nothing that comes by `__getattr__`, from Python 3.12 on, so the protocol
    does not take part in it at all: this is the one way.)
    """
    return not isinstance(value, type) and all(hasattr(value, part) for part in _PARTS)


def require_backend(value: object, taker: str) -> None:
    """Refuse a value that is no backend.

    Args:
        value: The value.
        taker: The argument or object that takes a backend, for the message ("a session").

    Raises:
        InvalidInputError: It has not all parts of one.
    """
    if is_backend(value):
        return
    if isinstance(value, type):
        told, advice = f"the class {value.__name__}", f"make one, with {value.__name__}(...)"
    elif is_backend(getattr(value, "backend", None)):
        told, advice = type(value).__name__, "give its `backend`"
    else:
        told = type(value).__name__
        advice = 'make one, as OllamaBackend("llama3.2"), or by name, as start_session("ollama")'
    raise InvalidInputError(f"{taker} needs a backend, not {told}: {advice}")


def capabilities_of(backend: Backend) -> Capabilities:
    """What a backend says of itself in `capabilities`; nothing, where it has no such attribute."""
    told = getattr(backend, "capabilities", None)
    return told if isinstance(told, Capabilities) else Capabilities()


def loops_of_backend(backend: Backend) -> tuple[AbstractEventLoop, ...]:
    """The event loops that have to run for a backend's requests; none, where it does not say."""
    loops: tuple[AbstractEventLoop, ...] = getattr(backend, "loops", ())
    return loops


def decides_late(backend: Backend) -> bool:
    """Whether it is decided in a call which backend does the work: nothing can be asked before."""
    return getattr(backend, "resolve", None) is not None


async def resolved(backend: Backend) -> Backend:
    """The backend that will do the work: what `resolve()` gives, where it decides late.

    Raises:
        NoBackendError: It found none.
    """
    resolve = getattr(backend, "resolve", None)
    taken: Backend = backend if resolve is None else await resolve()
    return taken


async def aclose_backend(backend: Backend) -> None:
    """Close a backend, and wait until it is closed where it has an `aclose()` to wait for."""
    aclose = getattr(backend, "aclose", None)
    if aclose is None:
        backend.close()
    else:
        await aclose()


def require_images(backend: Backend, images: Iterable[Image]) -> None:
    """Refuse images that a backend would not show to its model.

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
